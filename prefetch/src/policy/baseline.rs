//! The policies that everyone has: here to be compared with, and to prove that no policy changes a result.

use forebay_pager::{Class, PageId};
use lru::LruCache;

use super::{Policy, Position, Use};
use crate::heap::PageHeap;

/// Least recently used. On a cyclic scan longer than the window it never hits.
#[derive(Debug)]
pub struct Lru {
    order: LruCache<PageId, ()>,
}

impl Lru {
    /// For at most `frames` resident pages.
    ///
    /// # Panics
    /// When `frames` is 0.
    pub fn new(frames: usize) -> Self {
        Lru { order: LruCache::new(frames.try_into().expect("a window has frames")) }
    }
}

impl Policy for Lru {
    fn touch(&mut self, page: PageId, _at: Position, _use: Use) {
        self.order.put(page, ());
    }

    fn victim(
        &mut self,
        _incoming: PageId,
        _at: Position,
        _class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        self.order.iter().rev().map(|(page, ())| *page).find(|&p| evictable(p))
    }

    fn forget(&mut self, page: PageId) {
        self.order.pop(&page);
    }
}

/// Least frequently used; of equals the one used longest ago.
#[derive(Debug)]
pub struct Lfu {
    rarest: PageHeap,
    uses: Vec<u32>,
}

impl Lfu {
    /// For a plan of `pages` pages.
    pub fn new(pages: usize) -> Self {
        Lfu { rarest: PageHeap::new(pages), uses: vec![0; pages] }
    }
}

impl Policy for Lfu {
    fn touch(&mut self, page: PageId, at: Position, use_: Use) {
        let uses = &mut self.uses[page.0 as usize];
        if use_ == Use::Done {
            *uses = uses.saturating_add(1);
        }
        // Fewest uses first, then oldest: both turned round, as the heap gives the greatest.
        let age = u64::from(u32::MAX) - at.min(u64::from(u32::MAX));
        self.rarest.set(page.0, (u64::from(u32::MAX - *uses) << 32) | age);
    }

    fn victim(
        &mut self,
        _incoming: PageId,
        _at: Position,
        _class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        self.rarest.greatest(|p| evictable(PageId(p))).map(PageId)
    }

    fn forget(&mut self, page: PageId) {
        self.rarest.remove(page.0);
    }
}

/// Second chance: a hand goes round the resident pages and takes the first that was not used since it last came by.
#[derive(Debug)]
pub struct ClockSweep {
    state: Vec<Chance>,
    hand: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chance {
    Absent,
    Used,
    Unused,
}

impl ClockSweep {
    /// For a plan of `pages` pages.
    pub fn new(pages: usize) -> Self {
        ClockSweep { state: vec![Chance::Absent; pages], hand: 0 }
    }
}

impl Policy for ClockSweep {
    fn touch(&mut self, page: PageId, _at: Position, _use: Use) {
        self.state[page.0 as usize] = Chance::Used;
    }

    fn victim(
        &mut self,
        _incoming: PageId,
        _at: Position,
        _class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        // Two rounds: the first may only take chances away.
        for _ in 0..2 * self.state.len() {
            let page = self.hand;
            self.hand = (self.hand + 1) % self.state.len();
            match self.state[page] {
                Chance::Used => self.state[page] = Chance::Unused,
                Chance::Unused if evictable(PageId(page as u32)) => return Some(PageId(page as u32)),
                Chance::Unused | Chance::Absent => {}
            }
        }
        None
    }

    fn forget(&mut self, page: PageId) {
        self.state[page.0 as usize] = Chance::Absent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn victim(policy: &mut impl Policy) -> Option<PageId> {
        policy.victim(PageId(9), 9, Class::Demand, &|_| true)
    }

    #[test]
    fn lru_takes_the_oldest() {
        let mut policy = Lru::new(3);
        for page in [0, 1, 2, 0] {
            policy.touch(PageId(page), 0, Use::Done);
        }
        assert_eq!(victim(&mut policy), Some(PageId(1)));
        assert_eq!(policy.victim(PageId(9), 9, Class::Hint, &|p| p != PageId(1)), Some(PageId(2)));
    }

    #[test]
    fn lfu_takes_the_rarest_then_the_oldest() {
        let mut policy = Lfu::new(3);
        for (page, at) in [(0, 0), (0, 1), (1, 2), (2, 3)] {
            policy.touch(PageId(page), at, Use::Done);
        }
        assert_eq!(victim(&mut policy), Some(PageId(1)));
    }

    #[test]
    fn clock_gives_a_second_chance() {
        let mut policy = ClockSweep::new(3);
        for page in 0..3 {
            policy.touch(PageId(page), 0, Use::Done);
        }
        assert_eq!(victim(&mut policy), Some(PageId(0)));
        policy.forget(PageId(0));
        policy.touch(PageId(1), 0, Use::Done);
        assert_eq!(victim(&mut policy), Some(PageId(2)));
    }
}
