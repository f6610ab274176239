//! A report as Markdown, for the summary page of a CI run.

use std::fmt::Write as _;

use super::table;
use super::verdict::{CaseReport, Outcome, Report};
use crate::shown::figure;

impl Report {
    /// The report as a Markdown table, what fails in bold.
    pub fn to_markdown(&self) -> String {
        let mut text = format!("### Budgets: {}\n\n", self.summary());
        text += "| case | requirement | figure | worst / nominal / best | |\n|---|---|--:|---|---|\n";
        for case in &self.cases {
            text += &rows(case);
        }
        for name in &self.gone {
            let _ = writeln!(text, "| {} | | | | only in the baseline |", escaped(name));
        }
        text
    }
}

fn rows(case: &CaseReport) -> String {
    let name = escaped(&case.cell.name);
    let judgements = match &case.outcome {
        Outcome::Judged { judgements, .. } => judgements,
        Outcome::Impossible { reason } => {
            return format!("| {name} | | | | **FAIL** {} |\n", escaped(&table::impossible(reason)));
        }
    };
    let mut rows = String::new();
    for (i, j) in judgements.iter().enumerate() {
        let name = if i == 0 { name.as_str() } else { "" };
        let verdict = table::verdict(j.verdict);
        let verdict = if verdict == "ok" { verdict.to_owned() } else { format!("**{verdict}**") };
        let shown = figure(j.target.metric, j.figure);
        let note = table::note(j, case.cell.allowed);
        let verdict = if note.is_empty() { verdict } else { format!("{verdict}, {}", escaped(&note)) };
        let edge = case.cell.edge;
        let (target, band) = (escaped(&j.target.to_string()), table::band(j));
        let _ = writeln!(rows, "| {name} | {target} | {shown} ({edge}) | {band} | {verdict} |");
    }
    rows
}

/// Text that means itself: no cell ends in it, nothing in it is markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '#' | '$' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
