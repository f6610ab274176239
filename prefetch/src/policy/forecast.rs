//! The forecast: the page whose next use is furthest leaves first.

use forebay_pager::{Class, PageId};

use super::{Policy, Position, Use};
use crate::heap::PageHeap;

/// Evicts the page whose next use is furthest away, and lets no hint push out a page that is needed sooner than itself
/// (Cao, Felten, Karlin, Li 1995: optimal replacement, do no harm).
///
/// In a cyclic plan the next use of a page is known exactly: one cycle after the last. The pages of the resident set
/// ([`crate::residency::keep_set`]) are worth keeping for all cycles to come, so they leave last.
#[derive(Debug)]
pub struct Forecast {
    next_use: PageHeap,
    keep: Vec<bool>,
    cycle: u64,
}

impl Forecast {
    /// A forecast for a cyclic plan in which the pages flagged in `keep` are the resident set.
    pub fn cyclic(keep: Vec<bool>) -> Self {
        Forecast { next_use: PageHeap::new(keep.len()), cycle: keep.len() as u64, keep }
    }
}

impl Policy for Forecast {
    fn touch(&mut self, page: PageId, at: Position, use_: Use) {
        let next = match use_ {
            Use::Arrived => at,
            Use::Done => at + self.cycle,
        };
        let key = if self.keep[page.0 as usize] { 0 } else { next };
        self.next_use.set(page.0, key);
    }

    fn victim(
        &mut self,
        _incoming: PageId,
        at: Position,
        class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        let furthest = self.next_use.greatest(|p| evictable(PageId(p)))?;
        match class {
            Class::Demand => Some(PageId(furthest)),
            Class::Hint => (self.next_use.key(furthest) > at).then_some(PageId(furthest)),
        }
    }

    fn forget(&mut self, page: PageId) {
        self.next_use.remove(page.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn furthest_leaves_first_kept_pages_last_and_hints_do_no_harm() {
        let mut policy = Forecast::cyclic(vec![true, false, false, false]);
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
}
