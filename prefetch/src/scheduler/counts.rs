//! How often each expert is read in a pass: counted where reads are started, whatever they are started for.

use forebay_pager::PageId;

use crate::experts::ExpertGrid;
use crate::plan::Plan;

/// What was counted of experts in one pass: a token, or a chunk of a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PassExperts {
    /// Experts that were needed, each once for a layer however many tokens chose it.
    pub needed: u64,
    /// Reads of experts that were started, on demand or ahead. An expert of which pages are missing counts once; again
    /// when a page of it is read again.
    pub reads: u64,
    /// The most reads of one expert.
    pub most_reads: u8,
}

/// The counters of the present pass.
#[derive(Debug)]
pub(super) struct PassCounts {
    pub(super) experts: PassExperts,
    grid: ExpertGrid,
    /// For each page, how often its read was started; for those of experts only.
    of_page: Vec<u8>,
    /// For each expert, the most of its pages.
    of_expert: Vec<u8>,
}

impl PassCounts {
    pub(super) fn new(plan: &Plan) -> Self {
        let grid = plan.expert_grid();
        let pages = if grid.is_empty() { 0 } else { plan.page_count() as usize };
        PassCounts { experts: PassExperts::default(), grid, of_page: vec![0; pages], of_expert: vec![0; grid.len()] }
    }

    pub(super) fn begin_pass(&mut self) {
        self.experts = PassExperts::default();
        self.of_page.fill(0);
        self.of_expert.fill(0);
    }

    /// The read of `page` was started. `false` when the page is dense.
    pub(super) fn started(&mut self, plan: &Plan, page: PageId) -> bool {
        let Some((_, choice, expert)) = plan.expert_of(page) else { return false };
        let of_page = &mut self.of_page[page.index()];
        *of_page = of_page.saturating_add(1);
        let of_expert = &mut self.of_expert[self.grid.page(choice.index as usize, expert as usize).index()];
        if *of_page > *of_expert {
            *of_expert = *of_page;
            self.experts.reads += 1;
            self.experts.most_reads = self.experts.most_reads.max(*of_expert);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StepShape;

    #[test]
    fn an_expert_is_read_as_often_as_the_page_that_is_read_most() {
        let choice = StepShape::Choice { experts: 3, pages_per_expert: 2, chosen: 1 };
        let plan = Plan::new([StepShape::All { pages: 2 }, choice, choice], 0);
        let mut counts = PassCounts::new(&plan);
        let mut after = |pages: &[u32]| {
            let of_experts = pages.iter().filter(|&&page| counts.started(&plan, PageId(page))).count();
            (of_experts, counts.experts.reads, counts.experts.most_reads)
        };
        assert_eq!(after(&[0, 1, 0]), (0, 0, 0), "dense");
        assert_eq!(after(&[2, 3, 4]), (3, 2, 1), "one expert, and a part of another");
        assert_eq!(after(&[5, 10]), (2, 3, 1), "the rest of it, and one of the next layer");
        assert_eq!(after(&[3]), (1, 4, 2));
        assert_eq!(after(&[2]), (1, 4, 2), "the same reading of the same expert");
        counts.begin_pass();
        assert_eq!(counts.experts, PassExperts::default());
        counts.started(&plan, PageId(3));
        assert_eq!((counts.experts.reads, counts.experts.most_reads), (1, 1));
    }
}
