//! The least that a run can have read of experts: what a measured run is held against.

use forebay_pager::PageId;

use super::trace::Trace;
use crate::heap::PageHeap;

/// What the visits from some visit on need of experts, and what must be read for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeastRead {
    /// Bytes of the experts that the visits need, each expert once for a visit.
    pub needed: u64,
    /// Bytes of them that cannot all be in memory.
    pub read: u64,
}

const NEVER: u64 = u64::MAX;

/// The least bytes that a memory of `memory` bytes for experts makes the visits from number `first` on read.
///
/// Belady's MIN with bypass, like [`super::Belady`], with two differences that make it a bound on what is measured. Its unit is the
/// byte: pages of an expert may stay without the others, experts of unequal layers weigh what they weigh, and bytes all cost
/// the same, so that keeping those that are needed soonest is optimal. And it begins warm: memory holds whatever is best of all
/// experts that came up before `first`. Whoever reads ahead reads no less, only earlier; but for what was read in vain before
/// `first` and never chosen until then.
pub fn least_read(trace: &Trace, memory: u64, first: usize) -> LeastRead {
    let number = |layer: usize, expert: u32| trace.grid().page(layer, expert as usize).0;
    let mut upcoming = vec![NEVER; trace.grid().len()];
    let mut next_use = Vec::new();
    for (visit, routing) in trace.visits().enumerate().skip(first).rev() {
        let expert = |expert| number(routing.layer, expert) as usize;
        next_use.extend(routing.choices.iter().rev().map(|c| upcoming[expert(c.expert)]));
        routing.choices.iter().for_each(|c| upcoming[expert(c.expert)] = visit as u64);
    }
    let mut next_use = next_use.into_iter().rev();
    let mut kept = Kept::new(trace, memory);
    for routing in trace.visits().take(first) {
        for choice in routing.choices {
            let expert = number(routing.layer, choice.expert);
            kept.keep(expert, upcoming[expert as usize]);
        }
    }
    kept.trim();
    let mut least = LeastRead::default();
    let mut needed_at = vec![0; trace.grid().len()];
    for (visit, routing) in trace.visits().enumerate().skip(first) {
        for (choice, next_use) in routing.choices.iter().zip(next_use.by_ref()) {
            let expert = number(routing.layer, choice.expert);
            if std::mem::replace(&mut needed_at[expert as usize], visit + 1) <= visit {
                least.needed += trace.expert_bytes(routing.layer);
                least.read += kept.keep(expert, next_use);
            }
        }
        kept.trim();
    }
    least
}

/// What memory holds of each expert.
struct Kept<'a> {
    trace: &'a Trace,
    memory: u64,
    bytes: Vec<u64>,
    total: u64,
    /// By next use.
    heap: PageHeap,
}

impl<'a> Kept<'a> {
    fn new(trace: &'a Trace, memory: u64) -> Self {
        let experts = trace.grid().len();
        Kept { trace, memory, bytes: vec![0; experts], total: 0, heap: PageHeap::new(experts) }
    }

    /// All of `expert` is there until the next [`Kept::trim`]. Returns what was missing.
    fn keep(&mut self, expert: u32, next_use: u64) -> u64 {
        let (layer, _) = self.trace.grid().place(PageId(expert));
        let size = self.trace.expert_bytes(layer);
        let missing = size - std::mem::replace(&mut self.bytes[expert as usize], size);
        self.total += missing;
        self.heap.set(expert, next_use);
        missing
    }

    /// What memory is too small for leaves, the furthest next use first.
    fn trim(&mut self) {
        while let Some(over) = self.total.checked_sub(self.memory).filter(|&over| over > 0) {
            let furthest = self.heap.greatest(|_| true).expect("what is there is in the heap");
            let bytes = &mut self.bytes[furthest as usize];
            let leaving = over.min(*bytes);
            *bytes -= leaving;
            self.total -= leaving;
            if *bytes == 0 {
                self.heap.remove(furthest);
            }
        }
    }
}
