//! The same seed gives the same events at the same times: in any build, on any machine, on any thread.

use forebay_pager::{FileId, Scratch};
use forebay_prefetch::{Lookahead, SchedulerOptions, Segment, StepId, TensorExtent};
use forebay_simulator::Workload;
use forebay_simulator::compute::Beside;
use forebay_simulator::flash::{Faults, FlashOptions};
use forebay_simulator::profile::{Edge, Profile, WeightType};
use forebay_simulator::routing::{AnyRouter, Draw, Drawn};
use forebay_simulator::run::{Setup, run};
use forebay_simulator::workload::{Embedding, StepNeed, StepWork};

const ROW: u32 = 3000;

/// A device that never changes: hashes depend on each of its figures.
const DEVICE: &str = include_str!("steady.toml");

/// A model that is being put together: rows one behind the other in one file.
#[derive(Default)]
struct Parts {
    end: u64,
    segments: Vec<Segment>,
    steps: Vec<StepWork>,
    tensors: usize,
}

impl Parts {
    fn extent(&mut self, rows: u32, copies: u32) -> TensorExtent {
        let extent = TensorExtent { file: FileId(0), offset: self.end, rows, row_bytes: ROW };
        self.end += u64::from(copies) * extent.bytes();
        self.tensors += 1;
        extent
    }

    fn step(&mut self, need: StepNeed) {
        self.steps.push(StepWork { need, beside: Beside { token_bytes: 50_000, ..Beside::default() } });
    }

    fn dense(&mut self, rows: u32, opens: Option<StepId>) {
        let extent = self.extent(rows, 1);
        self.segments.push(extent.into());
        self.step(StepNeed::All { segments: 1, opens });
    }

    fn experts(&mut self, count: u32, chosen: u32) {
        let tensors = [12, 12, 9].map(|rows| self.extent(rows, count)).to_vec();
        self.segments.push(Segment::Experts { tensors, count });
        self.step(StepNeed::Choice { chosen, before_gate: 2 });
    }

    fn workload(self) -> Workload {
        let extent = TensorExtent { file: FileId(0), offset: self.end, rows: 100, row_bytes: ROW };
        let embedding = Embedding { extent, tied: None };
        let (types, tensors) = (vec![WeightType::Q8_0], vec![0; self.tensors]);
        Workload { segments: self.segments, types, tensors, steps: self.steps, embedding }
    }
}

fn dense() -> Workload {
    let mut parts = Parts::default();
    (0..12).for_each(|layer| parts.dense(30 + layer, None));
    parts.workload()
}

fn mixture() -> Workload {
    let mut parts = Parts::default();
    for _ in 0..6 {
        parts.dense(20, None);
        let choice = StepId(parts.steps.len() as u32 + 1);
        parts.dense(3, Some(choice));
        parts.experts(16, 3);
    }
    parts.dense(40, None);
    parts.workload()
}

/// The hash of a prompt and some tokens.
fn hash(workload: &Workload, frames: usize, seed: u64) -> u64 {
    let device = Profile::parse(DEVICE, "steady.toml").unwrap().at(Edge::Nominal);
    let faults = Faults { delayed: 0.05, delay_s: 0.004, short: 0.05, failed: 0.02, ..Faults::NONE };
    let setup = Setup {
        frame_len: 16 << 10,
        frames,
        scratch: Scratch { max_len: ROW as usize, frames: 4 },
        chunk: 4,
        depth: 4,
        scheduler: SchedulerOptions { lookahead: Lookahead::Router, ..SchedulerOptions::default() },
        flash: FlashOptions { seed, faults, ..FlashOptions::default() },
        prompt: (0..9).collect(),
        tokens: (9..40).collect(),
        journal: 0,
    };
    let router = match workload.experts() {
        Some((layers, experts, chosen)) => {
            AnyRouter::Drawn(Drawn::new(Draw { seed, ..Draw::default() }, layers, experts, chosen))
        }
        None => AnyRouter::None,
    };
    run(workload, &device, &setup, router).unwrap().event_hash
}

fn hashes() -> [u64; 4] {
    let (dense, mixture) = (dense(), mixture());
    [hash(&dense, 60, 1), hash(&dense, 200, 1), hash(&mixture, 90, 1), hash(&mixture, 90, 2)]
}

#[test]
fn hashes_are_what_they_were() {
    // Whoever changes what is decided, or how long things take, changes these, and says so.
    let hashes = hashes();
    assert_ne!(hashes[2], hashes[3], "another seed");
    assert_eq!(
        hashes.map(|hash| format!("{hash:016x}")),
        ["8fd7ae7f5d97209b", "7e04ed8c608a549f", "9f0d243f9d80c777", "a0ddb932519b223d"]
    );
}

#[test]
fn threads_make_no_difference() {
    let alone = hashes();
    #[expect(clippy::disallowed_methods, reason = "that threads make no difference can only be seen with some")]
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..4).map(|_| scope.spawn(hashes)).collect();
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), alone));
    });
}
