//! I/O budgets: what models on devices have to reach, in a file that tests and CI judge.
//!
//! ```toml
//! [defaults]                       # fields of a case, for all budgets
//! tokens = 100
//!
//! [[budget]]
//! name = "phones"
//! device = ["iphone-17-pro-256gb", "oneplus-15r"]   # of lists, all combinations are simulated
//! model = ["qwen3.5-397b-a17b"]
//! ram = "6GiB"
//! require = ["tok_s >= 0.5", "peak_ram <= 6GiB", "ttft_s <= 60"]
//! judge = "worst"                  # which edge of a figure's band is judged: worst (as it is by default), nominal or best
//! allow_regression = "5%"          # how much worse than the baseline a required figure may be
//! ```
//!
//! Any field of a [`Case`] may be set, to a value or a list. `judge` and `allow_regression` may be in `[defaults]`, too. Words of
//! names are joined by `-` or `_`. A device that ends in `.toml`, a model in `.gguf` or `.json`, and a routing trace are files
//! beside the budget file. A case is named by its budget and the fields that are written as lists.
//!
//! A case that cannot be simulated misses its budget, and says why.
//!
//! In `cargo test`, with whatever simulates a case:
//!
//! ```
//! # use forebay_simulator::{Case, Figures, Metric};
//! # fn simulate(_: &Case) -> Result<Figures, String> {
//! #     Ok(Figures::new([0.9, 1.0, 1.1].map(|tokens_per_second| move |metric: Metric| match metric {
//! #         Metric::PeakRam => 5e9,
//! #         _ => tokens_per_second,
//! #     })))
//! # }
//! use forebay_simulator::budget::Budget;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("forebay.toml");
//! # std::fs::write(&path, r#"
//! #     [[budget]]
//! #     name = "phones"
//! #     device = ["one", "other"]
//! #     model = "large"
//! #     require = ["tok_s >= 0.5", "peak_ram <= 6GiB"]
//! # "#)?;
//! // let path = "forebay.toml";
//! let report = Budget::read(&path)?.check(simulate);
//! assert!(report.passed(), "{report}");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod baseline;
mod error;
mod file;
mod json;
mod junit;
mod markdown;
mod section;
mod table;
mod verdict;

use std::fmt::Display;
use std::path::{Path, PathBuf};

pub use baseline::{Baseline, Change};
pub use error::BudgetError;
pub use verdict::{CaseReport, Judgement, Outcome, Report, Verdict};

use crate::case::Case;
use crate::figures::Figures;
use crate::parallel;
use crate::target::{Edge, Target};

/// The cases of a budget file, in its order; of a product, the first field varies slowest.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    path: PathBuf,
    cells: Vec<Cell>,
}

/// A case and what is required of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The name of its budget.
    pub budget: String,
    /// Its own: the budget's name, and the fields that are written as lists. No two are alike.
    pub name: String,
    /// Where its budget begins in the file.
    pub line: usize,
    /// What is simulated.
    pub case: Case,
    /// What is required, at least one.
    pub targets: Vec<Target>,
    /// Where it is judged.
    pub edge: Edge,
    /// How much worse than the baseline a required figure may be, as a share; `None` for any.
    pub allowed: Option<f64>,
}

impl Budget {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All cases.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Simulates all cases, on all cores, and judges them.
    pub fn check<E: Display>(&self, simulate: impl Fn(&Case) -> Result<Figures, E> + Sync) -> Report {
        self.check_beside(None, simulate, || ())
    }

    /// The same, beside a baseline; `progress` is called after each case.
    pub fn check_beside<E: Display>(
        &self,
        baseline: Option<&Baseline>,
        simulate: impl Fn(&Case) -> Result<Figures, E> + Sync,
        mut progress: impl FnMut(),
    ) -> Report {
        let mut cases = Vec::with_capacity(self.cells.len());
        let work = |cell: &&Cell| simulate(&cell.case).map_err(|e| e.to_string());
        let Ok(()) = parallel::in_order(parallel::all_cores(), &self.cells, work, |cell, figures| {
            cases.push(CaseReport::new(cell.clone(), figures, baseline));
            progress();
            Ok::<_, std::convert::Infallible>(())
        });
        let gone = |name: &&str| !self.cells.iter().any(|cell| cell.name == **name);
        let gone = baseline.map(|b| b.names().filter(gone).map(str::to_owned).collect());
        Report { path: self.path.clone(), cases, gone: gone.unwrap_or_default() }
    }
}
