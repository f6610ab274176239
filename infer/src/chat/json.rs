//! JSON as Python's `json.dumps` writes it, which templates put into prompts.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Deeper values are no part of a conversation.
const DEEPEST: usize = 100;

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
pub(super) fn dumps(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    let mut writer = Writer { out: String::new(), indent: indent.map(|n| n.min(16)) };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    indent: Option<usize>,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&value.to_string()),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Map => {
                let keys: Vec<Value> = value.try_iter()?.collect();
                self.items(('{', '}'), depth, keys.len(), |writer, at| {
                    writer.string(&keys[at].to_string());
                    writer.out.push_str(": ");
                    writer.value(&value.get_item(&keys[at])?, depth + 1)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.items(('[', ']'), depth, items.len(), |writer, at| writer.value(&items[at], depth + 1))?;
            }
            other => {
                return Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: a value of type {other}")));
            }
        }
        Ok(())
    }

    fn items(
        &mut self,
        (open, close): (char, char),
        depth: usize,
        count: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        for at in 0..count {
            match self.indent {
                Some(_) if at > 0 => self.out.push(','),
                None if at > 0 => self.out.push_str(", "),
                _ => {}
            }
            self.new_line(depth + 1);
            item(self, at)?;
        }
        if count > 0 {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\0'..='\u{1f}' => self.out.push_str(&format!("\\u{:04x}", c as u32)),
                _ => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}
