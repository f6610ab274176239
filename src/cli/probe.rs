//! `forebay probe`
#![allow(clippy::disallowed_methods)] // It writes the profile where it is told to.

use std::num::NonZero;

use forebay::probe::{Machine, Options, measure};
use forebay::simulator::fit::{Comparison, Errors};
use serde::Serialize;

use super::args::ProbeArgs;
use super::{Failure, show};

#[derive(Debug, Serialize)]
struct Report {
    memory_gb_s: f64,
    step_us: f64,
    wake_us: f64,
    fit_mean_error: f64,
    fit_max_error: f64,
    corrected_mean_error: f64,
    corrected_max_error: f64,
    sequential_mean_error: f64,
    sequential_max_error: f64,
    /// Of random reads, by the figures alone.
    points: Vec<Row>,
    /// Of sequential reads, with the correction.
    sequential: Vec<Row>,
    kernels: Vec<Kernel>,
}

#[derive(Debug, Serialize)]
struct Row {
    block_bytes: u32,
    depth: usize,
    mb_s: f64,
    fitted_mb_s: f64,
    error: f64,
}

impl Row {
    fn new(c: &Comparison) -> Self {
        Row {
            block_bytes: c.point.block_bytes,
            depth: c.point.depth,
            mb_s: c.point.mb_s,
            fitted_mb_s: c.simulated_mb_s,
            error: c.error(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Kernel {
    ty: &'static str,
    decode_gb_s: f64,
    prefill_gflop_s: f64,
}

pub(crate) fn probe(args: ProbeArgs) -> Result<(), Failure> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let options = Options {
        threads: args.threads.and_then(|n| NonZero::new(usize::from(n))).unwrap_or(cores),
        isa: args.isa,
        backend: args.backend,
        rounds: args.rounds,
    };
    let bar = show::count_bar("measuring", 1000);
    let machine = measure(&args.path, &options, |share| bar.set_position((1000.0 * share) as u64));
    bar.finish_and_clear();
    let machine = machine?;
    if let Some(path) = &args.out {
        let text = machine.profile.to_toml();
        std::fs::write(path, text).map_err(|source| Failure::Io { what: path.display().to_string(), source })?;
    }
    let report = report(&machine);
    if args.json { show::json(&report) } else { table(&report) }
}

fn report(machine: &Machine) -> Report {
    let rows = |errors: &Errors| errors.points.iter().map(Row::new).collect();
    let fit = &machine.fit;
    Report {
        memory_gb_s: machine.memory_bytes_s / 1e9,
        step_us: machine.step_s * 1e6,
        wake_us: machine.wake_s * 1e6,
        fit_mean_error: fit.figures.mean(),
        fit_max_error: fit.figures.max(),
        corrected_mean_error: fit.corrected.mean(),
        corrected_max_error: fit.corrected.max(),
        sequential_mean_error: fit.sequential.mean(),
        sequential_max_error: fit.sequential.max(),
        points: rows(&fit.figures),
        sequential: rows(&fit.sequential),
        kernels: machine
            .kernels
            .iter()
            .map(|k| Kernel {
                ty: k.ty.name(),
                decode_gb_s: k.decode_bytes_s / 1e9,
                prefill_gflop_s: k.prefill_flop_s / 1e9,
            })
            .collect(),
    }
}

/// Characters of the longest bar of the curve.
const BAR: usize = 40;

/// A line for each size and depth; the longest bar stands for `most`.
fn curve(rows: &[Row], most: f64) -> Result<(), Failure> {
    let mut size = 0;
    for row in rows {
        if size != row.block_bytes {
            size = row.block_bytes;
            show::line("")?;
        }
        let bar = "#".repeat((row.mb_s / most * BAR as f64).round() as usize);
        show::line(&format!(
            "{:>10}{:>7}{:>11.0}{:>11.0}{:>8.1}%  {bar}",
            show::size(u64::from(row.block_bytes)),
            row.depth,
            row.mb_s,
            row.fitted_mb_s,
            100.0 * row.error
        ))?;
    }
    Ok(())
}

fn table(report: &Report) -> Result<(), Failure> {
    let most = report.points.iter().chain(&report.sequential).map(|row| row.mb_s).fold(0.0, f64::max);
    show::line(&format!("{:>10}{:>7}{:>11}{:>11}{:>9}", "random", "depth", "MB/s", "fitted", "error"))?;
    curve(&report.points, most)?;
    show::line(&format!("\n{:>10}{:>7}{:>11}{:>11}{:>9}", "sequential", "depth", "MB/s", "corrected", "error"))?;
    curve(&report.sequential, most)?;
    show::line("")?;
    show::line(&format!(
        "the figures are off by {:.1} % on the mean, by {:.1} % at most; with the correction that is kept beside them by {:.1} and {:.1} %; \
         sequential reads, of which they know nothing, are off by {:.1} and {:.1} %",
        100.0 * report.fit_mean_error,
        100.0 * report.fit_max_error,
        100.0 * report.corrected_mean_error,
        100.0 * report.corrected_max_error,
        100.0 * report.sequential_mean_error,
        100.0 * report.sequential_max_error
    ))?;
    show::line(&format!(
        "memory {:.1} GB/s; a step of a model takes {:.0} us besides its weights, the first page behind a wait {:.0} us longer",
        report.memory_gb_s, report.step_us, report.wake_us
    ))?;
    show::line("")?;
    show::line(&format!("{:10}{:>16}{:>16}", "weights", "decode GB/s", "prompt GFLOP/s"))?;
    for k in &report.kernels {
        show::line(&format!("{:10}{:>16.1}{:>16.0}", k.ty, k.decode_gb_s, k.prefill_gflop_s))?;
    }
    Ok(())
}
