//! A recorded routing trace, driven through a policy.
//!
//! # What is counted
//!
//! A visit of a layer *needs* each expert that its router chose, once: in a prompt the union over the tokens of the chunk. A need
//! is a *hit* if the expert is in memory at the moment the router has spoken; else it is read. The cache has slots of the length
//! of the largest expert. An expert that is read but not kept passes through frames beside these slots.
//!
//! Hints are reads before the router has spoken, for the layer that comes next. Time is not modelled: how many the flash has
//! time for is stated ([`Budget::ahead`]).

use forebay_pager::{Class, PageId};

use super::trace::{Phase, Trace};
use super::{ExpertPolicy, Routing};
use crate::policy::{Position, Use};

/// What a policy has to get along with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Experts that memory holds.
    pub capacity: usize,
    /// Experts that the flash has time to read ahead per visit of a layer while decoding, on average: fractions are saved up to
    /// one read. 0 for a policy that shall only decide who stays.
    pub ahead: f64,
}

/// What a phase came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tokens.
    pub tokens: u64,
    /// Experts needed.
    pub needs: u64,
    /// Needs that were in memory when the router had spoken.
    pub hits: u64,
    /// Bytes read for the other needs.
    pub demand_bytes: u64,
    /// Experts read ahead.
    pub hints: u64,
    /// Hints that the very next visit of their layer used.
    pub used_hints: u64,
    /// Bytes read ahead.
    pub hint_bytes: u64,
}

impl Tally {
    /// Hits of needs, 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        self.hits as f64 / (self.needs as f64).max(1.0)
    }

    /// Needs that were read when the router had spoken.
    pub fn misses(&self) -> u64 {
        self.needs - self.hits
    }

    /// Bytes read for one token, ahead or on demand.
    pub fn bytes_per_token(&self) -> f64 {
        (self.demand_bytes + self.hint_bytes) as f64 / (self.tokens as f64).max(1.0)
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The prompt.
    pub prompt: Tally,
    /// The tokens that were written.
    pub decode: Tally,
}

/// Drives `policy` over `trace`, beginning with nothing in memory.
///
/// # Panics
/// When the policy names a victim that is not in memory.
pub fn replay(trace: &Trace, policy: &mut dyn ExpertPolicy, budget: Budget) -> Outcome {
    let mut cache = Cache::new(trace, budget.capacity);
    let mut outcome = Outcome::default();
    let mut saved = 0.0;
    for (visit, routing) in trace.visits().enumerate() {
        let decoding = trace.phase(visit) == Phase::Decode;
        let tally = if decoding { &mut outcome.decode } else { &mut outcome.prompt };
        cache.visit(visit as Position, &routing, policy, tally);
        if decoding && budget.ahead > 0.0 {
            saved = f64::min(saved, 1.0) + budget.ahead;
            while saved >= 1.0 && cache.read_ahead(visit as Position, policy, &mut outcome.decode) {
                saved -= 1.0;
            }
        }
    }
    outcome.prompt.tokens = trace.tokens(Phase::Prompt) as u64;
    outcome.decode.tokens = trace.tokens(Phase::Decode) as u64;
    outcome
}

struct Cache<'a> {
    trace: &'a Trace,
    capacity: usize,
    resident: Vec<bool>,
    count: usize,
    /// Experts that were read ahead and not used since, with their layer not visited since.
    hinted: Vec<bool>,
    /// The visit that last needed an expert, from 1: each is counted once.
    needed: Vec<u64>,
    /// Needs of the present visit that were not in memory.
    missed: Vec<PageId>,
}

impl<'a> Cache<'a> {
    fn new(trace: &'a Trace, capacity: usize) -> Self {
        let experts = trace.grid().len();
        Cache {
            trace,
            capacity,
            resident: vec![false; experts],
            count: 0,
            hinted: vec![false; experts],
            needed: vec![0; experts],
            missed: Vec::with_capacity(trace.grid().experts),
        }
    }

    fn visit(&mut self, at: Position, routing: &Routing<'_>, policy: &mut dyn ExpertPolicy, tally: &mut Tally) {
        policy.observe(routing);
        self.missed.clear();
        for choice in routing.choices {
            let page = self.trace.grid().page(routing.layer, choice.expert as usize);
            if std::mem::replace(&mut self.needed[page.index()], at + 1) == at + 1 {
                continue;
            }
            tally.needs += 1;
            if self.resident[page.index()] {
                tally.hits += 1;
                tally.used_hints += u64::from(self.hinted[page.index()]);
                policy.touch(page, at, Use::Done);
            } else {
                tally.demand_bytes += self.trace.expert_bytes(routing.layer);
                self.missed.push(page);
            }
        }
        self.hinted[self.trace.grid().pages(routing.layer)].fill(false);
        for i in 0..self.missed.len() {
            self.keep(self.missed[i], at, Class::Demand, policy);
        }
    }

    /// Keeps `page`, if there is room or the policy makes some.
    fn keep(&mut self, page: PageId, at: Position, class: Class, policy: &mut dyn ExpertPolicy) -> bool {
        if self.count == self.capacity {
            let Some(victim) = policy.victim(page, at, class, &|_| true) else {
                return false;
            };
            assert!(std::mem::replace(&mut self.resident[victim.index()], false), "only what is there can leave");
            policy.forget(victim);
            self.count -= 1;
        }
        self.resident[page.index()] = true;
        self.count += 1;
        policy.touch(page, at, if class == Class::Hint { Use::Arrived } else { Use::Done });
        true
    }

    /// Reads one expert that the policy wants for the coming layer. `false` when there is none that is worth what it pushes out.
    fn read_ahead(&mut self, at: Position, policy: &mut dyn ExpertPolicy, tally: &mut Tally) -> bool {
        let Some(page) = policy.hint(&|page| self.resident[page.index()]) else {
            return false;
        };
        if !self.keep(page, at, Class::Hint, policy) {
            return false;
        }
        self.hinted[page.index()] = true;
        tally.hints += 1;
        tally.hint_bytes += self.trace.expert_bytes(page.index() / self.trace.grid().experts);
        true
    }
}
