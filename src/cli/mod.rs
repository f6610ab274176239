//! The command line: results on standard output, everything else on standard error.

pub(crate) mod args;
mod bench;
mod budget;
mod chat;
mod devices;
mod engine;
mod fetch;
mod inspect;
mod plan;
mod probe;
mod prompt_cache;
mod replay;
mod report;
mod resident;
mod run;
mod show;
mod simulate;
mod swarm;
mod sweep;
mod synth;
mod timeline;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use args::Command;
use forebay::catalogue::FetchError;
use forebay::device::DeviceError;
use forebay::infer::chat::ChatError;
use forebay::infer::generate::GenerateError;
use forebay::infer::gguf::ErrorKind;
use forebay::infer::model::{EngineError, SavedError};
use forebay::infer::open::OpenError;
use forebay::infer::sampler::SamplerError;
use forebay::measure::MeasureError;
use forebay::prefetch::SchedulerError;
use forebay::prefetch::experts::trace::TraceError;
use forebay::probe::MachineError;
use forebay::simulate::{SimulateError, figures};
use forebay::simulator::budget::BudgetError;
use forebay::simulator::run::RunError;
use forebay::simulator::timeline::TimelineError;

/// Everything that can stop a command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Generate(#[from] GenerateError),
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Measure(#[from] MeasureError),
    #[error("{}: {source}", path.display())]
    Trace { path: PathBuf, source: TraceError },
    #[error("{}: {source}", path.display())]
    PromptCache { path: PathBuf, source: SavedError },
    #[error("{}: {source}", path.display())]
    Timeline { path: PathBuf, source: TimelineError },
    #[error("{} of memory would be used, and {} are at hand: give a smaller ceiling with --ram", show::size(*needed), show::size(*at_hand))]
    NoMemory { needed: u64, at_hand: u64 },
    #[error(transparent)]
    BudgetFile(#[from] BudgetError),
    #[error("{}: {summary}", path.display())]
    Budget { path: PathBuf, summary: String },
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    #[error("{0}")]
    Usage(String),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{0}")]
    Other(String),
}

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Open(error) => error.into(),
            DeviceError::Simulate(error) => error.into(),
        }
    }
}

impl Failure {
    /// The exit codes that `forebay --help` states.
    fn exit_code(&self) -> u8 {
        match self {
            Failure::Open(e) | Failure::Measure(MeasureError::Open(e)) => match e {
                OpenError::BelowFloor(_) | OpenError::Scheduler(SchedulerError::WindowTooSmall { .. }) => 3,
                OpenError::Gguf(e) if matches!(e.kind(), ErrorKind::Io(_)) => 1,
                OpenError::Gguf(_) | OpenError::Model { .. } | OpenError::Tokenizer { .. } | OpenError::Layout(_) => 4,
                OpenError::Pager(_) | OpenError::Storage(_) | OpenError::Scheduler(_) => 5,
                OpenError::Window(_) => 1,
            },
            Failure::Generate(GenerateError::Engine(e)) | Failure::Measure(MeasureError::Engine(e)) => match e {
                EngineError::ContextFull { .. } => 3,
                EngineError::Weights(_) | EngineError::Expert { .. } => 5,
                EngineError::Token { .. } => 1,
            },
            Failure::Measure(MeasureError::Probe(_)) => 5,
            Failure::Machine(MachineError::Probe(_)) => 5,
            Failure::Machine(_) => 1,
            Failure::Simulate(e) => match e {
                SimulateError::BelowFloor(_)
                | SimulateError::NoSuchMemory { .. }
                | SimulateError::SerialTooLarge { .. }
                | SimulateError::Run(RunError::Scheduler(_)) => 3,
                SimulateError::Case(_) => 2,
                SimulateError::NoDevice { .. } | SimulateError::Setting { .. } => 2,
                SimulateError::Read { .. } | SimulateError::Run(_) => 1,
                _ => 4,
            },
            Failure::Fetch(_) => 6,
            Failure::Trace { source: TraceError::Io { .. }, .. } => 1,
            Failure::PromptCache { source: SavedError::Io(_), .. } => 1,
            Failure::Timeline { source: TimelineError::Io(_), .. } => 1,
            Failure::Trace { .. } | Failure::PromptCache { .. } | Failure::Timeline { .. } => 4,
            Failure::NoMemory { .. } => 3,
            Failure::Usage(_) | Failure::Sampler(_) | Failure::BudgetFile(BudgetError::File { .. }) => 2,
            Failure::Budget { .. } => 7,
            Failure::Generate(_)
            | Failure::Chat(_)
            | Failure::Measure(MeasureError::Routing(_))
            | Failure::BudgetFile(BudgetError::Io { .. })
            | Failure::Io { .. }
            | Failure::Other(_) => 1,
        }
    }
}

/// Does what the command line says.
pub(crate) fn main(cli: args::Cli) -> ExitCode {
    let result = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Chat(args) => chat::chat(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Plan(args) => plan::plan(args),
        Command::Bench(args) => bench::bench(args),
        Command::Report(args) => timeline::report(&args),
        Command::Replay(args) => replay::replay(args),
        Command::Synth(args) => synth::synth(args),
        Command::Simulate(args) => simulate::simulate(args),
        Command::Probe(args) => probe::probe(args),
        Command::Devices(args) => devices::devices(args),
        Command::Fetch(args) => fetch::fetch(args),
        Command::Budget(args) => budget::budget(args, figures),
        Command::Sweep(args) => sweep::sweep(args, figures),
        Command::Swarm(args) => swarm::swarm(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("forebay: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
