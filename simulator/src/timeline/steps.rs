//! The steps of a plan as a timeline needs them: names, and which pages are whose.

use std::ops::Range;

use forebay_pager::PageId;
use forebay_prefetch::plan::Need;
use forebay_prefetch::{Plan, StepName};

/// The pages of a choice among experts: those of the first expert come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertPages {
    /// Number of experts.
    pub experts: u32,
    /// Pages of each.
    pub each: u32,
    /// How many of them a token chooses.
    pub chosen: u32,
}

/// A step of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is called.
    pub name: StepName,
    /// Its pages, which follow those of the step before.
    pub pages: Range<u32>,
    /// Whose pages they are, where it is a choice.
    pub experts: Option<ExpertPages>,
}

impl Step {
    /// The expert that a page of this step belongs to.
    pub fn expert_of(&self, page: PageId) -> Option<u32> {
        self.experts.map(|experts| (page.0 - self.pages.start) / experts.each)
    }
}

/// The steps of `plan`, with their names.
///
/// # Panics
/// When there are not as many names as steps.
pub fn steps_of(plan: &Plan, names: Vec<StepName>) -> Vec<Step> {
    assert_eq!(plan.steps().len(), names.len(), "a name for each step");
    let step = |(step, name): (&forebay_prefetch::Step, StepName)| {
        let experts = match step.need {
            Need::All => None,
            Need::Choice(c) => Some(ExpertPages { experts: c.experts, each: c.pages_per_expert, chosen: c.chosen }),
        };
        Step { name, pages: step.pages.clone(), experts }
    };
    plan.steps().iter().zip(names).map(step).collect()
}

/// Where `page` belongs.
///
/// # Panics
/// When it is the page of no step.
pub(super) fn step_of(steps: &[Step], page: PageId) -> usize {
    steps.partition_point(|step| step.pages.end <= page.0)
}

/// That each page is one of exactly one step.
pub(super) fn check(steps: &[Step], pages: usize) -> Result<(), String> {
    let mut next = 0;
    for (i, step) in steps.iter().enumerate() {
        let count = step.pages.end.checked_sub(step.pages.start);
        if step.pages.start != next || count.is_none() {
            return Err(format!("step {i} ({}): its pages do not follow those of the step before", step.name));
        }
        if let Some(ExpertPages { experts, each, .. }) = step.experts
            && (each == 0 || experts.checked_mul(each) != count)
        {
            let count = count.unwrap_or(0);
            return Err(format!("step {i} ({}): {experts} experts of {each} pages have not {count}", step.name));
        }
        next = step.pages.end;
    }
    if next as usize == pages { Ok(()) } else { Err(format!("the steps have {next} pages, and there are {pages}")) }
}
