//! A simulated run: a prompt, then token after token, and what it came to.

use std::path::PathBuf;
use std::sync::Arc;

use forebay_pager::{Clock, Digest, Journal, Nanos, Pager, Scratch, Stats, Window, WindowError};
use forebay_prefetch::layout::RowTooLong;
use forebay_prefetch::{ExpertStats, Layout, Scheduler, SchedulerError, SchedulerOptions, Segment};

use crate::clock::VirtualClock;
use crate::compute::{Costs, Machine, Rates};
use crate::drive::Driver;
use crate::flash::{Flash, FlashOptions, ThermalState};
use crate::profile::{Device, WeightType};
use crate::routing::Router;
use crate::serial::Serial;
use crate::storage::{DeviceStorage, NoBytes, VirtualPace};
use crate::workload::Workload;

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
    /// How the flash is run. How warm it is when the run begins, the processor is, too.
    pub flash: FlashOptions,
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
    /// The hash of all events, those of the prompt included, with their times: see [`Journal::digest`].
    pub event_hash: u64,
    /// Pages that every token needs.
    pub dense_pages: usize,
    /// How pages were cut.
    pub layout: Arc<Layout>,
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

/// Puts device, pager, scheduler and driver together; `layout` is how `workload` is cut.
///
/// # Errors
/// See [`RunError`].
pub fn driver<R: Router>(
    workload: &Workload,
    layout: Arc<Layout>,
    device: &Device,
    setup: &Setup,
    router: R,
) -> Result<VirtualDriver<R>, RunError> {
    let plan = workload.plan(&layout);
    let clock = VirtualClock::new(costs(workload, &layout, device));
    let flash = Flash::new(&device.flash, setup.flash.clone());
    let pace = VirtualPace(clock.clone());
    let storage = DeviceStorage::new(flash, pace, NoBytes::default(), setup.depth, request(device), &device.name);
    let window = Window::unbacked(layout.frame_len, setup.frames, setup.scratch)?;
    let files = layout.specs.iter().map(|spec| spec.file.index()).max().unwrap_or(0) + 1;
    let names = (0..files).map(|i| PathBuf::from(format!("weights-{i}"))).collect();
    let pager = Pager::new(storage, clock, window, names, layout.specs.clone())?;
    let scheduler = Scheduler::new(pager, plan, &layout, setup.scheduler)?;
    Ok(Driver::new(scheduler, layout, workload.clone(), router))
}

/// Runs `workload` on `device`.
///
/// # Errors
/// See [`RunError`].
pub fn run<R: Router>(workload: &Workload, device: &Device, setup: &Setup, router: R) -> Result<Run, RunError> {
    let layout = Arc::new(Layout::cut(&workload.segments, setup.frame_len)?);
    run_cut(workload, layout, device, setup, router)
}

/// The same with pages as `layout` has them, which several runs of `workload` can share.
///
/// # Errors
/// See [`RunError`].
///
/// # Panics
/// If `layout` has another length of frames than `setup`.
pub fn run_cut<R: Router>(
    workload: &Workload,
    layout: Arc<Layout>,
    device: &Device,
    setup: &Setup,
    router: R,
) -> Result<Run, RunError> {
    assert_eq!(layout.frame_len, setup.frame_len, "pages are as long as frames");
    let mut driver = driver(workload, layout.clone(), device, setup, router)?;
    let keep = |driver: &mut VirtualDriver<R>, journal| driver.scheduler_mut().pager_mut().keep_journal(journal);
    keep(&mut driver, Some(Journal::new(0)));
    driver.forward(&setup.prompt, setup.chunk)?;
    let clock = driver.scheduler().pager().clock().clone();
    let (prompt, computed) = (clock.now(), clock.computed());
    let _ = driver.scheduler_mut().pager_mut().take_stats();
    let _ = driver.scheduler_mut().take_expert_stats();
    let of_prompt = keep(&mut driver, Some(Journal::new(setup.journal)));
    let mut tokens = Vec::with_capacity(setup.tokens.len());
    for &token in &setup.tokens {
        driver.forward(&[token], 1)?;
        tokens.push(clock.now() - prompt);
    }
    let of_decoding = keep(&mut driver, None);
    let mut events = Digest::default();
    [&of_prompt, &of_decoding].into_iter().flatten().for_each(|journal| events.add(journal.digest()));
    let scheduler = driver.scheduler_mut();
    Ok(Run {
        prompt,
        decode: clock.now() - prompt,
        tokens,
        computed: clock.computed() - computed,
        stats: scheduler.pager_mut().take_stats(),
        experts: scheduler.take_expert_stats(),
        journal: of_decoding.filter(|_| setup.journal > 0),
        event_hash: events.value(),
        dense_pages: scheduler.plan().dense().len(),
        layout,
    })
}

/// What compute takes for `workload`, cut as `layout` says, on `device`.
pub fn costs(workload: &Workload, layout: &Layout, device: &Device) -> Costs {
    costs_of(workload, workload.pages(layout), device)
}

/// The same for pages of which their bytes and types are told.
fn costs_of(workload: &Workload, pages: Vec<(u32, u16)>, device: &Device) -> Costs {
    let memory = device.memory.bandwidth_bytes_s;
    let compute = &device.compute;
    let rates = |ty: &WeightType| Rates {
        stream_bytes_s: compute.decode_bytes_s.of(*ty).min(memory),
        // Two operations for each weight and token.
        batch_bytes_s: compute.prefill_flop_s.of(*ty) / 2.0 * ty.bits() / 8.0,
    };
    let machine = Machine {
        memory_bytes_s: memory,
        float_products_s: compute.prefill_flop_s.of(WeightType::F32) / 2.0,
        step: Nanos::from_secs_f64(compute.step_s),
        wake: Nanos::from_secs_f64(compute.wake_s),
    };
    let derated = [ThermalState::Warm, ThermalState::Hot].map(|warm| device.heat.compute_share(warm));
    Costs::new(machine, derated, workload.types.iter().map(rates).collect(), pages, workload.beside())
}

/// An engine of another kind on `device`, with `cache` bytes for experts and `lanes` reads at once.
pub fn serial<'a, R: Router>(
    workload: &'a Workload,
    device: &Device,
    flash: FlashOptions,
    router: R,
    cache: u64,
    lanes: usize,
) -> Serial<'a, R> {
    let tensors = workload.segments.iter().flat_map(Segment::tensors);
    let pages = tensors.zip(&workload.tensors).map(|(tensor, ty)| (tensor.bytes() as u32, *ty));
    let costs = costs_of(workload, pages.collect(), device);
    Serial::new(workload, costs, request(device), Flash::new(&device.flash, flash), router, cache, lanes)
}

/// What the processor of a device does for a read.
pub fn request(device: &Device) -> Nanos {
    Nanos::from_secs_f64(device.compute.request_s)
}

/// The energy of a run on `device`, in joules: `time` in all, of which compute worked for `computed`, and `bytes` were read.
pub fn joules(device: &Device, time: Nanos, computed: Nanos, bytes: u64) -> f64 {
    let power = device.power;
    power.idle_watts * time.as_secs_f64()
        + power.compute_watts * computed.as_secs_f64()
        + power.flash_joules_byte * bytes as f64
}
