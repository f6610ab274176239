//! What is read next, and who leaves for it.

use forebay_pager::{Class, Clock, Load, PageId, PageState, Storage};

use super::Scheduler;
use crate::policy::{Policy, Position};

impl<S: Storage, C: Clock> Scheduler<S, C> {
    /// Keeps the flash busy: the missing pages of this step first, then the chosen experts, then the steps to come, then
    /// experts that may be chosen there.
    pub(super) fn pump(&mut self) {
        let more = self.demand() && self.read_chosen() && self.prefetch && self.streaming_ahead();
        if more && self.read_ahead() {
            self.read_experts_ahead();
        }
        self.pager.flush();
    }

    /// Asks for the missing pages of the current step. `false` when some of them have to wait.
    fn demand(&mut self) -> bool {
        let end = self.current().pages.end;
        while self.unfinished > 0 && self.demand_at < end {
            let page = PageId(self.demand_at);
            if !self.taken[page.index()] && !self.fetch(page, self.position_in_step(page.0), Class::Demand) {
                return false;
            }
            self.demand_at += 1;
        }
        true
    }

    /// Asks for the dense pages of the steps to come. `false` when some of them have to wait.
    fn read_ahead(&mut self) -> bool {
        let dense = self.plan.dense().len() as u64;
        let limit = self.position(self.current().dense.end) + self.reach;
        while self.hint_at < limit {
            let at = (self.hint_at % dense) as u32;
            if !self.fetch(PageId(self.plan.dense()[at as usize]), self.hint_at, Class::Hint) {
                return false;
            }
            // Within the current pass the tail may be left out.
            let this_pass = self.hint_at / dense == self.pass;
            self.hint_at = if this_pass { self.position_after(at + 1) } else { self.hint_at + 1 };
        }
        true
    }

    /// With every page resident there is nothing to read ahead.
    fn streaming_ahead(&self) -> bool {
        self.pager.frames() - self.pager.free_frames() < self.pager.page_count()
    }

    /// Sees to it that `page` is resident or on its way. `false` when that has to wait: the queue is full, or no page
    /// may leave for it.
    pub(super) fn fetch(&mut self, page: PageId, at: Position, class: Class) -> bool {
        loop {
            match self.pager.load(page, class) {
                Load::Started => {
                    self.due[page.index()] = at;
                    if self.counts.started(&self.plan, page) {
                        self.choosing.stats.bytes += u64::from(self.pager.spec(page).len);
                    }
                    return true;
                }
                Load::Hit | Load::Joined => return true,
                Load::QueueFull => return false,
                Load::NoFrame => {
                    let Some(victim) = self.victim(page, at, class) else { return false };
                    self.policy.forget(victim);
                    let evicted = self.pager.evict(victim);
                    debug_assert!(evicted, "the policy was given only pages that may leave");
                }
            }
        }
    }

    fn victim(&mut self, page: PageId, at: Position, class: Class) -> Option<PageId> {
        let (pager, choosing) = (&self.pager, &self.choosing);
        let resident = |p: PageId| pager.state(p) == PageState::Resident && !pager.is_leased(p);
        let evictable = |p: PageId| resident(p) && !choosing.holds(p);
        // A demand may push out what is needed sooner only when compute has nothing else to go on with: else
        // the pages that are ready will soon free frames whose loss does no harm.
        let idle = self.ready.is_empty() && !choosing.ready() && pager.in_flight() == 0;
        let urgency = if idle { class } else { Class::Hint };
        let victim = self.policy.victim(page, at, urgency, &evictable);
        // What is chosen is kept, but not at the price of a run that cannot go on.
        victim.or_else(|| if urgency == Class::Demand { self.choosing.sacrifice(page, &resident) } else { None })
    }
}
