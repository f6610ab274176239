//! The experts that have pages in the window, as the policy over experts sees them.
//!
//! Whole experts are what is used, so whole experts leave: once a page of one has gone, the rest of it follows. Who leaves
//! first is said by an [`ExpertPolicy`], the same that a recorded trace is replayed with; this module counts pages for it, and keeps
//! from it what is about to be computed.

use forebay_pager::{Class, PageId};

use super::{Position, Use};
use crate::experts::{ExpertGrid, ExpertPolicy, Routing};
use crate::plan::{Choice, ChoicePlaces, Plan};

/// The experts that have pages in the window. An expert goes by the number that [`ExpertGrid::page`] gives it, where each choice of
/// the plan is a layer.
#[derive(Debug)]
pub struct ResidentExperts {
    choices: Vec<Choice>,
    places: ChoicePlaces,
    grid: ExpertGrid,
    rows: Vec<Row>,
    /// Pages that have arrived for experts that are held.
    streamed: usize,
    /// How many may have at the cost of experts that are worth more.
    streamed_most: usize,
    policy: Box<dyn ExpertPolicy + Send>,
}

/// What is known of an expert.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    /// How many of its pages are resident.
    pages: u32,
    /// How many of them have arrived since it is held.
    streamed: u32,
    /// It is kept whatever it is worth.
    held: bool,
}

impl ResidentExperts {
    /// None are resident yet. What is chosen and worth less than all that is kept has `streamed_most` frames to pass through.
    pub(crate) fn new(plan: &Plan, streamed_most: usize, policy: Box<dyn ExpertPolicy + Send>) -> Self {
        let grid = plan.expert_grid();
        ResidentExperts {
            choices: plan.choices().iter().map(|(_, choice)| *choice).collect(),
            places: plan.places().clone(),
            grid,
            rows: vec![Row::default(); grid.len()],
            streamed: 0,
            streamed_most,
            policy,
        }
    }

    /// A page of an expert has arrived. `false` when the page is dense.
    pub(super) fn arrived(&mut self, page: PageId, at: Position) -> bool {
        let Some(expert) = self.expert_of(page) else { return false };
        let row = &mut self.rows[expert.index()];
        row.pages += 1;
        if row.held {
            row.streamed += 1;
            self.streamed += 1;
        } else if row.pages == 1 {
            self.policy.touch(expert, at, Use::Arrived);
        }
        true
    }

    /// A page of an expert has left. `false` when the page is dense.
    pub(super) fn left(&mut self, page: PageId) -> bool {
        let Some(expert) = self.expert_of(page) else { return false };
        let row = &mut self.rows[expert.index()];
        row.pages -= 1;
        if row.streamed > 0 {
            row.streamed -= 1;
            self.streamed -= 1;
        }
        if row.pages == 0 && !row.held {
            self.policy.forget(expert);
        }
        true
    }

    /// Keeps an expert, whatever it is worth, until [`ResidentExperts::release`].
    pub(crate) fn hold(&mut self, choice: &Choice, expert: u32) {
        let expert = self.number(choice, expert);
        let row = &mut self.rows[expert.index()];
        if !std::mem::replace(&mut row.held, true) && row.pages > 0 {
            self.policy.forget(expert);
        }
    }

    /// It was computed, or will not be.
    pub(crate) fn release(&mut self, choice: &Choice, expert: u32, at: Position) {
        let expert = self.number(choice, expert);
        let row = &mut self.rows[expert.index()];
        self.streamed -= std::mem::take(&mut row.streamed) as usize;
        if std::mem::take(&mut row.held) && row.pages > 0 {
            self.policy.touch(expert, at, Use::Done);
        }
    }

    /// A router has spoken.
    pub(crate) fn observe(&mut self, routing: &Routing<'_>) {
        self.policy.observe(routing);
    }

    /// What the router of a choice to come says of an earlier hidden state: see [`ExpertPolicy::foresee`].
    pub(crate) fn foresee(&mut self, choice: u32, scores: &[f32]) {
        self.policy.foresee(choice as usize, scores);
    }

    /// The next best expert to read ahead of its router, of those that are not `complete`.
    pub(crate) fn hint(&mut self, complete: impl Fn(&Choice, u32) -> bool) -> Option<(Choice, u32)> {
        let Self { choices, grid, policy, .. } = self;
        let place = |number| {
            let (layer, expert) = grid.place(number);
            (choices[layer], expert as u32)
        };
        // Where one layer has fewer experts than another some numbers are nobody's.
        let unwanted = |number| {
            let (choice, expert) = place(number);
            expert >= choice.experts || complete(&choice, expert)
        };
        policy.hint(&unwanted).map(place)
    }

    /// The page that makes room for a page of `expert`. What is not held must not push out what is worth more;
    /// what is held may where nothing else is left to do (a demand), or while little is streamed.
    pub(super) fn room_for(
        &mut self,
        expert: PageId,
        at: Position,
        class: Class,
        evictable: &dyn Fn(PageId) -> bool,
    ) -> Option<PageId> {
        let held = self.rows[expert.index()].held;
        if held && (class == Class::Demand || self.streamed < self.streamed_most) {
            return self.least(evictable);
        }
        let Self { choices, grid, policy, .. } = self;
        let page = |expert| a_page(choices, *grid, expert, evictable);
        policy.victim(expert, at, class, &|expert| page(expert).is_some()).and_then(page)
    }

    /// A page of the expert that is worth least, of those with a page that may leave.
    pub(super) fn least(&mut self, evictable: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        let Self { choices, grid, policy, .. } = self;
        let page = |expert| a_page(choices, *grid, expert, evictable);
        policy.least(&|expert| page(expert).is_some()).and_then(page)
    }

    /// Those that may leave, the first to leave first. Slow: for tests.
    pub(crate) fn leaving(&mut self) -> Vec<PageId> {
        let mut leaving = Vec::new();
        while let Some(expert) = self.policy.least(&|expert| !leaving.contains(&expert)) {
            leaving.push(expert);
        }
        leaving
    }

    /// Whether nobody has chosen `expert`.
    pub(super) fn is_hint(&self, expert: PageId) -> bool {
        !self.rows[expert.index()].held
    }

    /// The expert that `page` belongs to; `None` when the page is dense.
    pub(super) fn expert_of(&self, page: PageId) -> Option<PageId> {
        let choice = &self.choices[self.places.at_or_before(page)?];
        choice.expert_of(page).map(|expert| self.number(choice, expert))
    }

    fn number(&self, choice: &Choice, expert: u32) -> PageId {
        self.grid.page(choice.index as usize, expert as usize)
    }
}

/// A page of an expert that may leave.
fn a_page(choices: &[Choice], grid: ExpertGrid, expert: PageId, evictable: &dyn Fn(PageId) -> bool) -> Option<PageId> {
    let (layer, expert) = grid.place(expert);
    choices[layer].pages(expert as u32).map(PageId).find(|&page| evictable(page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StepShape;
    use crate::policy::Policy;

    /// The first in the list is worth least.
    #[derive(Debug)]
    struct Listed(Vec<u32>, Vec<bool>);

    impl Policy for Listed {
        fn touch(&mut self, page: PageId, _: Position, _: Use) {
            self.1[page.index()] = true;
        }

        fn victim(
            &mut self,
            incoming: PageId,
            _: Position,
            _: Class,
            evictable: &dyn Fn(PageId) -> bool,
        ) -> Option<PageId> {
            let worth_less = self.0.iter().take_while(|&&expert| expert != incoming.0);
            worth_less.map(|&expert| PageId(expert)).find(|&p| self.1[p.index()] && evictable(p))
        }

        fn forget(&mut self, page: PageId) {
            self.1[page.index()] = false;
        }
    }

    impl ExpertPolicy for Listed {
        fn least(&mut self, evictable: &dyn Fn(PageId) -> bool) -> Option<PageId> {
            self.victim(PageId(u32::MAX), 0, Class::Demand, evictable)
        }
    }

    fn experts(worth: Vec<u32>, streamed_most: usize) -> (ResidentExperts, Choice) {
        let plan = Plan::new([StepShape::Choice { experts: 4, pages_per_expert: 2, chosen: 1 }], 0);
        let policy = Box::new(Listed(worth, vec![false; 4]));
        (ResidentExperts::new(&plan, streamed_most, policy), plan.choices()[0].1)
    }

    #[test]
    fn whole_experts_leave_the_one_worth_least_first_and_held_ones_never() {
        let (mut experts, choice) = experts(vec![1, 2, 0, 3], 0);
        let all = |_: PageId| true;
        assert_eq!(experts.least(&all), None);
        for page in 0..6 {
            assert!(experts.arrived(PageId(page), 0));
        }
        assert_eq!(experts.least(&all), Some(PageId(2)));
        assert_eq!(experts.least(&|p| p != PageId(2)), Some(PageId(3)), "the rest of the same expert");
        experts.hold(&choice, 1);
        assert_eq!(experts.least(&all), Some(PageId(4)));
        experts.left(PageId(4));
        experts.left(PageId(5));
        assert_eq!(experts.least(&all), Some(PageId(0)));
        experts.release(&choice, 1, 0);
        assert_eq!(experts.least(&all), Some(PageId(2)));
    }

    #[test]
    fn what_is_worth_less_than_all_that_is_kept_passes_through_the_frames_set_apart() {
        let (mut experts, choice) = experts(vec![3, 0, 1, 2], 1);
        let gone = std::cell::Cell::new(false);
        let all = |p: PageId| p != PageId(0) || !gone.get();
        (0..6).for_each(|page| assert!(experts.arrived(PageId(page), 0)));
        let room = |experts: &mut ResidentExperts, class| experts.room_for(PageId(3), 0, class, &all);
        assert_eq!(room(&mut experts, Class::Hint), None, "a hint, for which nothing better leaves");
        experts.hold(&choice, 3);
        assert_eq!(room(&mut experts, Class::Hint), Some(PageId(0)), "chosen, and nothing is streamed yet");
        experts.left(PageId(0));
        gone.set(true);
        assert!(experts.arrived(PageId(6), 0));
        assert_eq!(room(&mut experts, Class::Hint), None, "as much is streamed as may be");
        assert_eq!(room(&mut experts, Class::Demand), Some(PageId(1)), "nothing else is left to do");
        experts.release(&choice, 3, 0);
        assert_eq!(experts.least(&all), Some(PageId(6)), "what was streamed is the first to leave");
    }
}
