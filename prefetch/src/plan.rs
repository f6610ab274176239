//! The plan: the steps of one token, in order, each with the pages that it needs.

use std::ops::Range;

use forebay_pager::PageId;

/// Index of a step in its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepId(pub u32);

/// One step: everything that is computed from one input, so that its pages may be used in any order.
///
/// The pages of consecutive steps have consecutive numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The pages that the step needs, all of them.
    pub pages: Range<u32>,
}

/// How much of the plan a pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Every step.
    Full,
    /// All but the tail: a part of a prompt whose logits nobody asks for needs no output head.
    WithoutTail,
}

/// The steps of one token in order. A dense model runs the same plan for each token: the plan is cyclic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    tail: usize,
}

impl Plan {
    /// A plan of steps with `page_counts` pages each, numbered on from 0; the last `tail` steps are the tail.
    ///
    /// # Panics
    /// When the tail is longer than the plan.
    pub fn cyclic(page_counts: &[u32], tail: usize) -> Self {
        assert!(tail <= page_counts.len(), "a tail of {tail} steps in a plan of {}", page_counts.len());
        let mut next = 0;
        let steps = page_counts
            .iter()
            .map(|count| {
                let pages = next..next + count;
                next = pages.end;
                Step { pages }
            })
            .collect();
        Plan { steps, tail }
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Number of pages of the whole plan.
    pub fn page_count(&self) -> u32 {
        self.steps.last().map_or(0, |s| s.pages.end)
    }

    /// One past the last page of a pass.
    pub fn end_of(&self, pass: Pass) -> u32 {
        match pass {
            Pass::Full => self.page_count(),
            Pass::WithoutTail => {
                let body = self.steps.len() - self.tail;
                self.steps[..body].last().map_or(0, |s| s.pages.end)
            }
        }
    }

    /// The pages of a step.
    pub fn pages(&self, step: StepId) -> impl Iterator<Item = PageId> + use<> {
        self.steps[step.0 as usize].pages.clone().map(PageId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_numbered_through() {
        let plan = Plan::cyclic(&[2, 0, 3], 1);
        assert_eq!(plan.steps()[2].pages, 2..5);
        assert_eq!(plan.end_of(Pass::Full), 5);
        assert_eq!(plan.end_of(Pass::WithoutTail), 2);
        assert_eq!(plan.pages(StepId(0)).collect::<Vec<_>>(), [PageId(0), PageId(1)]);
    }
}
