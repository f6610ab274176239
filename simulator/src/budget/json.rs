//! A report as JSON. Figures that are infinite (a device that never has to slow down) are `null`.

use serde::Serialize;

use super::baseline::Change;
use super::table;
use super::verdict::{CaseReport, Judgement, Outcome, Report, Verdict};
use crate::case::Case;
use crate::figures::{Band, Figures};
use crate::target::Edge;

#[derive(Serialize)]
struct Document<'a> {
    file: String,
    passed: bool,
    summary: String,
    cases: Vec<Entry<'a>>,
    only_in_baseline: &'a [String],
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    budget: &'a str,
    line: usize,
    case: &'a Case,
    judge: Edge,
    allowed_regression: Option<f64>,
    passed: bool,
    /// Why it cannot be simulated.
    error: Option<&'a str>,
    figures: Option<&'a Figures>,
    requirements: Vec<Requirement>,
}

#[derive(Serialize)]
struct Requirement {
    requirement: String,
    metric: &'static str,
    bound: f64,
    figure: f64,
    band: Band,
    verdict: &'static str,
    baseline: Option<f64>,
    /// More than 0 where it is worse than the baseline, less where it is better; a share of the baseline's figure.
    worse_by: Option<f64>,
    note: String,
}

impl Report {
    /// The report for programs: a JSON document. Figures that are infinite, of a device that never has to slow down, are `null`.
    pub fn to_json(&self) -> String {
        let document = Document {
            file: self.path.display().to_string(),
            passed: self.passed(),
            summary: self.summary(),
            cases: self.cases.iter().map(entry).collect(),
            only_in_baseline: &self.gone,
        };
        serde_json::to_string_pretty(&document).expect("numbers, names and tables of them") + "\n"
    }
}

fn entry(report: &CaseReport) -> Entry<'_> {
    let cell = &report.cell;
    let (error, figures, requirements) = match &report.outcome {
        Outcome::Judged { figures, judgements } => {
            (None, Some(&**figures), judgements.iter().map(|j| requirement(j, cell.allowed)).collect())
        }
        Outcome::Impossible { reason } => (Some(reason.as_str()), None, Vec::new()),
    };
    Entry {
        name: &cell.name,
        budget: &cell.budget,
        line: cell.line,
        case: &cell.case,
        judge: cell.edge,
        allowed_regression: cell.allowed,
        passed: report.passed(),
        error,
        figures,
        requirements,
    }
}

fn requirement(j: &Judgement, allowed: Option<f64>) -> Requirement {
    let (baseline, worse_by) = match j.change {
        Change::NotAsked | Change::Unknown => (None, None),
        Change::Same => (Some(j.figure), Some(0.0)),
        Change::Better { before, by } => (Some(before), Some(-by)),
        Change::Worse { before, by } => (Some(before), Some(by)),
    };
    Requirement {
        requirement: j.target.to_string(),
        metric: j.target.metric.name(),
        bound: j.target.bound,
        figure: j.figure,
        band: j.band,
        verdict: match j.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "missed",
            Verdict::Regressed => "regressed",
        },
        baseline,
        worse_by,
        note: table::note(j, allowed),
    }
}
