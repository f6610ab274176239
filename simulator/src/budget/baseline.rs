//! What the figures were when somebody last said that they are fine.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::BudgetError;
use super::verdict::{Outcome, Report};
use crate::figures::Metric;
use crate::target::Edge;

/// The form of the file.
const VERSION: u32 = 1;

/// The required figures of every case at the edge where they are judged: JSON, sorted by name, a line for each figure, six digits
/// that count, so that a change of the figures is a change of few lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    version: u32,
    cases: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    judge: Edge,
    figures: BTreeMap<String, Known>,
}

/// A figure; infinity, which JSON has no number for, is `null`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known(f64);

impl Serialize for Known {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Whole numbers, such as bytes, without a point.
        match self.0 {
            x if x.is_infinite() => serializer.serialize_none(),
            x if x.fract() == 0.0 && x.abs() < 9e15 => serializer.serialize_i64(x as i64),
            x => serializer.serialize_f64(x),
        }
    }
}

impl<'de> Deserialize<'de> for Known {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Known(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY)))
    }
}

/// How a figure is beside that of the baseline. Shares are of the earlier figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// No baseline was asked.
    NotAsked,
    /// The baseline has no such case or figure.
    Unknown,
    /// Nothing changed.
    Same,
    /// It is better.
    Better {
        /// The figure of the baseline.
        before: f64,
        /// By how much, more than 0.
        by: f64,
    },
    /// It is worse.
    Worse {
        /// The figure of the baseline.
        before: f64,
        /// By how much, more than 0.
        by: f64,
    },
}

impl Change {
    fn between(metric: Metric, before: f64, now: f64) -> Change {
        let now = rounded(now);
        if now == before {
            return Change::Same;
        }
        let by = if before.is_infinite() { 1.0 } else { ((now - before) / before).abs() };
        if (now > before) == metric.more_is_better() {
            Change::Better { before, by }
        } else {
            Change::Worse { before, by }
        }
    }

    /// By how much it is worse; 0 if it is not.
    pub fn worse_by(self) -> f64 {
        match self {
            Change::Worse { by, .. } => by,
            Change::NotAsked | Change::Unknown | Change::Same | Change::Better { .. } => 0.0,
        }
    }
}

impl Baseline {
    /// The figures of `report`. Cases that could not be simulated have none.
    pub fn of(report: &Report) -> Baseline {
        let entry = |outcome: &Outcome, edge: Edge| match outcome {
            Outcome::Judged { judgements, .. } => {
                let figure = |j: &super::Judgement| (j.target.metric.name().to_owned(), Known(rounded(j.figure)));
                let numbers = judgements.iter().filter(|j| !j.figure.is_nan());
                Some(Entry { judge: edge, figures: numbers.map(figure).collect() })
            }
            Outcome::Impossible { .. } => None,
        };
        let cases = report.cases.iter();
        let cases = cases.filter_map(|c| Some((c.cell.name.clone(), entry(&c.outcome, c.cell.edge)?))).collect();
        Baseline { version: VERSION, cases }
    }

    /// Reads a baseline file.
    ///
    /// # Errors
    /// If it cannot be read or is no baseline; the message names line and column.
    pub fn read(path: impl AsRef<Path>) -> Result<Baseline, BudgetError> {
        let path = path.as_ref();
        #[expect(clippy::disallowed_methods, reason = "a baseline is read where `cargo test` uses budgets, too")]
        let text = std::fs::read_to_string(path).map_err(|source| BudgetError::Io { path: path.to_owned(), source })?;
        let bad = |line, column, message| BudgetError::File { path: path.to_owned(), line, column, message };
        let baseline: Baseline = serde_json::from_str(&text).map_err(|e| {
            // The place is said before the message already.
            let message = e.to_string();
            let message = message.rsplit_once(" at line ").map_or(&*message, |(message, _)| message);
            bad(e.line().max(1), e.column().max(1), message.to_owned())
        })?;
        if baseline.version != VERSION {
            return Err(bad(1, 1, format!("version: {} is not supported, only {VERSION}", baseline.version)));
        }
        Ok(baseline)
    }

    /// The contents of a baseline file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names, numbers and tables of them") + "\n"
    }

    /// The names of its cases, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.cases.keys().map(String::as_str)
    }

    /// How `now`, at an edge of a case, is beside the figure here.
    pub(super) fn change(&self, case: &str, edge: Edge, metric: Metric, now: f64) -> Change {
        let entry = self.cases.get(case).filter(|entry| entry.judge == edge);
        let before = entry.and_then(|entry| entry.figures.get(metric.name()));
        before.map_or(Change::Unknown, |&Known(before)| Change::between(metric, before, now))
    }
}

/// To six digits that count: what the file has, and what is compared with it.
fn rounded(figure: f64) -> f64 {
    if figure.is_finite() { format!("{figure:.5e}").parse().expect("just written") } else { figure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_and_worse_are_the_metric_s() {
        let by = |change: Change| match change {
            Change::Better { by, .. } => (100.0 * by).round(),
            Change::Worse { by, .. } => -(100.0 * by).round(),
            _ => 0.0,
        };
        let inf = f64::INFINITY;
        assert_eq!(by(Change::between(Metric::TokensPerSecond, 1.0, 1.1)), 10.0);
        assert_eq!(by(Change::between(Metric::TokensPerSecond, 1.0, 0.9)), -10.0);
        assert_eq!(by(Change::between(Metric::TimeToFirstToken, 10.0, 12.0)), -20.0);
        assert_eq!(by(Change::between(Metric::PeakRam, 10.0, 8.0)), 20.0);
        assert_eq!(by(Change::between(Metric::TimeToThrottle, inf, 600.0)), -100.0);
        assert_eq!(by(Change::between(Metric::TimeToThrottle, 600.0, inf)), inf);
        assert_eq!(Change::between(Metric::TimeToThrottle, inf, inf), Change::Same);
        assert_eq!(by(Change::between(Metric::Stall, 0.0, 0.1)), -inf);
        assert_eq!(Change::between(Metric::TokensPerSecond, 0.333333, 1.0 / 3.0), Change::Same);
    }
}
