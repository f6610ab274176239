//! A simulated run: a prompt, then token after token, and what it came to.

use std::path::PathBuf;

use forebay_pager::{Clock, Journal, Nanos, Pager, Scratch, Stats, Window, WindowError};
use forebay_prefetch::layout::RowTooLong;
use forebay_prefetch::{ExpertStats, Layout, SchedulerError, SchedulerOptions};

use crate::clock::VirtualClock;
use crate::compute::{Costs, Machine, Rates};
use crate::drive::Driver;
use crate::flash::{Flash, FlashOptions, FlashProfile};
use crate::routing::Router;
use crate::storage::{DeviceStorage, NoBytes, VirtualPace};
use crate::workload::Workload;

/// A device as plain numbers, as far as a model's types of weights need them.
#[derive(Debug, Clone)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its flash.
    pub flash: FlashProfile,
    /// How the flash is run.
    pub options: FlashOptions,
    /// Memory and arithmetic.
    pub machine: Machine,
    /// For each of [`Workload::types`].
    pub rates: Vec<Rates>,
    /// What the processor does for a read.
    pub request: Nanos,
    /// Energy.
    pub power: Power,
}

/// What a device draws, in watts; its flash takes energy by the byte.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    /// Always.
    pub idle_w: f64,
    /// On top while compute works.
    pub compute_w: f64,
    /// On top for a byte that is read, in joules.
    pub read_j_byte: f64,
}

/// How a run is set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Bytes of a frame.
    pub frame_len: usize,
    /// Frames of the window.
    pub frames: usize,
    /// Frames for rows of the embedding.
    pub scratch: Scratch,
    /// Tokens of a prompt that go through the layers together.
    pub chunk: usize,
    /// Reads in flight.
    pub depth: usize,
    /// Policy and prefetch.
    pub scheduler: SchedulerOptions,
    /// Tokens of the prompt; at least one.
    pub prompt: Vec<u32>,
    /// Tokens that are decoded: fed one by one behind the prompt.
    pub tokens: Vec<u32>,
    /// Events to keep of decoding.
    pub journal: usize,
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    /// Time until the logits after the prompt.
    pub prompt: Nanos,
    /// Time of decoding.
    pub decode: Nanos,
    /// When each decoded token was done, counted from the start of decoding.
    pub tokens: Vec<Nanos>,
    /// Of the time of decoding, what compute took.
    pub computed: Nanos,
    /// What the pager counted while decoding.
    pub stats: Stats,
    /// What was counted of experts while decoding.
    pub experts: ExpertStats,
    /// The events of decoding, if they were asked for.
    pub journal: Option<Journal>,
    /// How pages were cut.
    pub layout: Layout,
}

/// Why a run is not possible, or broke off.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Rows do not fit the frames.
    #[error(transparent)]
    Layout(#[from] RowTooLong),
    /// Not a window.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// Pages that cannot be.
    #[error(transparent)]
    Pager(#[from] forebay_pager::Error),
    /// The window is too small, or the flash fails.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

/// A run that can be gone on with.
pub type VirtualDriver<R> = Driver<DeviceStorage<NoBytes, VirtualPace>, VirtualClock, R>;

/// Puts device, pager, scheduler and driver together.
///
/// # Errors
/// See [`RunError`].
pub fn driver<R: Router>(
    workload: &Workload,
    device: &Device,
    setup: &Setup,
    router: R,
) -> Result<VirtualDriver<R>, RunError> {
    let layout = Layout::cut(&workload.segments, setup.frame_len)?;
    let plan = workload.plan(&layout);
    let costs = Costs::new(device.machine, device.rates.clone(), workload.pages(&layout), workload.beside());
    let clock = VirtualClock::new(costs);
    let flash = Flash::new(&device.flash, device.options.clone());
    let pace = VirtualPace(clock.clone());
    let storage = DeviceStorage::new(flash, pace, NoBytes::default(), setup.depth, device.request, &device.name);
    let window = Window::unbacked(setup.frame_len, setup.frames, setup.scratch)?;
    let files = layout.specs.iter().map(|spec| spec.file.index()).max().unwrap_or(0) + 1;
    let names = (0..files).map(|i| PathBuf::from(format!("weights-{i}"))).collect();
    let pager = Pager::new(storage, clock, window, names, layout.specs.clone())?;
    let scheduler = forebay_prefetch::Scheduler::new(pager, plan, &layout, setup.scheduler)?;
    Ok(Driver::new(scheduler, layout, workload.clone(), router))
}

/// Runs `workload` on `device`.
///
/// # Errors
/// See [`RunError`].
pub fn run<R: Router>(workload: &Workload, device: &Device, setup: &Setup, router: R) -> Result<Run, RunError> {
    let mut driver = driver(workload, device, setup, router)?;
    driver.forward(&setup.prompt, setup.chunk)?;
    let clock = driver.scheduler().pager().clock().clone();
    let (prompt, computed) = (clock.now(), clock.computed());
    let _ = driver.scheduler_mut().pager_mut().take_stats();
    let _ = driver.scheduler_mut().take_expert_stats();
    if setup.journal > 0 {
        driver.scheduler_mut().pager_mut().keep_journal(Some(Journal::new(setup.journal)));
    }
    let mut tokens = Vec::with_capacity(setup.tokens.len());
    for &token in &setup.tokens {
        driver.forward(&[token], 1)?;
        tokens.push(clock.now() - prompt);
    }
    let scheduler = driver.scheduler_mut();
    Ok(Run {
        prompt,
        decode: clock.now() - prompt,
        tokens,
        computed: clock.computed() - computed,
        stats: scheduler.pager_mut().take_stats(),
        experts: scheduler.take_expert_stats(),
        journal: scheduler.pager_mut().keep_journal(None),
        layout: driver.into_layout(),
    })
}

impl Power {
    /// The energy of a run, in joules.
    pub fn joules(&self, time: Nanos, computed: Nanos, bytes: u64) -> f64 {
        self.idle_w * time.as_secs_f64() + self.compute_w * computed.as_secs_f64() + self.read_j_byte * bytes as f64
    }
}
