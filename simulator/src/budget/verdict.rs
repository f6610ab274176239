//! Figures against what is required of them.

use std::path::PathBuf;

use super::Cell;
use super::baseline::{Baseline, Change};
use crate::figures::{Band, Figures};
use crate::target::Target;

/// Shares that differ by less are alike: they come out of divisions.
const TOLERANCE: f64 = 1e-9;

/// What came of all cases. Shown, it is a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The budget file.
    pub path: PathBuf,
    /// In the order of the file.
    pub cases: Vec<CaseReport>,
    /// Cases that only the baseline has.
    pub gone: Vec<String>,
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseReport {
    /// The case.
    pub cell: Cell,
    /// What came of it.
    pub outcome: Outcome,
}

/// What can come of a case.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was simulated.
    Judged {
        /// All figures.
        figures: Box<Figures>,
        /// One for each requirement, in their order.
        judgements: Vec<Judgement>,
    },
    /// It cannot be simulated: the ceiling is below what the model needs at least, there is no such device.
    Impossible {
        /// Why.
        reason: String,
    },
}

/// A figure against one requirement.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What is required.
    pub target: Target,
    /// The figure with its band.
    pub band: Band,
    /// The figure at the edge that is judged.
    pub figure: f64,
    /// Beside the baseline.
    pub change: Change,
    /// Whether it will do.
    pub verdict: Verdict,
}

/// Whether a figure will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Met,
    /// It is on the wrong side of its bound.
    Missed,
    /// It is on the right side, and worse than the baseline by more than is allowed.
    Regressed,
}

impl CaseReport {
    pub(super) fn new(cell: Cell, figures: Result<Figures, String>, baseline: Option<&Baseline>) -> Self {
        let outcome = match figures {
            Ok(figures) => {
                let judgements = cell.targets.iter().map(|t| judge(&cell, t, &figures, baseline)).collect();
                Outcome::Judged { figures: Box::new(figures), judgements }
            }
            Err(reason) => Outcome::Impossible { reason },
        };
        CaseReport { cell, outcome }
    }

    /// Whether all that is required is met.
    pub fn passed(&self) -> bool {
        match &self.outcome {
            Outcome::Judged { judgements, .. } => judgements.iter().all(|j| j.verdict == Verdict::Met),
            Outcome::Impossible { .. } => false,
        }
    }
}

fn judge(cell: &Cell, target: &Target, figures: &Figures, baseline: Option<&Baseline>) -> Judgement {
    let band = figures.band(target.metric);
    let figure = cell.edge.of(band);
    let change = baseline.map_or(Change::NotAsked, |b| b.change(&cell.name, cell.edge, target.metric, figure));
    let verdict = if !target.met_by(figure) {
        Verdict::Missed
    } else if cell.allowed.is_some_and(|allowed| change.worse_by() > allowed + TOLERANCE) {
        Verdict::Regressed
    } else {
        Verdict::Met
    };
    Judgement { target: target.clone(), band, figure, change, verdict }
}

impl Judgement {
    /// How far the figure is on the wrong side, as a share of the bound.
    pub fn distance(&self) -> f64 {
        ((self.figure - self.target.bound) / self.target.bound).abs()
    }
}

impl Report {
    /// Whether every case holds its budget.
    pub fn passed(&self) -> bool {
        self.cases.iter().all(CaseReport::passed)
    }

    /// How many cases do not.
    pub fn misses(&self) -> usize {
        self.cases.iter().filter(|case| !case.passed()).count()
    }
}
