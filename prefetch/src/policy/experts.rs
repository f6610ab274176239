//! Which expert leaves first: the one that is worth least.
//!
//! What an expert is worth is said by an [`ExpertOrder`], which can be replaced; this module keeps the experts that have
//! pages in the window in that order. Whole experts are what is used, so whole experts leave: once a page of one has gone,
//! the rest of it follows.

use std::fmt;

use forebay_pager::PageId;

use super::Chosen;
use crate::heap::PageHeap;
use crate::plan::{Choice, ExpertId, Plan};

/// What an expert is worth. A number without a unit: of two experts the one worth less leaves first, whatever their layers.
pub type Worth = u64;

/// Says what each expert is worth keeping.
///
/// Told of every choice, it tells back whose worth has changed: between two calls nothing changes, so that the experts can be
/// kept in order at O(log n) for each change.
pub trait ExpertOrder: fmt::Debug + Send {
    /// The tokens of a pass have chosen experts of `choice`. `changed` is to be called for each expert, of this choice or
    /// another, whose worth is not what it was, with what it is now.
    fn observe(&mut self, choice: &Choice, chosen: &[Chosen], changed: &mut dyn FnMut(ExpertId, Worth));

    /// What `expert` is worth now.
    fn worth(&self, expert: ExpertId) -> Worth;
}

/// The experts that have pages in the window.
#[derive(Debug)]
pub(super) struct ResidentExperts {
    choices: Vec<Choice>,
    /// For each expert, how many of its pages are resident.
    pages: Vec<u32>,
    /// For each expert, whether it is kept whatever it is worth.
    held: Vec<bool>,
    /// The experts that may leave; the one worth least is the greatest.
    leaving: PageHeap,
    order: Box<dyn ExpertOrder>,
}

impl ResidentExperts {
    /// None are resident yet.
    pub(super) fn new(plan: &Plan, order: Box<dyn ExpertOrder>) -> Self {
        let experts = plan.expert_count() as usize;
        ResidentExperts {
            choices: plan.choices().iter().map(|(_, choice)| *choice).collect(),
            pages: vec![0; experts],
            held: vec![false; experts],
            leaving: PageHeap::new(experts),
            order,
        }
    }

    /// Whether `page` is one of an expert.
    pub(super) fn has(&self, page: PageId) -> bool {
        self.expert_of(page).is_some()
    }

    /// A page of an expert has arrived. `false` when the page is dense.
    pub(super) fn arrived(&mut self, page: PageId) -> bool {
        let Some(expert) = self.expert_of(page) else { return false };
        self.pages[expert.0 as usize] += 1;
        self.place(expert);
        true
    }

    /// A page of an expert has left. `false` when the page is dense.
    pub(super) fn left(&mut self, page: PageId) -> bool {
        let Some(expert) = self.expert_of(page) else { return false };
        self.pages[expert.0 as usize] -= 1;
        self.place(expert);
        true
    }

    /// Keeps an expert, whatever it is worth, until [`ResidentExperts::release`].
    pub(super) fn hold(&mut self, expert: ExpertId) {
        self.held[expert.0 as usize] = true;
        self.place(expert);
    }

    pub(super) fn release(&mut self, expert: ExpertId) {
        self.held[expert.0 as usize] = false;
        self.place(expert);
    }

    /// The tokens of a pass have chosen.
    pub(super) fn observe(&mut self, choice: &Choice, chosen: &[Chosen]) {
        let Self { order, leaving, pages, held, .. } = self;
        order.observe(choice, chosen, &mut |expert, worth| {
            if pages[expert.0 as usize] > 0 && !held[expert.0 as usize] {
                leaving.set(expert.0, key(worth));
            }
        });
    }

    /// A page of the expert that is worth least, of those with a page that may leave.
    pub(super) fn least(&self, evictable: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        let page = |expert| self.pages_of(ExpertId(expert)).map(PageId).find(|&p| evictable(p));
        page(self.leaving.greatest(|expert| page(expert).is_some())?)
    }

    /// Puts an expert where it belongs after a change.
    fn place(&mut self, expert: ExpertId) {
        if self.pages[expert.0 as usize] > 0 && !self.held[expert.0 as usize] {
            self.leaving.set(expert.0, key(self.order.worth(expert)));
        } else {
            self.leaving.remove(expert.0);
        }
    }

    fn expert_of(&self, page: PageId) -> Option<ExpertId> {
        let behind = self.choices.partition_point(|choice| choice.pages(0).start <= page.0);
        let choice = self.choices[behind.checked_sub(1)?];
        choice.expert_of(page).map(|expert| choice.id(expert))
    }

    fn pages_of(&self, expert: ExpertId) -> std::ops::Range<u32> {
        let behind = self.choices.partition_point(|choice| choice.first <= expert);
        let choice = self.choices[behind - 1];
        choice.pages(expert.0 - choice.first.0)
    }
}

/// The heap has the greatest on top.
fn key(worth: Worth) -> u64 {
    !worth
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StepShape;

    /// Worth what its number says.
    #[derive(Debug)]
    struct ByNumber(Vec<Worth>);

    impl ExpertOrder for ByNumber {
        fn observe(&mut self, choice: &Choice, chosen: &[Chosen], changed: &mut dyn FnMut(ExpertId, Worth)) {
            for Chosen { expert, tokens } in chosen {
                let id = choice.id(*expert);
                self.0[id.0 as usize] = Worth::from(*tokens);
                changed(id, self.worth(id));
            }
        }

        fn worth(&self, expert: ExpertId) -> Worth {
            self.0[expert.0 as usize]
        }
    }

    #[test]
    fn whole_experts_leave_the_one_worth_least_first_and_held_ones_never() {
        let plan = Plan::new([StepShape::Choice { experts: 3, pages_per_expert: 2, chosen: 1 }], 0);
        let choice = plan.choices()[0].1;
        let mut experts = ResidentExperts::new(&plan, Box::new(ByNumber(vec![7, 5, 6])));
        let all = |_: PageId| true;
        assert_eq!(experts.least(&all), None);
        for page in 0..6 {
            assert!(experts.arrived(PageId(page)));
        }
        assert_eq!(experts.least(&all), Some(PageId(2)));
        assert_eq!(experts.least(&|p| p != PageId(2)), Some(PageId(3)), "the rest of the same expert");
        experts.hold(ExpertId(1));
        assert_eq!(experts.least(&all), Some(PageId(4)));
        experts.observe(&choice, &[Chosen { expert: 1, tokens: 9 }, Chosen { expert: 2, tokens: 8 }]);
        assert_eq!(experts.least(&all), Some(PageId(0)));
        experts.left(PageId(0));
        experts.left(PageId(1));
        assert_eq!(experts.least(&all), Some(PageId(4)));
        experts.release(ExpertId(1));
        assert_eq!(experts.least(&|p| p.0 < 4), Some(PageId(2)));
    }
}
