//! A report as a table for terminals.

use std::fmt;

use super::baseline::Change;
use super::verdict::{CaseReport, Judgement, Outcome, Report, Verdict};
use crate::figures::Metric;
use crate::shown::{figure, percent};

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            writeln!(f, "{}", case.cell.name)?;
            for line in lines(case) {
                writeln!(f, "  {line}")?;
            }
        }
        for name in &self.gone {
            writeln!(f, "{name}\n  only in the baseline")?;
        }
        write!(f, "{}", self.summary())
    }
}

impl Report {
    /// How many cases hold their budget, in one sentence.
    pub fn summary(&self) -> String {
        let (all, misses) = (self.cases.len(), self.misses());
        let cases = if all == 1 { "case" } else { "cases" };
        match misses {
            0 => format!("{all} {cases}, all within budget"),
            _ => format!("{all} {cases}, {misses} not within budget"),
        }
    }
}

/// What there is to say of a case, a line for each requirement.
pub(super) fn lines(case: &CaseReport) -> Vec<String> {
    let judgements = match &case.outcome {
        Outcome::Judged { judgements, .. } => judgements,
        Outcome::Impossible { reason } => return vec![format!("FAIL  {}", impossible(reason))],
    };
    let line = |j: &Judgement| {
        let (verdict, note) = (verdict(j.verdict), note(j, case.cell.allowed));
        let shown = figure(j.target.metric, j.figure);
        let line = format!("{verdict:4}  {:<24} {shown:>10}  {:<34} {note}", j.target, bands(case, j));
        line.trim_end().to_owned()
    };
    judgements.iter().map(line).collect()
}

pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "ok",
        Verdict::Missed | Verdict::Regressed => "FAIL",
    }
}

pub(super) fn impossible(reason: &str) -> String {
    format!("cannot be simulated: {reason}")
}

/// Which edge was judged, and all three.
fn bands(case: &CaseReport, j: &Judgement) -> String {
    format!("{} of {}", case.cell.edge, band(j))
}

pub(super) fn band(j: &Judgement) -> String {
    let [worst, nominal, best] = [j.band.worst, j.band.nominal, j.band.best].map(|x| figure(j.target.metric, x));
    format!("{worst} / {nominal} / {best}")
}

/// By how much a bound is missed, and how the figure is beside the baseline.
pub(super) fn note(j: &Judgement, allowed: Option<f64>) -> String {
    let missed = match j.verdict {
        Verdict::Missed if j.figure.is_nan() => Some("not a number".to_owned()),
        Verdict::Missed if j.distance().is_finite() => Some(format!("missed by {}", percent(j.distance()))),
        Verdict::Missed => Some("missed".to_owned()),
        Verdict::Met | Verdict::Regressed => None,
    };
    let change = change(j.target.metric, j.change);
    let change = match (j.verdict, allowed) {
        (Verdict::Regressed, Some(allowed)) => change.map(|c| format!("{c}; {} allowed", percent(allowed))),
        _ => change,
    };
    missed.into_iter().chain(change).collect::<Vec<_>>().join("; ")
}

fn change(metric: Metric, change: Change) -> Option<String> {
    let by = |by: f64| if by.is_finite() { format!("{} ", percent(by)) } else { String::new() };
    match change {
        Change::NotAsked => None,
        Change::Unknown => Some("not in the baseline".into()),
        Change::Same => Some("as in the baseline".into()),
        Change::Better { before, by: share } => Some(format!("{}better than {}", by(share), figure(metric, before))),
        Change::Worse { before, by: share } => Some(format!("{}worse than {}", by(share), figure(metric, before))),
    }
}
