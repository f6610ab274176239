//! Simulated runs of real models: shapes and files become workloads, budgets are divided as for real runs, and the figures of
//! three runs make a band.

mod figures;
mod model;
mod workload;

pub use figures::Row;
pub use workload::workload;

use std::fs::File;
use std::io::BufReader;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_infer::budget::{BelowFloor, Budget};
use forebay_infer::kernels::{Isa, KvType};
use forebay_infer::model::ModelMap;
use forebay_infer::open::{OpenError, Options, divide, scratch};
use forebay_infer::synth::{DescribeError, ShapeError};
use forebay_pager::{Backend, Nanos};
use forebay_prefetch::experts::trace::{Trace, TraceError};
use forebay_prefetch::{Layout, SchedulerOptions};
use forebay_simulator::case::CaseError;
use forebay_simulator::flash::{FlashOptions, ThermalState};
use forebay_simulator::profile::{Device, Edge, Profile, ProfileError};
use forebay_simulator::routing::{AnyRouter, Draw, Drawn, Recorded};
use forebay_simulator::run::{Run, RunError, Setup, run_cut, serial};
use forebay_simulator::workload::StepNeed;
use forebay_simulator::{Case, EngineKind, Figures, Metric, Size, Workload};

use crate::measure::ceiling_for_window;

/// Why a case cannot be simulated.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum SimulateError {
    #[error("there is no device '{name}'; there are {}, and any profile by its path", Profile::names().collect::<Vec<_>>().join(", "))]
    NoDevice { name: String },
    #[error(transparent)]
    Profile(#[from] ProfileError),
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Shape(#[from] ShapeError),
    #[error("{}: {source}", path.display())]
    Config { path: PathBuf, source: ShapeError },
    #[error(transparent)]
    Describe(#[from] DescribeError),
    #[error(transparent)]
    Model(#[from] OpenError),
    #[error("{field}: {problem}")]
    Setting { field: &'static str, problem: String },
    #[error("tensor {tensor}: profiles have no rates for {ty}")]
    WeightType { tensor: String, ty: String },
    #[error(transparent)]
    BelowFloor(#[from] BelowFloor),
    #[error("{}: {source}", path.display())]
    Trace { path: PathBuf, source: TraceError },
    #[error("{}: {problem}", path.display())]
    Routing { path: PathBuf, problem: String },
    #[error(transparent)]
    Case(#[from] CaseError),
    #[error("a ceiling of {} is more than the {} that {device} has", Size(*ram), Size(*has))]
    NoSuchMemory { ram: u64, has: u64, device: String },
    #[error("{model} has no experts: a serial engine would hold all of it")]
    SerialDense { model: String },
    #[error("a ceiling of {} is too small for a serial engine: it holds {}", Size(*ram), Size(*needed))]
    SerialTooLarge { ram: u64, needed: u64 },
    #[error(transparent)]
    Run(#[from] RunError),
}

/// What the process itself is taken to hold: code, tokenizer, allocator.
const PROCESS: u64 = 32 << 20;
/// Threads that compute, as far as memory for them is concerned.
const THREADS: usize = 6;
/// Tokens of the run that tells how much of the time compute works, before the runs that count.
const TRIAL: u32 = 4;

/// What was simulated.
#[derive(Debug)]
pub struct Simulation {
    /// The figures with their bands.
    pub figures: Figures,
    /// How the ceiling was divided.
    pub budget: Budget,
    /// The run at the profile's values; `None` of another engine.
    pub nominal: Option<Run>,
    /// The model.
    pub map: ModelMap,
    /// The device.
    pub profile: Profile,
}

impl Simulation {
    /// The types of the model's weights, those with most bytes first.
    pub fn weights(&self) -> String {
        let mut types: Vec<(String, u64)> = Vec::new();
        for matrix in &self.map.matrices {
            let name = matrix.ty.to_string().to_ascii_lowercase();
            match types.iter_mut().find(|(known, _)| *known == name) {
                Some((_, bytes)) => *bytes += matrix.all_bytes(),
                None => types.push((name, matrix.all_bytes())),
            }
        }
        types.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        types.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", ")
    }
}

/// A case whose files were read.
#[derive(Debug)]
pub struct Prepared {
    case: Case,
    profile: Profile,
    map: ModelMap,
    workload: Workload,
    /// How the workload is cut; the same for all runs.
    layout: Arc<Layout>,
    budget: Budget,
    scratch: forebay_pager::Scratch,
    trace: Option<Recorded>,
}

/// The figures of a case.
///
/// # Errors
/// When it cannot be simulated.
pub fn figures(case: &Case) -> Result<Figures, SimulateError> {
    Ok(simulate(case, 0)?.figures)
}

/// Simulates a case; of the run at the profile's values at most `journal` events are kept.
///
/// # Errors
/// When it cannot be simulated.
pub fn simulate(case: &Case, journal: usize) -> Result<Simulation, SimulateError> {
    let prepared = Prepared::new(case)?;
    let edge = |edge| prepared.run(edge, if edge == Edge::Nominal { journal } else { 0 });
    let [low, nominal, high] = [edge(Edge::Low)?, edge(Edge::Nominal)?, edge(Edge::High)?];
    let figure = |row: Row| move |metric: Metric| row[metric as usize];
    let figures = Figures::new([figure(low.0), figure(nominal.0), figure(high.0)]);
    let Prepared { profile, map, budget, .. } = prepared;
    Ok(Simulation { figures, budget, nominal: nominal.1, map, profile })
}

/// The profile of a name or path.
///
/// # Errors
/// When there is none, or it is broken.
pub fn profile(name: &str) -> Result<Profile, SimulateError> {
    if let Some(profile) = Profile::named(name) {
        return Ok(profile);
    }
    let path = Path::new(name);
    if !path.exists() {
        return Err(SimulateError::NoDevice { name: name.to_owned() });
    }
    Ok(Profile::parse(&read(path)?, name)?)
}

/// Whether a capacity can be said of a device.
///
/// # Errors
/// When its profile knows one only.
pub fn has_capacities(profile: &Profile) -> Result<(), SimulateError> {
    if !profile.tiers.is_empty() {
        return Ok(());
    }
    let with: Vec<_> = Profile::all().into_iter().filter(|p| !p.tiers.is_empty()).map(|p| p.name).collect();
    let problem = format!("{} comes with one only; there are several of {}", profile.name, with.join(", "));
    Err(SimulateError::Setting { field: "capacity", problem })
}

#[expect(clippy::disallowed_methods, reason = "profiles and shapes are files that the user names")]
fn read(path: &Path) -> Result<String, SimulateError> {
    std::fs::read_to_string(path).map_err(|source| SimulateError::Read { path: path.to_owned(), source })
}

impl Prepared {
    /// Reads what `case` names, and divides its ceiling.
    ///
    /// # Errors
    /// When something is not there, or the ceiling is too small.
    pub fn new(case: &Case) -> Result<Self, SimulateError> {
        case.check()?;
        let profile = profile(&case.device)?;
        case.capacity.map_or(Ok(()), |_| has_capacities(&profile))?;
        let kv: KvType = setting("kv-type", &case.kv_type)?;
        let map = model::describe(&case.model, case.quant.as_deref())?;
        let mut workload = workload(&map, kv)?;
        if let Some(k) = case.experts_chosen {
            choose(&mut workload, k)?;
        }
        let memory = profile.at(Edge::High).memory;
        let app = profile.at(Edge::Nominal).memory.app_bytes as u64;
        let context = case.context.unwrap_or(case.prompt + case.tokens) as usize;
        if context < (case.prompt + case.tokens) as usize {
            let problem = format!("{context} positions do not hold {} tokens", case.prompt + case.tokens);
            return Err(SimulateError::Setting { field: "context", problem });
        }
        let options = Options {
            ram: case.ram.map_or(app, |size| size.0),
            process: PROCESS,
            context,
            kv,
            threads: NonZero::new(THREADS).expect("some"),
            // Whatever this machine has, a simulation says the same on all.
            isa: Isa::Portable,
            backend: Backend::Auto,
            depth: usize::from(case.depth),
            page_len: case.page.map(|size| size.0 as usize),
            chunk: None,
            scheduler: SchedulerOptions { policy: case.policy, prefetch: true, lookahead: case.lookahead },
        };
        let ram = case.window.map_or(Ok(options.ram), |window| ceiling_for_window(&map, &options, window.0))?;
        let budget = divide(&map, &Options { ram, ..options })?;
        if budget.total() > memory.ram_bytes as u64 {
            let (ram, device) = (budget.total(), profile.name.clone());
            return Err(SimulateError::NoSuchMemory { ram, has: memory.ram_bytes as u64, device });
        }
        let trace = case.routing.as_deref().map(recorded).transpose()?;
        if case.engine == EngineKind::Serial {
            serial_fits(case, &map, &budget)?;
        }
        let layout = Arc::new(Layout::cut(&workload.segments, budget.frame_len).map_err(RunError::from)?);
        let (scratch, case) = (scratch(&map), case.clone());
        let prepared = Prepared { scratch, case, profile, map, workload, layout, budget, trace };
        prepared.check_trace()?;
        Ok(prepared)
    }

    fn check_trace(&self) -> Result<(), SimulateError> {
        let (Some(trace), Some(path)) = (&self.trace, &self.case.routing) else { return Ok(()) };
        let (layers, experts, _) = self.workload.experts().unwrap_or_default();
        let problem = if trace.layers() != layers {
            format!("the trace has {} layers with experts, the model {layers}", trace.layers())
        } else if trace.experts() > experts {
            format!("the trace names expert {}, the model has {experts}", trace.experts() - 1)
        } else {
            return Ok(());
        };
        Err(SimulateError::Routing { path: path.clone(), problem })
    }

    fn router(&self) -> AnyRouter {
        match (&self.trace, self.workload.experts()) {
            (_, None) => AnyRouter::None,
            (Some(trace), _) => AnyRouter::Recorded(trace.clone()),
            (None, Some((layers, experts, chosen))) => {
                let draw = Draw { recall: self.case.recall, seed: self.case.seed, ..Draw::default() };
                AnyRouter::Drawn(Drawn::new(draw, layers, experts, chosen))
            }
        }
    }

    fn setup(&self, tokens: u32, start: ThermalState, other_watts: f64, journal: usize) -> Setup {
        let vocab = self.workload.embedding.extent.rows;
        // Tokens far apart, so that their rows are.
        let token = |i: u32| (u64::from(i) * 7919 % u64::from(vocab)) as u32;
        Setup {
            frame_len: self.budget.frame_len,
            frames: self.budget.frames,
            scratch: self.scratch,
            chunk: self.budget.chunk,
            depth: usize::from(self.case.depth),
            scheduler: SchedulerOptions { policy: self.case.policy, prefetch: true, lookahead: self.case.lookahead },
            flash: self.flash(start, other_watts),
            prompt: (0..self.case.prompt).map(token).collect(),
            tokens: (self.case.prompt..self.case.prompt + tokens).map(token).collect(),
            journal,
        }
    }

    fn flash(&self, start: ThermalState, other_watts: f64) -> FlashOptions {
        let (dense, experts) = self.map.dense_and_expert_bytes();
        let range_bytes = Some(dense + experts);
        let Case { seed, core, capacity: capacity_gb, .. } = self.case;
        FlashOptions { seed, start, core, range_bytes, capacity_gb, other_watts, ..FlashOptions::default() }
    }

    /// Runs the case at one edge of its device; there is no [`Run`] of another engine.
    ///
    /// # Errors
    /// When the run breaks off.
    pub fn run(&self, edge: Edge, journal: usize) -> Result<(Row, Option<Run>), SimulateError> {
        let device = self.profile.at(edge);
        // At its worst the device is not rested.
        let start = if edge == Edge::Low { ThermalState::Warm } else { ThermalState::Cold };
        if self.case.engine == EngineKind::Serial {
            return Ok((self.run_serial(&device, start), None));
        }
        let power = device.power;
        let mut trial = self.setup(TRIAL, start, 0.0, 0);
        trial.prompt.truncate(1);
        let trial = self.run_on(&device, &trial)?;
        let busy = trial.computed.as_secs_f64() / trial.decode.max(Nanos(1)).as_secs_f64();
        let setup = self.setup(self.case.tokens, start, power.idle_watts + busy * power.compute_watts, journal);
        let run = self.run_on(&device, &setup)?;
        Ok((figures::of_run(&device, &run, self.case.tokens, self.budget.total()), Some(run)))
    }

    fn run_on(&self, device: &Device, setup: &Setup) -> Result<Run, RunError> {
        run_cut(&self.workload, self.layout.clone(), device, setup, self.router())
    }

    /// The prompt goes token by token, too: it is there to fill the cache.
    fn run_serial(&self, device: &Device, start: ThermalState) -> Row {
        let watts = device.power.idle_watts + device.power.compute_watts / 2.0;
        let flash = self.flash(start, watts);
        let (cache, lanes) = (self.case.cache.map_or(0, |size| size.0), usize::from(self.case.depth));
        let mut engine = serial(&self.workload, device, flash, self.router(), cache, lanes);
        let prompt = engine.decode(self.case.prompt).time;
        let run = engine.decode(self.case.tokens);
        figures::of_serial(device, prompt, &run, serial_bytes(&self.case, &self.map, &self.budget))
    }
}

/// What a serial engine holds: all that every token needs, and its cache.
fn serial_bytes(case: &Case, map: &ModelMap, budget: &Budget) -> u64 {
    let (dense, _) = map.dense_and_expert_bytes();
    let besides = budget.total() - budget.window_cost() - budget.tables;
    besides + dense + case.cache.map_or(0, |size| size.0)
}

fn serial_fits(case: &Case, map: &ModelMap, budget: &Budget) -> Result<(), SimulateError> {
    if map.decoder.experts().next().is_none() {
        return Err(SimulateError::SerialDense { model: case.model.clone() });
    }
    let needed = serial_bytes(case, map, budget);
    match case.ram {
        Some(Size(ram)) if ram < needed => Err(SimulateError::SerialTooLarge { ram, needed }),
        _ => Ok(()),
    }
}

/// Another number of experts for a token.
fn choose(workload: &mut Workload, k: u32) -> Result<(), SimulateError> {
    let experts = workload.experts().map_or(0, |(_, experts, _)| experts);
    if k == 0 || k as usize > experts {
        let problem = format!("{k} of {experts} experts cannot be chosen");
        return Err(SimulateError::Setting { field: "experts-chosen", problem });
    }
    for step in &mut workload.steps {
        if let StepNeed::Choice { chosen, .. } = &mut step.need {
            *chosen = k;
        }
    }
    Ok(())
}

fn recorded(path: &Path) -> Result<Recorded, SimulateError> {
    let at = || path.to_owned();
    #[expect(clippy::disallowed_methods, reason = "a trace is a file that the user names")]
    let file = File::open(path).map_err(|source| SimulateError::Read { path: at(), source })?;
    let trace = Trace::read(BufReader::new(file)).map_err(|source| SimulateError::Trace { path: at(), source })?;
    Ok(Recorded::new(&trace))
}

fn setting<T: std::str::FromStr<Err = String>>(field: &'static str, text: &str) -> Result<T, SimulateError> {
    text.parse().map_err(|problem| SimulateError::Setting { field, problem })
}
