//! The forecast: the page whose next use is furthest leaves first.

use forebay_pager::{Class, PageId};

use super::{Policy, Position, ResidentExperts, Use};
use crate::heap::PageHeap;
use crate::plan::Plan;

/// Evicts the page whose next use is furthest away, and lets no hint push out a page that is needed sooner than itself
/// (Cao, Felten, Karlin, Li 1995: optimal replacement, do no harm).
///
/// In a cyclic plan the next use of a dense page is known exactly: one cycle after the last. The pages of the resident set
/// ([`crate::residency::keep_set`]) are worth keeping for all cycles to come, so they leave last.
///
/// An expert is used less than once per cycle. So its pages leave after the dense ones that were just used and will be read
/// again in any case, and before those that were read ahead; among experts [`ResidentExperts`] decides.
#[derive(Debug)]
pub struct Forecast {
    /// The dense pages in the window.
    next_use: PageHeap,
    keep: Vec<bool>,
    cycle: u64,
    /// For each page, whether it is dense and was read ahead of its use.
    ahead: Vec<bool>,
    /// How many are.
    ahead_count: usize,
    /// How many may be at the cost of experts.
    ahead_most: usize,
    experts: ResidentExperts,
}

impl Forecast {
    /// A forecast for `plan`, in which the pages flagged in `keep` are the resident set. Hints push out experts only while
    /// fewer than `ahead_most` pages are read ahead.
    pub fn new(plan: &Plan, keep: Vec<bool>, ahead_most: usize, experts: ResidentExperts) -> Self {
        Forecast {
            next_use: PageHeap::new(keep.len()),
            cycle: plan.dense().len() as u64,
            ahead: vec![false; keep.len()],
            ahead_count: 0,
            ahead_most,
            experts,
            keep,
        }
    }

    pub(super) fn experts(&mut self) -> &mut ResidentExperts {
        &mut self.experts
    }

    fn set_ahead(&mut self, page: PageId, ahead: bool) {
        let before = std::mem::replace(&mut self.ahead[page.index()], ahead);
        self.ahead_count = self.ahead_count + usize::from(ahead) - usize::from(before);
    }

    /// The page of an expert that makes room for `incoming`, which belongs to `expert`, if one may.
    fn expert(
        &mut self,
        incoming: PageId,
        expert: Option<PageId>,
        at: Position,
        class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        if let Some(expert) = expert {
            return self.experts.room_for(expert, at, class, evictable);
        }
        let hint = class == Class::Hint && !self.keep[incoming.index()];
        if hint && self.ahead_count >= self.ahead_most { None } else { self.experts.least(evictable) }
    }
}

impl Policy for Forecast {
    fn touch(&mut self, page: PageId, at: Position, use_: Use) {
        let (of_expert, next) = match use_ {
            Use::Arrived => (self.experts.arrived(page, at), at),
            Use::Done => (self.experts.expert_of(page).is_some(), at + self.cycle),
        };
        if of_expert {
            return;
        }
        let kept = self.keep[page.index()];
        self.set_ahead(page, use_ == Use::Arrived && !kept);
        self.next_use.set(page.0, if kept { 0 } else { next });
    }

    fn victim(
        &mut self,
        incoming: PageId,
        at: Position,
        class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        let furthest = self.next_use.greatest(|p| evictable(PageId(p))).map(PageId);
        let harmless = |page: &PageId| self.next_use.key(page.0) > at;
        let used = furthest.filter(|page| !self.ahead[page.index()] && harmless(page));
        if used.is_some() {
            return used;
        }
        let expert = self.experts.expert_of(incoming);
        let room = self.expert(incoming, expert, at, class, evictable);
        if room.is_some() || expert.is_some_and(|expert| self.experts.is_hint(expert)) {
            return room; // What may be chosen is worth no page that was read because it will be used.
        }
        let harmless = |page: &PageId| self.next_use.key(page.0) > at;
        furthest.filter(|page| class == Class::Demand || harmless(page))
    }

    fn forget(&mut self, page: PageId) {
        if !self.experts.left(page) {
            self.set_ahead(page, false);
            self.next_use.remove(page.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experts::{ExpertForecast, Popularity};
    use crate::plan::StepShape;

    fn forecast(plan: &Plan, keep: Vec<bool>) -> Forecast {
        let grid = plan.expert_grid();
        let experts = Box::new(ExpertForecast::new(grid, Popularity::new(grid, 1)));
        Forecast::new(plan, keep, 1, ResidentExperts::new(plan, 4, experts))
    }

    #[test]
    fn furthest_leaves_first_kept_pages_last_and_hints_do_no_harm() {
        let mut policy = forecast(&Plan::cyclic(&[4], 0), vec![true, false, false, false]);
        policy.touch(PageId(0), 0, Use::Done);
        policy.touch(PageId(1), 1, Use::Done); // next at 5
        policy.touch(PageId(2), 2, Use::Arrived); // next at 2
        let all = |_: PageId| true;
        assert_eq!(policy.victim(PageId(3), 3, Class::Hint, &all), Some(PageId(1)));
        policy.forget(PageId(1));
        // Only page 2 (needed at 2) and the kept page are left: a hint for 3 must not push them out, a demand may.
        assert_eq!(policy.victim(PageId(3), 3, Class::Hint, &all), None);
        assert_eq!(policy.victim(PageId(3), 3, Class::Demand, &all), Some(PageId(2)));
        assert_eq!(policy.victim(PageId(3), 3, Class::Demand, &|p| p != PageId(2)), Some(PageId(0)));
    }

    #[test]
    fn experts_leave_after_what_was_used_and_before_what_was_read_ahead() {
        // Pages 0 to 2 are dense and 0 is kept; 3 and 4 are experts; 5 is dense.
        let all = |pages| StepShape::All { pages };
        let choice = StepShape::Choice { experts: 2, pages_per_expert: 1, chosen: 1 };
        let plan = Plan::new([all(3), choice, all(1)], 0);
        let mut policy = forecast(&plan, vec![true, false, false, false, false, false]);
        policy.touch(PageId(0), 0, Use::Done);
        policy.touch(PageId(1), 1, Use::Done); // next at 5
        policy.touch(PageId(2), 2, Use::Arrived); // next at 2
        policy.touch(PageId(3), 3, Use::Arrived);
        let any = |_: PageId| true;
        let choice = plan.choices()[0].1;
        // Nobody has chosen page 4 yet.
        assert_eq!(policy.victim(PageId(4), 3, Class::Hint, &any), Some(PageId(1)));
        policy.forget(PageId(1));
        assert_eq!(
            policy.victim(PageId(4), 3, Class::Hint, &any),
            None,
            "neither one worth as much, nor what will be used"
        );
        policy.experts().hold(&choice, 1);
        assert_eq!(policy.victim(PageId(4), 3, Class::Demand, &any), Some(PageId(3)));
        // One page is read ahead, which is all that may be at the cost of an expert.
        assert_eq!(policy.victim(PageId(5), 3, Class::Hint, &any), None);
        policy.experts().hold(&choice, 0);
        assert_eq!(policy.victim(PageId(4), 3, Class::Demand, &any), Some(PageId(2)));
        policy.experts().release(&choice, 0, 3);
        policy.touch(PageId(2), 2, Use::Done);
        policy.forget(PageId(2));
        assert_eq!(policy.victim(PageId(5), 3, Class::Hint, &any), Some(PageId(3)));
        policy.forget(PageId(3));
        assert_eq!(policy.victim(PageId(5), 3, Class::Hint, &any), None, "what is kept");
        assert_eq!(policy.victim(PageId(5), 3, Class::Demand, &any), Some(PageId(0)));
    }
}
