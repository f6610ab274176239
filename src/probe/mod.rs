//! A machine, measured: its flash at many sizes and depths, its memory, its kernels, and what a step of a model costs it. The
//! outcome is a profile as those that come with the simulator.

mod flash;
mod kernels;
mod profile;

use std::num::NonZero;
use std::path::{Path, PathBuf};

use forebay_infer::kernels::Isa;
use forebay_infer::open::OpenError;
use forebay_pager::{Backend, ProbeError, WindowError};
use forebay_simulator::fit::Point;
use forebay_simulator::profile::Profile;

pub use kernels::KernelRate;
pub use profile::Fit;

use crate::measure::{MeasureError, memory_rate};

/// What is measured, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Threads that compute.
    pub threads: NonZero<usize>,
    /// Instruction set.
    pub isa: Isa,
    /// How flash is read.
    pub backend: Backend,
    /// How often each point is measured, interleaved; medians are kept.
    pub rounds: u32,
}

/// Why a machine cannot be measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum MachineError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Window(#[from] WindowError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{}: {bytes} bytes are too few to measure with; a file of {least} or more is needed, or a folder to make one in", path.display())]
    TooShort { path: PathBuf, bytes: u64, least: u64 },
}

/// What was measured.
#[derive(Debug)]
pub struct Machine {
    /// The flash.
    pub points: Vec<Point>,
    /// Bytes per second that the memory gives to reads.
    pub memory_bytes_s: f64,
    /// The kernels.
    pub kernels: Vec<KernelRate>,
    /// What a step of a model takes besides its weights, in seconds.
    pub step_s: f64,
    /// What the first page behind a wait takes longer, in seconds.
    pub wake_s: f64,
    /// The profile that was fitted.
    pub profile: Profile,
    /// How well it meets the points.
    pub fit: Fit,
}

/// Bytes of memory that are read to measure it: more than caches hold.
const MEMORY: usize = 512 << 20;

/// Measures this machine, with the flash under `path`: a large file that is only read, or a folder, in which a file is made and
/// removed. `progress` is told how much of the work is done, 0 to 1.
///
/// # Errors
/// When something cannot be read, made or run.
pub fn measure(path: &Path, options: &Options, mut progress: impl FnMut(f64)) -> Result<Machine, MachineError> {
    let file = flash::Target::new(path, |share| progress(0.1 * share))?;
    let points = flash::sweep(file.path(), options, |share| progress(0.1 + 0.6 * share))?;
    let memory_bytes_s = memory_rate(options.isa, options.threads.get(), MEMORY)?;
    progress(0.75);
    let kernels = kernels::rates(options, |share| progress(0.75 + 0.15 * share));
    let step_s = kernels::step(options, &kernels)?;
    let wake_s = kernels::wake(options)?;
    progress(0.95);
    let (profile, fit) = profile::fitted(&points, memory_bytes_s, &kernels, [step_s, wake_s]);
    progress(1.0);
    Ok(Machine { points, memory_bytes_s, kernels, step_s, wake_s, profile, fit })
}
