//! A scenario: everything that a run depends on, drawn from one number.

use std::fmt;
use std::ops::Range;

use forebay_pager::{ALIGN, FileId, Nanos, Scratch};
use forebay_prefetch::scheduler::least_frames;
use forebay_prefetch::{Layout, Lookahead, PolicyKind, SchedulerOptions, Segment, StepId, TensorExtent};

use super::dice::Dice;
use crate::compute::Beside;
use crate::flash::{
    Background, Correction, Faults, FlashOptions, FlashProfile, Heat, IssuingCore, MapCache, Tail, ThermalState,
    UsefulDepth,
};
use crate::profile::WeightType;
use crate::workload::{Embedding, StepNeed, StepWork, Workload};

/// Everything that a run depends on.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it was drawn from.
    pub seed: u64,
    /// The model.
    pub workload: Workload,
    /// How its pages are cut.
    pub layout: Layout,
    /// Frames of the window.
    pub frames: usize,
    /// Frames beside it, for rows of the embedding.
    pub scratch: Scratch,
    /// Reads in flight.
    pub depth: usize,
    /// Tokens of a prompt that go through the layers together.
    pub chunk: usize,
    /// Policy and prefetch.
    pub scheduler: SchedulerOptions,
    /// The flash.
    pub profile: FlashProfile,
    /// How it is run, and what goes wrong now and then.
    pub flash: FlashOptions,
    /// What the processor does for a request.
    pub request: Nanos,
    /// Bytes of weights per second that are computed.
    pub compute_bytes_s: f64,
    /// Who chooses experts.
    pub routing: Routing,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens that are decoded.
    pub decoded: usize,
    /// How likely it is, at each call of the scheduler, that the caller gives the pass up and begins again.
    pub abandon: f64,
    /// What cannot be read, until it is mended.
    pub broken: Option<Broken>,
}

/// Who chooses experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Routing {
    /// Drawn, as skewed and repetitive as that of a trained model; asked early, a router names this share of what it will choose.
    Drawn(f64),
    /// An adversary: of the experts the ones that are not in the window, and asked early it names others.
    Adverse,
}

/// A part of a file that fails at every try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: FileId,
    /// Its bytes.
    pub bytes: Range<u64>,
    /// The first pass in which they fail.
    pub from_pass: usize,
    /// How often passes fail, all together, before it is mended.
    pub tries: usize,
    /// The file has become shorter; else the device reports an error.
    pub shrunk: bool,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn draw(seed: u64) -> Scenario {
        let dice = &mut Dice::new(seed);
        let frame_len = ALIGN * if dice.happens(0.8) { dice.within(2..=3) } else { dice.within(4..=8) };
        let workload = Model::new(dice, frame_len).draw();
        let layout = Layout::cut(&workload.segments, frame_len).expect("rows that fit the frames");
        let depth = if dice.happens(0.2) { 1 } else { dice.within(1..=16) };
        let frames = window(dice, &layout);
        let scheduler = SchedulerOptions {
            policy: if dice.happens(0.6) { PolicyKind::Forecast } else { dice.one_of(&PolicyKind::ALL) },
            prefetch: dice.happens(0.85),
            lookahead: dice.one_of(&Lookahead::ALL),
        };
        let scratch = Scratch { max_len: workload.embedding.extent.row_bytes as usize, frames: dice.within(1..=4) };
        let (profile, flash) = (profile(dice), flash(dice));
        let (prompt, decoded) = (dice.within(1..=12), dice.within(0..=8));
        let routing = if dice.happens(0.6) { Routing::Drawn(dice.uniform()) } else { Routing::Adverse };
        let abandon = dice.maybe(0.3, |dice| dice.scale(0.001, 0.1));
        let broken = if dice.happens(0.25) { Some(broken(dice, &layout, prompt + decoded)) } else { None };
        Scenario {
            seed,
            frames,
            scratch,
            depth,
            chunk: dice.within(1..=6),
            scheduler,
            profile,
            flash,
            request: Nanos(dice.within(0..=20_000) as u64),
            compute_bytes_s: dice.scale(1e8, 1e12),
            routing,
            prompt,
            decoded,
            abandon,
            broken,
            workload,
            layout,
        }
    }
}

/// Frames, from the fewest that work up to all pages and more.
fn window(dice: &mut Dice, layout: &Layout) -> usize {
    let pages = layout.page_count();
    let of_expert = layout.segments.iter().filter_map(|s| Some(s.pages.len() / s.experts? as usize));
    let least = least_frames(of_expert.max().unwrap_or(0)).min(pages);
    match dice.within(0..=9) {
        0..=2 => least,
        3..=4 => least + dice.within(0..=4),
        5..=8 => dice.within(least..=pages.max(least)),
        _ => pages + dice.within(0..=3),
    }
}

/// A model that is being drawn.
struct Model<'a> {
    dice: &'a mut Dice,
    frame_len: usize,
    /// Where the next tensor of each file may begin.
    ends: Vec<u64>,
    segments: Vec<Segment>,
    steps: Vec<StepWork>,
    tensors: usize,
}

impl Model<'_> {
    fn new(dice: &mut Dice, frame_len: usize) -> Model<'_> {
        let files = if dice.happens(0.3) { dice.within(2..=3) } else { 1 };
        Model { dice, frame_len, ends: vec![0; files], segments: Vec::new(), steps: Vec::new(), tensors: 0 }
    }

    fn draw(mut self) -> Workload {
        let layers = self.dice.within(1..=5);
        // Dense, a mixture, or some layers of each.
        let experts = self.dice.one_of(&[0.0, 1.0, 1.0, 0.5]);
        for _ in 0..layers {
            self.dense_steps(0..=2);
            if self.dice.happens(experts) {
                self.mixture();
            }
        }
        self.dense_step(1);
        let embedding = self.embedding();
        Workload {
            types: vec![WeightType::F16],
            tensors: vec![0; self.tensors],
            segments: self.segments,
            steps: self.steps,
            embedding,
        }
    }

    /// A tensor that is `copies` times there, one behind the other.
    fn extent(&mut self, rows: usize, copies: u64) -> TensorExtent {
        // So that a row fits wherever it begins.
        let longest = self.frame_len - ALIGN;
        let row_bytes = match self.dice.within(0..=3) {
            0 => self.dice.within(1..=100),
            1 => self.dice.within(1..=longest),
            2 => (self.dice.within(1..=longest) / 512 * 512).max(512),
            _ => self.dice.within(1..=longest / 4),
        };
        let file = self.dice.within(0..=self.ends.len() - 1);
        let gap = if self.dice.happens(0.5) { self.dice.within(0..=10_000) as u64 } else { 0 };
        let offset = self.ends[file] + gap;
        let extent = TensorExtent { file: FileId(file as u16), offset, rows: rows as u32, row_bytes: row_bytes as u32 };
        self.ends[file] = offset + copies * extent.bytes();
        self.tensors += 1;
        extent
    }

    fn dense_steps(&mut self, count: std::ops::RangeInclusive<usize>) {
        for _ in 0..self.dice.within(count) {
            let segments = self.dice.within(1..=3);
            self.dense_step(segments);
        }
    }

    fn dense_step(&mut self, segments: usize) {
        for _ in 0..segments {
            let rows = self.dice.within(1..=24);
            let extent = self.extent(rows, 1);
            self.segments.push(Segment::Dense(extent));
        }
        self.push(StepNeed::All { segments: segments as u32, opens: None });
    }

    /// A router, what is computed while experts are read, and the experts.
    fn mixture(&mut self) {
        self.dense_step(1);
        let router = self.steps.len() - 1;
        self.dense_steps(0..=1);
        let experts = self.dice.within(1..=12);
        let most = if self.dice.happens(0.7) { experts.div_ceil(3) } else { experts };
        let chosen = self.dice.within(1..=most) as u32;
        let parts = self.dice.within(1..=3);
        let tensors = (0..parts).map(|_| {
            let rows = self.dice.within(1..=6);
            self.extent(rows, experts as u64)
        });
        let tensors = tensors.collect();
        self.segments.push(Segment::Experts { tensors, count: experts as u32 });
        let choice = StepId(self.steps.len() as u32);
        if let StepNeed::All { opens, .. } = &mut self.steps[router].need {
            *opens = Some(choice);
        }
        self.push(StepNeed::Choice { chosen, before_gate: parts as u32 - 1 });
    }

    fn push(&mut self, need: StepNeed) {
        let token_bytes = self.dice.within(0..=100_000) as u64;
        self.steps.push(StepWork { need, beside: Beside { token_bytes, ..Beside::default() } });
    }

    fn embedding(&mut self) -> Embedding {
        match self.segments.last() {
            Some(&Segment::Dense(head)) if self.dice.happens(0.4) => {
                Embedding { extent: head, tied: Some(self.tensors as u32 - 1) }
            }
            _ => {
                let rows = self.dice.within(1..=40);
                let extent = self.extent(rows, 1);
                self.tensors -= 1; // It is none of the plan's.
                Embedding { extent, tied: None }
            }
        }
    }
}

fn profile(dice: &mut Dice) -> FlashProfile {
    let link_bytes_s = dice.scale(2e7, 2e10);
    let latency_s = dice.maybe(0.95, |dice| dice.scale(2e-6, 5e-3));
    let times = dice.between(1.0, 10.0);
    let burst_share = dice.between(0.1, 0.9);
    let warm_c = dice.between(26.0, 40.0);
    FlashProfile {
        correction: Correction::default(),
        link_bytes_s,
        stream_bytes_s: link_bytes_s * dice.between(0.1, 1.0),
        latency_s,
        commands_s: dice.scale(500.0, 2e6),
        transfer_bytes: 4096 << dice.within(0..=9),
        turnaround_s: dice.maybe(0.5, |dice| dice.scale(1e-8, 1e-4)),
        units: dice.within(1..=64) as u32,
        sense_s: latency_s * dice.uniform(),
        sense_bytes: dice.scale(4096.0, 65536.0),
        jitter: dice.maybe(0.7, Dice::uniform),
        tail: Tail { share: dice.maybe(0.7, |dice| dice.between(0.0, 0.9 / times)), times },
        depth: UsefulDepth {
            requests: dice.between(1.0, 16.0),
            sag: dice.maybe(0.5, |dice| dice.between(0.0, 0.5)),
            floor: dice.between(0.1, 1.0),
        },
        map: MapCache { bytes: dice.scale(1e4, 1e9), miss_times: dice.between(1.0, 4.0) },
        small_core_share: dice.between(0.2, 1.0),
        heat: Heat {
            ambient_c: 25.0,
            kelvin_watt: dice.between(1.0, 20.0),
            // Light enough that some devices throttle within a few tokens.
            joules_kelvin: dice.scale(0.01, 200.0),
            warm_c,
            hot_c: warm_c + dice.between(1.0, 20.0),
            recovery_k: dice.between(0.5, 4.0),
            warm_share: dice.between(0.3, 1.0),
            hot_share: dice.between(0.1, 0.9),
        },
        background: Background {
            share: dice.maybe(0.3, |dice| burst_share * dice.between(0.05, 0.9)),
            burst_share,
            burst_s: dice.scale(1e-4, 0.1),
        },
        tiers: Vec::new(),
        joules_byte: dice.scale(1e-10, 1e-6),
    }
}

fn flash(dice: &mut Dice) -> FlashOptions {
    let mut faults = Faults::NONE;
    if dice.happens(0.4) {
        faults.delayed = dice.maybe(0.5, |dice| dice.between(0.0, 0.3));
        faults.delay_s = dice.scale(1e-4, 0.2);
        faults.short = dice.maybe(0.5, |dice| dice.between(0.0, 0.5));
        faults.failed = dice.maybe(0.5, |dice| dice.between(0.0, 0.15));
        faults.corrupt = dice.maybe(0.3, |dice| dice.between(0.0, 0.2));
    }
    FlashOptions {
        seed: dice.seed(),
        faults,
        start: dice.one_of(&[ThermalState::Cold, ThermalState::Warm, ThermalState::Hot]),
        core: dice.one_of(&[IssuingCore::Big, IssuingCore::Small]),
        range_bytes: if dice.happens(0.5) { Some(dice.scale(1e5, 1e12) as u64) } else { None },
        capacity_gb: None,
        other_watts: dice.maybe(0.5, |dice| dice.between(0.0, 8.0)),
    }
}

fn broken(dice: &mut Dice, layout: &Layout, passes: usize) -> Broken {
    let spec = layout.specs[dice.within(0..=layout.page_count() - 1)];
    Broken {
        file: spec.file,
        bytes: spec.offset..spec.offset + dice.within(1..=spec.len as usize) as u64,
        from_pass: dice.within(0..=passes / 2),
        tries: dice.within(1..=3),
        shrunk: dice.happens(0.3),
    }
}

/// In a few lines, what it takes to know what kind of run it is.
impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = &self.workload.steps;
        let choices = steps.iter().filter(|step| matches!(step.need, StepNeed::Choice { .. })).count();
        let (_, experts, chosen) = self.workload.experts().unwrap_or_default();
        let tied = if self.workload.embedding.tied.is_some() { "tied" } else { "of its own" };
        writeln!(
            f,
            "  model: {} pages, {} steps, {choices} of them choices (at most {chosen} of {experts} experts), embedding {tied}",
            self.layout.page_count(),
            steps.len()
        )?;
        writeln!(
            f,
            "  window: {} frames of {} bytes; {} reads in flight; {} scratch frames",
            self.frames, self.layout.frame_len, self.depth, self.scratch.frames
        )?;
        let SchedulerOptions { policy, prefetch, lookahead } = self.scheduler;
        writeln!(f, "  policy {policy}, prefetch {prefetch}, lookahead {lookahead}, chunks of {}", self.chunk)?;
        writeln!(
            f,
            "  tokens: {} and {}; routing {:?}; given up with {:.4}",
            self.prompt, self.decoded, self.routing, self.abandon
        )?;
        writeln!(f, "  broken: {:?}", self.broken)?;
        writeln!(f, "  flash: {:?}", self.flash)?;
        write!(f, "  device: {:?}", self.profile)
    }
}
