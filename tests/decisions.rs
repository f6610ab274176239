//! A simulated run decides as the real one did: the engine runs over a file, what ends at each look at the flash is written down,
//! and the simulator's driver over a flash that gives the same back makes the same decisions, one after the other.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{self, Sender};

use common::mixture::Spec;
use forebay::simulate::workload;
use forebay_infer::budget::Budget;
use forebay_infer::kernels::Pool;
use forebay_infer::model::weights::{plan, segments};
use forebay_infer::model::{Compute, Engine, RouteRecorder, Vectors, Weights};
use forebay_infer::open::{Loaded, Options, divide, scratch};
use forebay_pager::storage::{AnyStorage, Done, Read, Storage, Wait, open};
use forebay_pager::{Clock, Event, Journal, Nanos, PageId, Pager, SystemClock, Window};
use forebay_prefetch::experts::trace::Trace;
use forebay_prefetch::experts::{ExpertForecast, ExpertPolicy, Learned};
use forebay_prefetch::policy::{Policy, Position, Use};
use forebay_prefetch::{Chosen, Layout, Lookahead, PolicyKind, Routing, Scheduler, SchedulerOptions};
use forebay_simulator::drive::Driver;
use forebay_simulator::routing::Router;

const CONTEXT: usize = 128;
const PROMPT: usize = 21;
const CHUNK: usize = 6;
const DECODED: usize = 30;
const EVENTS: usize = 1 << 20;

/// What one look at the flash gave: how it waited, and the reads that had ended, by their tags.
#[derive(Debug, PartialEq)]
struct Reap {
    wait: Wait,
    ended: Vec<u64>,
}

/// A storage that writes down what it gives back. It keeps some for later, by the numbers of a generator: a file that is in the
/// memory of the device is read in order and at once, and flash is not.
struct Recording {
    storage: AnyStorage,
    there: Vec<Done>,
    random: u64,
    reaps: Rc<RefCell<Vec<Reap>>>,
}

impl Recording {
    fn below(&mut self, end: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % end
    }
}

impl Storage for Recording {
    fn depth(&self) -> usize {
        self.storage.depth()
    }

    fn alignment(&self) -> usize {
        self.storage.alignment()
    }

    fn submit(&mut self, read: Read) {
        self.storage.submit(read);
    }

    fn flush(&mut self) {
        self.storage.flush();
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        self.storage.reap(Wait::No, &mut self.there);
        let could = self.in_flight() > 0;
        if self.there.is_empty() {
            self.storage.reap(wait, &mut self.there);
        }
        let mut give = if self.there.is_empty() { 0 } else { self.below(self.there.len() + 1) };
        if wait == Wait::One && could {
            give = give.max(1);
        }
        let mut ended = Vec::new();
        for _ in 0..give {
            let which = self.below(self.there.len());
            let one = self.there.swap_remove(which);
            ended.push(one.tag);
            done.push(one);
        }
        self.reaps.borrow_mut().push(Reap { wait, ended });
    }

    fn in_flight(&self) -> usize {
        self.storage.in_flight() + self.there.len()
    }

    fn describe(&self) -> String {
        self.storage.describe()
    }
}

/// A storage that gives back what was written down, and no bytes.
struct Replayed {
    depth: usize,
    reads: Vec<Read>,
    reaps: VecDeque<Reap>,
}

impl Storage for Replayed {
    fn depth(&self) -> usize {
        self.depth
    }

    fn alignment(&self) -> usize {
        1
    }

    fn submit(&mut self, read: Read) {
        self.reads.push(read);
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        let reap = self.reaps.pop_front().expect("the real run has not looked again");
        assert_eq!(reap.wait, wait);
        for tag in reap.ended {
            let which = self.reads.iter().position(|read| read.tag == tag);
            let Read { tag, frame, .. } = self.reads.remove(which.expect("the real run had asked for it"));
            done.push(Done { tag, frame, result: Ok(()) });
        }
    }

    fn in_flight(&self) -> usize {
        self.reads.len()
    }

    fn describe(&self) -> String {
        "what was written down".to_owned()
    }
}

/// Time does not matter here.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Nanos {
        Nanos::ZERO
    }
}

/// The policy of every run, which passes on what routers are heard to say early.
#[derive(Debug)]
struct Overheard {
    policy: ExpertForecast<Learned>,
    scores: Sender<(usize, Vec<f32>)>,
}

impl Policy for Overheard {
    fn touch(&mut self, page: PageId, at: Position, use_: Use) {
        self.policy.touch(page, at, use_);
    }

    fn victim(
        &mut self,
        incoming: PageId,
        at: Position,
        class: forebay_pager::Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        self.policy.victim(incoming, at, class, evictable)
    }

    fn forget(&mut self, page: PageId) {
        self.policy.forget(page);
    }
}

impl ExpertPolicy for Overheard {
    fn observe(&mut self, routing: &Routing<'_>) {
        self.policy.observe(routing);
    }

    fn foresee(&mut self, layer: usize, scores: &[f32]) {
        self.scores.send((layer, scores.to_vec())).unwrap();
        self.policy.foresee(layer, scores);
    }

    fn hint(&mut self, resident: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        self.policy.hint(resident)
    }

    fn least(&mut self, evictable: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        self.policy.least(evictable)
    }
}

/// What routers said, in the order in which they did.
struct Told {
    choices: VecDeque<(usize, Vec<Chosen>)>,
    early: VecDeque<(usize, Vec<f32>)>,
}

impl Told {
    fn new(trace: Option<&Trace>, early: VecDeque<(usize, Vec<f32>)>) -> Self {
        let visits = trace.into_iter().flat_map(Trace::visits);
        Told { choices: visits.map(|visit| (visit.layer, visit.choices.to_vec())).collect(), early }
    }
}

impl Router for Told {
    fn choose(&mut self, layer: usize, _: usize, _: usize, chosen: &mut Vec<Chosen>) {
        let (of, choices) = self.choices.pop_front().expect("the real run chose no more");
        assert_eq!(of, layer, "each layer of these models has experts");
        chosen.extend(choices);
    }

    fn foresee(&mut self, layer: usize, scores: &mut Vec<f32>) -> bool {
        let (of, heard) = self.early.pop_front().expect("the real run asked this router, too");
        assert_eq!(of, layer);
        *scores = heard;
        true
    }
}

fn tokens(vocab: usize) -> Vec<u32> {
    (0..PROMPT + DECODED).map(|i| ((i * 31 + i * i * 3) % vocab) as u32).collect()
}

/// What was decided, and when it does not matter.
fn decisions(journal: &Journal) -> Vec<Event> {
    assert_eq!(journal.lost(), 0);
    let without_times = |event| match event {
        Event::Arrived { page, .. } => Event::Arrived { page, since: Nanos::ZERO },
        Event::Failed { page, .. } => Event::Failed { page, since: Nanos::ZERO },
        Event::Stalled { .. } => Event::Stalled { since: Nanos::ZERO },
        other => other,
    };
    journal.entries().iter().map(|entry| without_times(entry.event)).collect()
}

/// A run that was written down.
struct Recorded {
    events: Vec<Event>,
    reaps: Vec<Reap>,
    trace: Option<Trace>,
    early: VecDeque<(usize, Vec<f32>)>,
    budget: Budget,
}

fn real(loaded: &Loaded, options: &Options, seed: u64) -> Recorded {
    let (map, files) = (&loaded.map, &loaded.gguf.files);
    let budget = divide(map, options).unwrap();
    let layout = Layout::cut(&segments(map), budget.frame_len).unwrap();
    let window = Window::with_scratch(budget.frame_len, budget.frames, scratch(map)).unwrap();
    let (storage, _) = open(files, &window, options.depth, options.backend).unwrap();
    let reaps = Rc::new(RefCell::new(Vec::new()));
    let storage = Recording { storage, there: Vec::new(), random: seed, reaps: reaps.clone() };
    let mut pager = Pager::new(storage, SystemClock::new(), window, files.clone(), layout.specs.clone()).unwrap();
    let vectors = Vectors::read(&map.vectors, &mut pager).unwrap();
    let plan = plan(map, &layout);
    let (scores, early) = mpsc::channel();
    let scheduler = match options.scheduler.lookahead {
        Lookahead::Router => {
            let used = plan.choices().iter().map(|(_, choice)| choice.chosen as usize).max().unwrap_or(0);
            let policy = Learned::new(plan.expert_grid(), used);
            let policy = ExpertForecast::with_live_lookahead(plan.expert_grid(), policy);
            let policy = Box::new(Overheard { policy, scores });
            Scheduler::with_experts(pager, plan, &layout, options.scheduler, policy).unwrap()
        }
        Lookahead::Off | Lookahead::Learnt => Scheduler::new(pager, plan, &layout, options.scheduler).unwrap(),
    };
    let weights = Weights::over(map, layout, scheduler, budget.chunk);
    let compute = Compute { pool: Pool::new(options.threads), isa: options.isa };
    let mut engine = Engine::new(map, weights, vectors, compute, options.kv, options.context, budget.chunk);

    reaps.borrow_mut().clear();
    engine.record_routes(RouteRecorder::in_memory(map, "made up", PROMPT));
    engine.weights_mut().scheduler_mut().pager_mut().keep_journal(Some(Journal::new(EVENTS)));
    let tokens = tokens(map.decoder.shape.vocab);
    engine.forward(&tokens[..PROMPT], |_| ()).unwrap();
    for token in &tokens[PROMPT..] {
        engine.forward(std::slice::from_ref(token), |_| ()).unwrap();
    }
    let trace = engine.record_routes(None).and_then(|recorder| recorder.into_trace().unwrap());
    let journal = engine.weights_mut().scheduler_mut().pager_mut().keep_journal(None).unwrap();
    drop(engine);
    let reaps = Rc::try_unwrap(reaps).unwrap().into_inner();
    Recorded { events: decisions(&journal), reaps, trace, early: early.try_iter().collect(), budget }
}

fn simulated(loaded: &Loaded, options: &Options, recorded: &mut Recorded) -> Vec<Event> {
    let map = &loaded.map;
    let budget = &recorded.budget;
    let workload = workload(map, options.kv).unwrap();
    let layout = Layout::cut(&workload.segments, budget.frame_len).unwrap();
    let window = Window::unbacked(budget.frame_len, budget.frames, scratch(map)).unwrap();
    let reaps = std::mem::take(&mut recorded.reaps).into();
    let storage = Replayed { depth: options.depth, reads: Vec::new(), reaps };
    let files = loaded.gguf.files.clone();
    let pager = Pager::new(storage, Still, window, files, layout.specs.clone()).unwrap();
    let scheduler = Scheduler::new(pager, workload.plan(&layout), &layout, options.scheduler).unwrap();
    let router = Told::new(recorded.trace.as_ref(), std::mem::take(&mut recorded.early));
    let mut driver = Driver::new(scheduler, layout, workload, router);
    driver.scheduler_mut().pager_mut().keep_journal(Some(Journal::new(EVENTS)));
    let tokens = tokens(map.decoder.shape.vocab);
    driver.forward(&tokens[..PROMPT], budget.chunk).unwrap();
    for token in &tokens[PROMPT..] {
        driver.forward(std::slice::from_ref(token), budget.chunk).unwrap();
    }
    assert!(driver.scheduler().pager().storage().reaps.is_empty(), "the real run looked more often");
    decisions(&driver.scheduler_mut().pager_mut().keep_journal(None).unwrap())
}

/// How often what happened, to see that a comparison was of something.
#[derive(Debug, Default)]
struct Seen {
    hits: usize,
    demands: usize,
    hints: usize,
    evictions: usize,
    /// Routers that were asked early.
    early: usize,
}

/// Runs a model in several windows, and compares.
fn compare(path: &Path, scheduler: SchedulerOptions) -> Seen {
    let loaded = Loaded::open(path).unwrap();
    let base = Options { page_len: Some(1), chunk: Some(CHUNK), scheduler, ..common::options(CONTEXT) };
    let least = common::floor(path, &base);
    let all = base;
    let (dense, experts) = loaded.map.dense_and_expert_bytes();
    let half = forebay::measure::ceiling_for_window(&loaded.map, &base, (dense + experts) * 2 / 3).unwrap();
    let mut seen = Seen::default();
    for (window, options) in [("least", least), ("two thirds", Options { ram: half, ..base }), ("all", all)] {
        for depth in [1, 3, 8] {
            let options = Options { depth, ..options };
            let mut recorded = real(&loaded, &options, depth as u64 + 11);
            seen.early += recorded.early.len();
            let simulated = simulated(&loaded, &options, &mut recorded);
            let real = &recorded.events;
            let differs = real.iter().zip(&simulated).position(|(real, simulated)| real != simulated);
            if let Some(at) = differs {
                let around = at.saturating_sub(5)..(at + 3).min(real.len()).min(simulated.len());
                panic!(
                    "{scheduler:?}, window {window}, depth {depth}: event {at} of {} differs\nreal      {:?}\nsimulated {:?}",
                    real.len(),
                    &real[around.clone()],
                    &simulated[around]
                );
            }
            assert_eq!(real.len(), simulated.len(), "{scheduler:?}, window {window}, depth {depth}");
            for event in real {
                match event {
                    Event::Read { class: forebay_pager::Class::Demand, .. } => seen.demands += 1,
                    Event::Read { class: forebay_pager::Class::Hint, .. } => seen.hints += 1,
                    Event::Evicted { .. } => seen.evictions += 1,
                    Event::Leased(_) => seen.hits += 1,
                    _ => {}
                }
            }
        }
    }
    seen
}

#[test]
fn a_dense_model() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/arch/qwen3.gguf");
    for policy in PolicyKind::ALL {
        for prefetch in [true, false] {
            let seen = compare(&path, SchedulerOptions { policy, prefetch, ..Default::default() });
            assert!(seen.hits > 1000 && seen.demands > 100 && seen.evictions > 100, "{seen:?}");
            assert_eq!(seen.hints > 100, prefetch, "{seen:?}");
        }
    }
}

#[test]
fn mixtures_on_every_ground_for_reading_ahead() {
    let directory = tempfile::tempdir().unwrap();
    // One without a shared expert, one with, and one whose head is the embedding.
    let specs = [
        Spec { experts: 16, chosen: 2, ..Spec::new("qwen3moe") },
        Spec::new("qwen2moe"),
        Spec { tied: true, ..Spec::new("olmoe") },
    ];
    for (i, spec) in specs.into_iter().enumerate() {
        let path = directory.path().join(format!("{i}.gguf"));
        spec.write(&path, 7);
        for lookahead in Lookahead::ALL {
            let seen = compare(&path, SchedulerOptions { lookahead, ..Default::default() });
            assert!(seen.hits > 1000 && seen.demands > 100 && seen.hints > 100 && seen.evictions > 100, "{seen:?}");
            assert_eq!(seen.early > 20, lookahead == Lookahead::Router, "{seen:?}");
        }
        let seen = compare(&path, SchedulerOptions { policy: PolicyKind::Lru, ..Default::default() });
        assert!(seen.evictions > 100, "{seen:?}");
    }
}
