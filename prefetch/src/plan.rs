//! The plan: the steps of one token, in order, each with the pages that it needs.
//!
//! A step needs all of its pages, or it is a *choice*: its pages are those of experts, and which experts a token needs is
//! known only once the router has spoken. The pages that every token needs are *dense*. Their order is known for all time to
//! come, and time is counted in them ([`crate::Position`]).

use std::ops::Range;

use forebay_pager::PageId;

use crate::experts::ExpertGrid;

/// Index of a step in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// What a plan is made of: the pages of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepShape {
    /// So many pages, all of which are needed.
    All {
        /// Number of pages.
        pages: u32,
    },
    /// A choice among experts.
    Choice {
        /// Number of experts.
        experts: u32,
        /// Pages of each.
        pages_per_expert: u32,
        /// How many of them a token chooses.
        chosen: u32,
    },
}

/// A choice among experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Index among the choices of the plan.
    pub index: u32,
    /// Number of experts.
    pub experts: u32,
    /// Pages of each. Those of the first come first.
    pub pages_per_expert: u32,
    /// How many of them a token chooses.
    pub chosen: u32,
    /// The page that all others follow.
    first_page: u32,
}

impl Choice {
    /// The pages of number `expert`.
    pub fn pages(&self, expert: u32) -> Range<u32> {
        let begin = self.first_page + expert * self.pages_per_expert;
        begin..begin + self.pages_per_expert
    }

    /// The number of the expert that `page` belongs to, if it is one of this choice.
    pub fn expert_of(&self, page: PageId) -> Option<u32> {
        let expert = page.0.checked_sub(self.first_page)? / self.pages_per_expert;
        (expert < self.experts).then_some(expert)
    }
}

/// Which of its pages a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// All.
    All,
    /// Those of the experts that are chosen.
    Choice(Choice),
}

/// One step: everything that is computed from one input, so that its pages may be used in any order; or some experts.
///
/// The pages of consecutive steps have consecutive numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its pages.
    pub pages: Range<u32>,
    /// Which of them it needs.
    pub need: Need,
    /// Where it stands among the dense pages of the plan: its own, or, for a choice, none between two of them.
    pub dense: Range<u32>,
}

/// How much of the plan a pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Every step.
    Full,
    /// All but the tail: a part of a prompt whose logits nobody asks for needs no output head.
    WithoutTail,
}

/// The steps of one token in order, the same for each token: what is dense is needed in cycles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    tail: usize,
    /// The choices, and the step of each.
    choices: Vec<(StepId, Choice)>,
    places: ChoicePlaces,
    /// The dense pages.
    dense: Vec<u32>,
}

impl Plan {
    /// A plan of steps with `page_counts` pages each, all of which are needed, numbered on from 0; the last `tail` steps are
    /// the tail.
    ///
    /// # Panics
    /// When the tail is longer than the plan.
    pub fn cyclic(page_counts: &[u32], tail: usize) -> Self {
        Self::new(page_counts.iter().map(|&pages| StepShape::All { pages }), tail)
    }

    /// A plan of these steps, with pages numbered on from 0; the last `tail` steps are the tail.
    ///
    /// # Panics
    /// When the tail is longer than the plan, or an expert has no pages.
    pub fn new(shapes: impl IntoIterator<Item = StepShape>, tail: usize) -> Self {
        let (steps, choices, places, dense) = Default::default();
        let mut plan = Plan { steps, tail, choices, places, dense };
        for shape in shapes {
            let (begin, dense_begin) = (plan.page_count(), plan.dense.len() as u32);
            let (count, need) = match shape {
                StepShape::All { pages } => {
                    plan.dense.extend(begin..begin + pages);
                    (pages, Need::All)
                }
                StepShape::Choice { experts, pages_per_expert, chosen } => {
                    assert!(pages_per_expert > 0, "an expert without pages");
                    let index = plan.choices.len() as u32;
                    let choice = Choice { index, experts, pages_per_expert, chosen, first_page: begin };
                    plan.choices.push((StepId(plan.steps.len() as u32), choice));
                    (experts * pages_per_expert, Need::Choice(choice))
                }
            };
            let dense = dense_begin..plan.dense.len() as u32;
            plan.steps.push(Step { pages: begin..begin + count, need, dense });
        }
        plan.places = ChoicePlaces::new(plan.choices.iter().map(|(_, choice)| choice), plan.page_count());
        assert!(tail <= plan.steps.len(), "a tail of {tail} steps in a plan of {}", plan.steps.len());
        plan
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The choices among experts, in order, and the step of each.
    pub fn choices(&self) -> &[(StepId, Choice)] {
        &self.choices
    }

    /// The experts of all choices: a layer for each.
    pub fn expert_grid(&self) -> ExpertGrid {
        let experts = self.choices.iter().map(|(_, choice)| choice.experts as usize).max().unwrap_or(0);
        ExpertGrid { layers: self.choices.len(), experts }
    }

    /// Number of pages of the whole plan.
    pub fn page_count(&self) -> u32 {
        self.steps.last().map_or(0, |s| s.pages.end)
    }

    /// The pages that every token needs, in order.
    pub fn dense(&self) -> &[u32] {
        &self.dense
    }

    /// How many dense pages a pass needs.
    pub fn end_of(&self, pass: Pass) -> u32 {
        match pass {
            Pass::Full => self.dense.len() as u32,
            Pass::WithoutTail => {
                let body = self.steps.len() - self.tail;
                self.steps[..body].last().map_or(0, |s| s.dense.end)
            }
        }
    }

    /// The pages of a step.
    pub fn pages(&self, step: StepId) -> impl Iterator<Item = PageId> + use<> {
        self.steps[step.0 as usize].pages.clone().map(PageId)
    }

    /// The step and the expert, counted within it, that `page` belongs to; `None` when it is dense.
    pub fn expert_of(&self, page: PageId) -> Option<(StepId, Choice, u32)> {
        let (step, choice) = self.choices[self.places.at_or_before(page)?];
        Some((step, choice, choice.expert_of(page)?))
    }

    /// Where the choices lie among the pages.
    pub(crate) fn places(&self) -> &ChoicePlaces {
        &self.places
    }
}

/// Where choices lie among the pages of a plan. Layers are much alike, so a choice is found where it would be if they were of one
/// length, or right beside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChoicePlaces {
    /// The first page of each, in their order.
    first_pages: Vec<u32>,
    /// Choices per page, in units of 2^-32.
    per_page: u64,
}

impl ChoicePlaces {
    fn new<'a>(choices: impl Iterator<Item = &'a Choice>, pages: u32) -> Self {
        let first_pages: Vec<u32> = choices.map(|choice| choice.first_page).collect();
        ChoicePlaces { per_page: ((first_pages.len() as u64) << 32) / u64::from(pages.max(1)), first_pages }
    }

    /// The index of the last choice whose pages do not begin behind `page`.
    #[inline]
    pub(crate) fn at_or_before(&self, page: PageId) -> Option<usize> {
        let last = self.first_pages.len().checked_sub(1)?;
        let mut at = (((u64::from(page.0) * self.per_page) >> 32) as usize).min(last);
        while at < last && self.first_pages[at + 1] <= page.0 {
            at += 1;
        }
        while self.first_pages[at] > page.0 {
            at = at.checked_sub(1)?;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_are_numbered_through() {
        let plan = Plan::cyclic(&[2, 0, 3], 1);
        assert_eq!(plan.steps()[2].pages, 2..5);
        assert_eq!(plan.end_of(Pass::Full), 5);
        assert_eq!(plan.end_of(Pass::WithoutTail), 2);
        assert_eq!(plan.pages(StepId(0)).collect::<Vec<_>>(), [PageId(0), PageId(1)]);
    }

    proptest! {
        #[test]
        fn choices_are_found_wherever_they_lie(shapes in prop::collection::vec((0u32..9, prop::option::of(1u32..200)), 1..20)) {
            let shapes = shapes.into_iter().flat_map(|(pages, experts)| {
                let choice = experts.map(|experts| StepShape::Choice { experts, pages_per_expert: 2, chosen: 1 });
                [Some(StepShape::All { pages }), choice]
            });
            let plan = Plan::new(shapes.flatten(), 0);
            for page in (0..plan.page_count() + 3).map(PageId) {
                let behind = plan.choices.partition_point(|(_, choice)| choice.first_page <= page.0);
                prop_assert_eq!(plan.places.at_or_before(page), behind.checked_sub(1));
            }
        }
    }

    #[test]
    fn experts_lie_outside_the_order_of_dense_pages() {
        let choice = |experts| StepShape::Choice { experts, pages_per_expert: 3, chosen: 1 };
        let all = |pages| StepShape::All { pages };
        let plan = Plan::new([all(2), choice(4), all(1), choice(2), all(2)], 1);
        assert_eq!(plan.page_count(), 2 + 12 + 1 + 6 + 2);
        assert_eq!(plan.expert_grid(), ExpertGrid { layers: 2, experts: 4 });
        assert_eq!(plan.dense(), [0, 1, 14, 21, 22]);
        assert_eq!((plan.end_of(Pass::Full), plan.end_of(Pass::WithoutTail)), (5, 3));
        assert_eq!(plan.steps()[1].dense, 2..2);
        let (step, second) = plan.choices()[1];
        assert_eq!((step, second.pages(1)), (StepId(3), 18..21));
        let expert_of = |page| plan.expert_of(PageId(page)).map(|(step, choice, e)| (step, choice.index, e));
        assert_eq!(
            [1, 2, 13, 14, 20, 21].map(expert_of),
            [None, Some((StepId(1), 0, 0)), Some((StepId(1), 0, 3)), None, Some((StepId(3), 1, 1)), None,]
        );
    }
}
