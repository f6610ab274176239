//! From the command line's words to an engine.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use forebay::catalogue::{self, DEFAULT};
use forebay::device::{self, AnyEngine, On};
use forebay::infer::budget::Budget;
use forebay::infer::open::{Loaded, OpenError, Options, divide};
use forebay::machine;
use forebay::pager::Choice;
use forebay::prefetch::SchedulerOptions;
use forebay::simulate::{has_capacities, profile};
use forebay::simulator::profile::Edge;

use super::args::{DeviceArgs, EngineArgs};
use super::{Failure, fetch};

/// The file that `model` names: a path, or a model of the catalogue.
pub(crate) fn model_path(model: Option<&str>) -> Result<PathBuf, Failure> {
    let name = model.unwrap_or(DEFAULT);
    if Path::new(name).exists() {
        return Ok(PathBuf::from(name));
    }
    match catalogue::find(name) {
        Ok(entry) => fetch::get(entry),
        // What looks like a path is missed as a file, not as a name.
        Err(_) if name.contains(std::path::MAIN_SEPARATOR) || name.ends_with(".gguf") => {
            Err(Failure::Other(format!("{name}: no such file")))
        }
        Err(error) => Err(error.into()),
    }
}

impl EngineArgs {
    /// Reads the header of the model.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let path = model_path(self.model.as_deref())?;
        let loaded = Loaded::open(&path)?;
        tracing::info!(model = %path.display(), architecture = loaded.map.decoder.architecture, "header read");
        Ok(loaded)
    }

    /// The ceiling: as given, or the default share of the memory at hand.
    pub(crate) fn ceiling(&self) -> Result<u64, Failure> {
        match (self.ram, machine::memory_at_hand()) {
            (Some(ram), _) => Ok(ram),
            (None, Some(at_hand)) => Ok((at_hand as f64 * machine::DEFAULT_SHARE) as u64),
            (None, None) => {
                Err(Failure::Other("this system does not tell its memory: give a ceiling with --ram".into()))
            }
        }
    }

    /// The options of a run with `context` positions, whose prompts have at most `chunk` tokens.
    pub(crate) fn options(&self, context: usize, chunk: Option<usize>) -> Result<Options, Failure> {
        let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Ok(Options {
            ram: self.ceiling()?,
            process: machine::process_bytes(),
            context,
            kv: self.kv_type,
            threads: self.threads.and_then(|n| NonZero::new(usize::from(n))).unwrap_or(cores),
            isa: self.isa,
            backend: self.backend,
            depth: usize::from(self.depth),
            page_len: self.page.map(|p| p as usize),
            chunk,
            scheduler: SchedulerOptions { policy: self.policy, prefetch: !self.no_prefetch, lookahead: self.lookahead },
        })
    }
}

/// A window is touched when it is made: what this machine does not have is better refused than killed for.
pub(crate) fn check_at_hand(budget: &Budget) -> Result<(), Failure> {
    match machine::memory_at_hand() {
        Some(at_hand) if budget.total() > at_hand + budget.needs.process => {
            Err(Failure::NoMemory { needed: budget.total(), at_hand })
        }
        _ => Ok(()),
    }
}

impl DeviceArgs {
    /// The flash that is asked for.
    pub(crate) fn on(&self) -> Result<On, Failure> {
        let Some(name) = &self.device else { return Ok(On::This) };
        let profile = profile(name)?;
        let mut device = Box::new(profile.at(Edge::Nominal));
        device.flash = device.flash.driven_from(self.core);
        if let Some(gb) = self.capacity {
            has_capacities(&profile)?;
            device.flash = device.flash.of_capacity(gb);
        }
        Ok(if self.r#virtual { On::Virtual(device) } else { On::Paced(device) })
    }
}

/// Opens the engine and tells how its flash is read.
pub(crate) fn open(loaded: &Loaded, options: &Options, on: &On) -> Result<(AnyEngine, Budget, Choice), Failure> {
    check_at_hand(&divide(&loaded.map, options).map_err(OpenError::from)?)?;
    let (engine, budget, choice) = device::open(loaded, options, on)?;
    tracing::info!(how = choice.how, "flash");
    for note in &choice.notes {
        tracing::info!("{note}");
    }
    tracing::info!(
        frames = budget.frames,
        of = budget.frames_for_all,
        frame_len = budget.frame_len,
        chunk = budget.chunk,
        "window"
    );
    Ok((engine, budget, choice))
}
