//! Text becomes rows.

use std::io::BufRead;
use std::str::FromStr;

use super::build::check_counts;
use super::{BadField, COLUMNS, ExpertGrid, Header, LayerBytes, MAGIC, Phase, Row, Trace, TraceBuilder, TraceError};

impl Trace {
    /// Reads a trace.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged: the error names line and field.
    pub fn read(input: impl BufRead) -> Result<Trace, TraceError> {
        let mut lines = Lines { input, line: 0, text: String::new() };
        let header = header(&mut lines)?;
        let mut builder = TraceBuilder::new(header).map_err(|bad| bad.at(lines.line))?;
        while lines.next()? {
            if !lines.text.is_empty() {
                let row = row(&lines.text, lines.line)?;
                builder.push(row).map_err(|bad| bad.at(lines.line))?;
            }
        }
        builder.finish()
    }
}

struct Lines<R> {
    input: R,
    /// The present line, from 1.
    line: usize,
    text: String,
}

impl<R: BufRead> Lines<R> {
    /// Goes to the next line; `false` at the end.
    fn next(&mut self) -> Result<bool, TraceError> {
        self.text.clear();
        self.line += 1;
        let read = self.input.read_line(&mut self.text).map_err(|source| TraceError::Io { line: self.line, source })?;
        let end = self.text.trim_end().len();
        self.text.truncate(end);
        Ok(read > 0)
    }
}

/// Reads up to and including the line with the names of the columns.
fn header(lines: &mut Lines<impl BufRead>) -> Result<Header, TraceError> {
    if !lines.next()? || lines.text != MAGIC {
        return Err(TraceError::NotATrace);
    }
    let mut header: Option<Header> = None;
    while lines.next()? {
        let line = lines.line;
        let Some(text) = lines.text.strip_prefix('#') else {
            if lines.text != COLUMNS.join(",") {
                break;
            }
            return header.ok_or(TraceError::Incomplete { line, what: "a line '# model=... n_layer=...'" });
        };
        if text.trim_start().starts_with("layer=") {
            let header = header.as_mut().ok_or(TraceError::Incomplete { line, what: "n_layer before the layers" })?;
            let (layer, bytes) = layer(text).map_err(|bad| bad.at(line))?;
            let layers = header.sizes.len();
            let slot = header
                .sizes
                .get_mut(layer)
                .ok_or_else(|| BadField::new("layer", layer, format!("the model has {layers} layers")).at(line))?;
            *slot = Some(bytes);
        } else if value(text, "n_layer").is_some() {
            header = Some(model(text).map_err(|bad| bad.at(line))?);
        }
    }
    Err(TraceError::Incomplete { line: lines.line, what: "the names of the columns" })
}

fn model(text: &str) -> Result<Header, BadField> {
    let name = |key| value(text, key).unwrap_or("unknown").to_owned();
    let grid = ExpertGrid { layers: required(text, "n_layer")?, experts: required(text, "n_expert")? };
    let used = required(text, "n_expert_used")?;
    check_counts(grid, used)?;
    Ok(Header { model: name("model"), arch: name("arch"), grid, used, sizes: vec![None; grid.layers] })
}

fn layer(text: &str) -> Result<(usize, LayerBytes), BadField> {
    let expert = required(text, "expert_bytes")?;
    let dense = value(text, "dense_bytes").map_or(Ok(0), |v| number("dense_bytes", v))?;
    Ok((required(text, "layer")?, LayerBytes { expert, dense }))
}

/// The value of `key=value` among words.
fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn required<T: FromStr>(text: &str, key: &'static str) -> Result<T, BadField> {
    number(key, value(text, key).unwrap_or(""))
}

fn number<T: FromStr>(field: &'static str, text: &str) -> Result<T, BadField> {
    text.parse().map_err(|_| BadField::new(field, text, "it must be a number, within bounds"))
}

fn row(text: &str, line: usize) -> Result<Row, TraceError> {
    let mut fields = [""; COLUMNS.len()];
    let mut found = 0;
    for field in text.split(',') {
        if let Some(slot) = fields.get_mut(found) {
            *slot = field;
        }
        found += 1;
    }
    if found != COLUMNS.len() {
        return Err(TraceError::Fields { line, found });
    }
    parse(fields).map_err(|bad| bad.at(line))
}

fn parse(fields: [&str; COLUMNS.len()]) -> Result<Row, BadField> {
    let int = |i: usize| number::<u32>(COLUMNS[i], fields[i]);
    let flag = |i: usize| match fields[i] {
        "0" => Ok(false),
        "1" => Ok(true),
        other => Err(BadField::new(COLUMNS[i], other, "it must be 0 or 1")),
    };
    Ok(Row {
        turn: int(0)?,
        phase: if flag(1)? { Phase::Decode } else { Phase::Prompt },
        step: int(2)?,
        layer: int(3)?,
        slot: int(4)?,
        expert: int(5)?,
        weight: number(COLUMNS[6], fields[6])?,
        resident: flag(7)?,
        read: number(COLUMNS[8], fields[8])?,
    })
}
