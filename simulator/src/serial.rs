//! Engines of another kind, to compare with: no read overlaps with compute.
//!
//! What every token needs is in memory for good. Once a router has spoken, the missing experts of the layer are read by some
//! threads (*lanes*) at once: each takes an expert, reads its matrices one after the other, and takes the next. When all are there
//! the layer is computed. Experts stay in a cache of equal slots, from which the least recently used leaves.

use std::collections::VecDeque;

use forebay_pager::{Class, Nanos, PageId, Work};
use forebay_prefetch::experts::ExpertGrid;
use forebay_prefetch::policy::{Lru, Policy as _, Use};
use forebay_prefetch::{Chosen, Segment};

use crate::compute::Costs;
use crate::flash::{Flash, Request};
use crate::routing::Router;
use crate::workload::{StepNeed, Workload};

/// What such a run came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SerialRun {
    /// Tokens.
    pub tokens: u64,
    /// Time of all of it.
    pub time: Nanos,
    /// Of it, reading.
    pub reading: Nanos,
    /// Bytes read.
    pub bytes: u64,
    /// Experts needed.
    pub needed: u64,
    /// Of these, those that were in memory.
    pub hits: u64,
}

/// An engine that reads, waits, and computes.
#[derive(Debug)]
pub struct Serial<'a, R> {
    workload: &'a Workload,
    /// Of the tensors of the workload, as if each were a page.
    costs: Costs,
    /// What a lane's thread does for a read.
    request: Nanos,
    lanes: usize,
    flash: Flash,
    router: R,
    grid: ExpertGrid,
    cache: Cache,
    chosen: Vec<Chosen>,
    now: Nanos,
    position: u32,
    run: SerialRun,
}

/// Experts in memory.
#[derive(Debug)]
struct Cache {
    slots: usize,
    taken: usize,
    resident: Vec<bool>,
    lru: Lru,
}

impl Cache {
    /// Whether an expert is there; it is from now on, if there are slots at all.
    fn take(&mut self, page: PageId, at: u64) -> bool {
        if self.slots == 0 {
            return false;
        }
        let hit = self.resident[page.index()];
        if !hit && self.taken == self.slots {
            let victim = self.lru.victim(page, at, Class::Demand, &|_| true).expect("a full cache");
            self.lru.forget(victim);
            self.resident[victim.index()] = false;
        } else if !hit {
            self.taken += 1;
        }
        self.resident[page.index()] = true;
        self.lru.touch(page, at, Use::Done);
        hit
    }
}

impl<'a, R: Router> Serial<'a, R> {
    /// An engine with `cache` bytes for experts and `lanes` reads at once. `costs` has a page for each tensor of the workload.
    ///
    /// # Panics
    /// When there are no lanes.
    pub fn new(
        workload: &'a Workload,
        costs: Costs,
        request: Nanos,
        flash: Flash,
        router: R,
        cache: u64,
        lanes: usize,
    ) -> Self {
        assert!(lanes > 0, "somebody has to read");
        let (layers, experts, _) = workload.experts().unwrap_or_default();
        let grid = ExpertGrid { layers, experts };
        let of_expert = |segment: &Segment| segment.tensors().iter().map(|t| t.bytes()).sum::<u64>();
        let experts = workload.segments.iter().filter(|s| matches!(s, Segment::Experts { .. }));
        let slot = experts.map(of_expert).max().unwrap_or(1);
        let slots = ((cache / slot) as usize).min(grid.len());
        let cache = Cache { slots, taken: 0, resident: vec![false; grid.len()], lru: Lru::new(slots.max(1)) };
        let (chosen, run) = (Vec::new(), SerialRun::default());
        Serial {
            workload,
            costs,
            request,
            lanes,
            flash,
            router,
            grid,
            cache,
            chosen,
            now: Nanos::ZERO,
            position: 0,
            run,
        }
    }

    /// Decodes so many tokens. What was counted before is forgotten.
    pub fn decode(&mut self, tokens: u32) -> SerialRun {
        let (begin, mut done) = (self.now, 0);
        self.run = SerialRun::default();
        while done < tokens {
            self.token();
            done += 1;
        }
        self.run.tokens = u64::from(tokens);
        self.run.time = self.now - begin;
        self.run.clone()
    }

    fn token(&mut self) {
        let (mut layer, mut segment, mut tensor) = (0, 0, 0);
        for (index, step) in self.workload.steps.iter().enumerate() {
            self.now += self.of(Work::Step(index as u32));
            match step.need {
                StepNeed::All { segments, opens } => {
                    for _ in 0..segments {
                        self.compute(tensor, 1);
                        tensor += 1;
                        segment += 1;
                    }
                    if opens.is_some() {
                        self.chosen.clear();
                        self.router.choose(layer, 1, self.position as usize, &mut self.chosen);
                    }
                }
                StepNeed::Choice { .. } => {
                    self.read(layer, segment);
                    let tensors = self.workload.segments[segment].tensors().len();
                    for part in 0..tensors {
                        self.compute(tensor + part, self.chosen.len());
                    }
                    tensor += tensors;
                    segment += 1;
                    layer += 1;
                }
            }
        }
        self.position += 1;
    }

    fn of(&self, work: Work) -> Nanos {
        self.costs.of(work, 1, self.position, self.flash.thermal().0)
    }

    /// A tensor is multiplied with the token at hand, `times` copies of it.
    fn compute(&mut self, tensor: usize, times: usize) {
        for _ in 0..times {
            self.now += self.of(Work::Page { page: PageId(tensor as u32), tokens: 1 });
        }
    }

    /// Reads those of the chosen experts that are not in memory, and waits for them.
    fn read(&mut self, layer: usize, segment: usize) {
        let mut missing = VecDeque::new();
        for choice in &self.chosen {
            self.run.needed += 1;
            let page = self.grid.page(layer, choice.expert as usize);
            if self.cache.take(page, u64::from(self.position)) {
                self.run.hits += 1;
            } else {
                missing.push_back(choice.expert);
            }
        }
        let (begin, mut ended) = (self.now, Vec::new());
        let last = self.workload.segments[segment].tensors().len() - 1;
        // For each lane, its expert and the matrix that it reads.
        let mut lanes: Vec<Option<(u32, usize)>> = vec![None; self.lanes];
        loop {
            for (lane, work) in lanes.iter_mut().enumerate().filter(|(_, work)| work.is_none()) {
                *work = missing.pop_front().map(|expert| (expert, 0));
                self.ask(lane, *work, segment);
            }
            let Some(next) = self.flash.next_end() else { break };
            self.flash.advance(next, &mut ended);
            // The lane's thread wakes up and asks for its next.
            self.now = self.now.max(next) + self.request;
            for end in ended.drain(..) {
                let lane = end.id as usize;
                lanes[lane] =
                    lanes[lane].filter(|(_, tensor)| *tensor < last).map(|(expert, tensor)| (expert, tensor + 1));
                self.ask(lane, lanes[lane], segment);
            }
        }
        self.run.reading += self.now - begin;
    }

    fn ask(&mut self, lane: usize, what: Option<(u32, usize)>, segment: usize) {
        let Some((expert, tensor)) = what else { return };
        let extent = self.workload.segments[segment].tensors()[tensor];
        let offset = extent.offset + u64::from(expert) * extent.bytes();
        self.run.bytes += extent.bytes();
        self.flash.submit(self.now, Request { id: lane as u64, offset, len: extent.bytes() as u32 });
    }
}
