//! A profile as a file, for those that are measured here and not written by hand.

use super::{Figure, Profile};
use std::fmt::Write as _;

impl Profile {
    /// The profile as [`Profile::parse`] reads it. Its points are no part of it.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for (key, text) in [("name", &self.name), ("title", &self.title), ("notes", &self.notes)] {
            put(&mut out, key, &quoted(text));
        }
        self.put_fit(&mut out);
        let mut last = String::new();
        for field in self.fields() {
            let Some((table, key)) = field.name.rsplit_once('.') else { continue };
            if table != last {
                match table.strip_prefix("tier.") {
                    Some(capacity) => out.push_str(&format!("\n[[tier]]\ncapacity_gb = {capacity}\n")),
                    None => out.push_str(&format!("\n[{table}]\n")),
                }
                table.clone_into(&mut last);
            }
            put(&mut out, key, &inline(field.figure));
        }
        self.put_correction(&mut out);
        out
    }

    fn put_correction(&self, out: &mut String) {
        let Some((sizes, depths, times)) = self.correction.rows() else { return };
        let _ = write!(out, "\n[correction]\nblock_bytes = {sizes:?}\ndepth = {depths:?}\ntimes = [\n");
        times.iter().for_each(|row| _ = writeln!(out, "  {row:?},"));
        out.push_str("]\n");
    }

    fn put_fit(&self, out: &mut String) {
        let Some(fit) = &self.fit else { return };
        out.push_str("\n[fit]\n");
        let errors = [
            ("mean_error", Some(fit.mean_error)),
            ("max_error", Some(fit.max_error)),
            ("held_out_mean_error", fit.held_out_mean_error),
            ("held_out_max_error", fit.held_out_max_error),
        ];
        for (key, error) in errors {
            error.iter().for_each(|e| put(out, key, &e.to_string()));
        }
        out.push_str("\n[fit.start]\n");
        fit.start.iter().for_each(|(parameter, value)| put(out, parameter.name(), &value.to_string()));
    }
}

fn put(out: &mut String, key: &str, value: &str) {
    let _ = writeln!(out, "{key} = {value}"); // A string takes everything.
}

fn inline(figure: &Figure) -> String {
    let Figure { value, low, high, grade, source, .. } = figure;
    format!("{{ value = {value}, low = {low}, high = {high}, grade = \"{grade}\", source = {} }}", quoted(source))
}

/// As a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
