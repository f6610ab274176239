//! `forebay budget`
#![allow(clippy::disallowed_methods)] // It writes the reports that it is asked for.

use std::fmt::Display;
use std::path::Path;

use forebay::simulator::budget::{Baseline, Budget, BudgetError};
use forebay::simulator::{Case, Figures};

use super::args::BudgetArgs;
use super::{Failure, show};

/// Judges the cases of a budget file by what `simulate` makes of them.
pub(crate) fn budget<E: Display>(
    args: BudgetArgs,
    simulate: impl Fn(&Case) -> Result<Figures, E> + Sync,
) -> Result<(), Failure> {
    let budget = Budget::read(&args.file)?;
    // Who makes a baseline anew accepts what has changed.
    let baseline = match &args.baseline {
        Some(path) if !args.update_baseline => Some(baseline(path)?),
        _ => None,
    };
    let bar = show::count_bar("simulating", budget.cells().len() as u64);
    let report = budget.check_beside(baseline.as_ref(), simulate, || bar.inc(1));
    bar.finish_and_clear();
    write(args.json.as_deref(), || report.to_json())?;
    write(args.junit.as_deref(), || report.to_junit())?;
    write(args.markdown.as_deref(), || report.to_markdown())?;
    if args.update_baseline {
        write(args.baseline.as_deref(), || Baseline::of(&report).to_json())?;
    }
    show::line(&report.to_string())?;
    match report.misses() {
        0 => Ok(()),
        _ => Err(Failure::Budget { path: args.file, summary: report.summary() }),
    }
}

fn baseline(path: &Path) -> Result<Baseline, Failure> {
    Baseline::read(path).map_err(|error| match error {
        BudgetError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Failure::Usage(format!("{}: there is no such baseline; --update-baseline makes one", path.display()))
        }
        error => error.into(),
    })
}

fn write(path: Option<&Path>, contents: impl Fn() -> String) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, contents()).map_err(|source| Failure::Io { what: path.display().to_string(), source })
}
