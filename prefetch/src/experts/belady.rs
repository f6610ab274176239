//! The offline optimum.

use forebay_pager::{Class, PageId};

use super::trace::Trace;
use super::{ExpertPolicy, Routing};
use crate::heap::PageHeap;
use crate::policy::{Policy, Position, Use};

/// Belady's MIN (1966) with bypass: knows the trace, keeps the experts whose next use is nearest, and does not keep one that is
/// needed later than everything kept.
///
/// No policy that reads only what the router has asked for has more hits: after each visit any experts of those that were kept
/// or just used may be kept, all cost one slot, and of two of them the one used sooner is never the worse to keep. A policy that
/// reads ahead may pass it.
#[derive(Debug)]
pub struct Belady {
    /// For each choice of the trace, the visit at which the same expert is chosen next.
    next_choice: Vec<u64>,
    /// Choices of the trace that lie behind.
    done: usize,
    next_use: Vec<u64>,
    resident: PageHeap,
    grid: super::ExpertGrid,
}

const NEVER: u64 = u64::MAX;

impl Belady {
    /// The optimum for `trace`, whose visits must be observed in order from the first.
    pub fn new(trace: &Trace) -> Self {
        let grid = trace.grid();
        let mut upcoming = vec![NEVER; grid.len()];
        let mut next_choice = Vec::new();
        for (visit, routing) in trace.visits().enumerate().rev() {
            // One expert may be chosen by several tokens of the visit: first all are told what comes after it, then it is noted.
            let page = |expert| grid.page(routing.layer, expert as usize).index();
            next_choice.extend(routing.choices.iter().rev().map(|c| upcoming[page(c.expert)]));
            routing.choices.iter().for_each(|c| upcoming[page(c.expert)] = visit as u64);
        }
        next_choice.reverse();
        Belady { next_choice, done: 0, next_use: upcoming, resident: PageHeap::new(grid.len()), grid }
    }
}

impl ExpertPolicy for Belady {
    fn observe(&mut self, routing: &Routing<'_>) {
        for choice in routing.choices {
            let page = self.grid.page(routing.layer, choice.expert as usize);
            self.next_use[page.index()] = self.next_choice[self.done];
            self.done += 1;
        }
    }

    fn least(&mut self, evictable: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        self.resident.greatest(|p| evictable(PageId(p))).map(PageId)
    }
}

impl Policy for Belady {
    fn touch(&mut self, page: PageId, _at: Position, _use: Use) {
        self.resident.set(page.0, self.next_use[page.index()]);
    }

    fn victim(
        &mut self,
        incoming: PageId,
        _at: Position,
        _class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        let furthest = self.resident.greatest(|p| evictable(PageId(p)))?;
        (self.resident.key(furthest) > self.next_use[incoming.index()]).then_some(PageId(furthest))
    }

    fn forget(&mut self, page: PageId) {
        self.resident.remove(page.0);
    }
}
