//! Steps that are choices: the experts that the tokens of a pass need, each handed out as a whole.
//!
//! What is chosen is read in the order of the pages, one expert after the other. What has been read for one is kept until
//! that one is computed, so no page is read twice for a step; and the first expert that is not complete can always be
//! completed, as the window has frames for one.

use std::collections::VecDeque;

use forebay_pager::{Class, Clock, Lease, Nanos, PageId, PageState, Pager, Storage};

use super::{LEAST_FRAMES, PassExperts, Scheduler, SchedulerError};
use crate::experts::{Chosen, Routing};
use crate::plan::{Choice, Need, Plan, StepId};
use crate::policy::{Policy, Position, ResidentExperts, Use};

/// What was counted of experts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExpertStats {
    /// Experts that were needed, each counted once for a pass however many of its tokens chose it.
    pub used: u64,
    /// Of these, the ones of which pages were missing when they were chosen.
    pub loads: u64,
    /// Pages of experts whose read was started after they were chosen; those before are `hint_reads`. For one pass no page twice,
    /// unless one had to make room for the run to go on.
    pub reads: u64,
    /// Bytes of experts whose read was started, on demand or ahead.
    pub bytes: u64,
    /// Time that compute waited for experts.
    pub stall: Nanos,
    /// How often it did.
    pub stalls: u64,
    /// Experts whose reading was begun before their router had spoken.
    pub hints: u64,
    /// Of these, the ones that their router chose when it spoke.
    pub hints_used: u64,
    /// Of these in turn, the ones that were not complete by then.
    pub hints_late: u64,
    /// Experts read ahead that their router did not choose.
    pub hints_wasted: u64,
    /// Pages of experts whose read was started before their router had spoken.
    pub hint_reads: u64,
}

impl ExpertStats {
    /// The part of the experts needed that were resident when their router had spoken, 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        1.0 - self.loads as f64 / (self.used as f64).max(1.0)
    }
}

/// How far an expert of the choice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nobody wants it: it was not chosen, or is computed.
    Unwanted,
    /// Pages of it are missing, or nobody has looked yet.
    Pending,
    /// All of its pages are resident.
    Ready,
    /// Handed out.
    Computing,
}

/// The experts that are chosen and not computed.
#[derive(Debug)]
pub(super) struct Choosing {
    /// The step that they are chosen for.
    at: Option<(StepId, Choice)>,
    /// Not handed out, in ascending order.
    pending: Vec<u32>,
    /// Of these the complete ones, in the order in which they became so.
    ready: VecDeque<u32>,
    /// For each expert of the choice. The pages of those that are wanted must stay.
    progress: Vec<Progress>,
    /// Handed out and not given back.
    computing: Option<u32>,
    /// The next page to be asked for: an index into `pending`, and a page of that expert.
    next: (usize, u32),
    pub(super) stats: ExpertStats,
}

impl Choosing {
    pub(super) fn new(plan: &Plan) -> Self {
        let most = plan.choices().iter().map(|(_, choice)| choice.experts as usize).max().unwrap_or(0);
        Choosing {
            at: None,
            pending: Vec::with_capacity(most),
            ready: VecDeque::with_capacity(most),
            progress: vec![Progress::Unwanted; most],
            computing: None,
            next: (0, 0),
            stats: ExpertStats::default(),
        }
    }

    /// Whether compute has an expert, or could have one at once.
    pub(super) fn ready(&self) -> bool {
        self.computing.is_some() || !self.ready.is_empty()
    }

    /// Whether `page` is one of an expert that is to be computed.
    pub(super) fn holds(&self, page: PageId) -> bool {
        let expert = self.at.and_then(|(_, choice)| choice.expert_of(page));
        expert.is_some_and(|expert| self.progress[expert as usize] != Progress::Unwanted)
    }

    /// A page of a chosen expert that has to make room for `page` after all: of the last that has one, and not of the expert
    /// that `page` belongs to. Everything is asked for again.
    pub(super) fn sacrifice(&mut self, page: PageId, resident: &dyn Fn(PageId) -> bool) -> Option<PageId> {
        let (_, choice) = self.at?;
        let others = self.pending.iter().rev().filter(|&&expert| choice.expert_of(page) != Some(expert));
        let victim = others.flat_map(|&expert| choice.pages(expert)).map(PageId).find(|&p| resident(p))?;
        self.next = (0, 0);
        Some(victim)
    }

    /// Puts down who is chosen, in ascending order whatever that of `chosen`.
    fn begin(&mut self, step: StepId, choice: Choice, chosen: &[Chosen]) {
        self.at = Some((step, choice));
        for c in chosen {
            self.progress[c.expert as usize] = Progress::Pending;
        }
        let wanted = |expert: &u32| self.progress[*expert as usize] == Progress::Pending;
        self.pending.extend((0..choice.experts).filter(wanted));
        self.stats.used += self.pending.len() as u64;
    }

    /// Whether all pages of those that are chosen were asked for.
    pub(super) fn all_asked(&self) -> bool {
        self.next.0 >= self.pending.len()
    }

    /// Those that are chosen and not handed out.
    pub(super) fn pending(&self) -> &[u32] {
        &self.pending
    }

    /// Takes `expert` from the pending.
    fn hand_out(&mut self, expert: u32) {
        let place = self.pending.binary_search(&expert).expect("what is ready is pending");
        self.pending.remove(place);
        if place < self.next.0 {
            self.next.0 -= 1;
        } else if place == self.next.0 {
            self.next.1 = 0;
        }
        self.progress[expert as usize] = Progress::Computing;
        self.computing = Some(expert);
    }

    /// Takes note that all pages of `expert` are resident.
    fn complete(&mut self, expert: u32) {
        self.progress[expert as usize] = Progress::Ready;
        self.ready.push_back(expert);
    }
}

pub(super) fn complete<S: Storage, C: Clock>(pager: &Pager<S, C>, choice: &Choice, expert: u32) -> bool {
    choice.pages(expert).all(|page| pager.state(PageId(page)) == PageState::Resident)
}

impl<S: Storage, C: Clock> Scheduler<S, C> {
    /// Says which experts the `tokens` tokens of this pass have chosen in `step`, in any order. They are read from here on, so
    /// dense steps may be computed before the step is begun.
    ///
    /// # Panics
    /// When the step is no choice, or there is no such expert.
    pub fn choose(&mut self, step: StepId, tokens: usize, chosen: &[Chosen]) {
        self.give_up_experts();
        let Need::Choice(choice) = self.plan.steps()[step.0 as usize].need else {
            panic!("step {} is no choice among experts", step.0);
        };
        assert!(chosen.iter().all(|c| c.expert < choice.experts), "{} experts: {chosen:?}", choice.experts);
        self.choosing.begin(step, choice, chosen);
        self.counts.experts.needed += self.choosing.pending.len() as u64;
        self.settle_hints(&choice);
        for &expert in &self.choosing.pending {
            self.choosing.stats.loads += u64::from(!complete(&self.pager, &choice, expert));
            if let Some(experts) = self.policy.experts() {
                experts.hold(&choice, expert);
            }
        }
        // With everything resident nobody asks what an expert is worth.
        if self.pager.frames() < self.pager.page_count()
            && let Some(experts) = self.policy.experts()
        {
            experts.observe(&Routing { layer: choice.index as usize, tokens, choices: chosen });
            self.ahead.begin(tokens);
        }
        self.pump();
    }

    /// Bytes of `expert`, of those just chosen, that are not in the window: 0 when it is resident.
    ///
    /// # Panics
    /// When nothing is chosen, or there is no such expert.
    pub fn missing_bytes(&self, expert: u32) -> u64 {
        let (_, choice) = self.choosing.at.expect("experts were chosen");
        assert!(expert < choice.experts, "expert {expert} of {}", choice.experts);
        let missing = choice.pages(expert).map(PageId).filter(|&page| self.pager.state(page) != PageState::Resident);
        missing.map(|page| u64::from(self.pager.spec(page).len)).sum()
    }

    /// The next expert to compute, by its number; its pages are moved into `pages`, which must be empty, in the order in which
    /// they were cut. Those that are resident come first. Waits for the flash only when no expert is complete. `None` when
    /// the step is.
    ///
    /// # Errors
    /// When a read has failed or the window cannot hold an expert.
    ///
    /// # Panics
    /// When the current step is no choice, or the last expert was not given back.
    pub fn next_expert(&mut self, pages: &mut Vec<Lease>) -> Result<Option<u32>, SchedulerError> {
        assert!(pages.is_empty() && self.choosing.computing.is_none(), "give the last expert back first");
        let (_, choice) = self.choosing.at.filter(|(step, _)| *step == self.step).expect("a choice was begun");
        loop {
            self.take_in()?;
            self.pump();
            if let Some(expert) = self.choosing.ready.pop_front() {
                self.choosing.hand_out(expert);
                pages.extend(
                    choice.pages(expert).map(|page| self.pager.lease(PageId(page)).expect("held when complete")),
                );
                return Ok(Some(expert));
            }
            if self.choosing.pending.is_empty() {
                return Ok(None);
            }
            if self.pager.in_flight() == 0 {
                return Err(self.too_small());
            }
            let before = (self.pager.stats().stall, self.pager.stats().stalls);
            let waited = self.pager.wait();
            let stats = self.pager.stats();
            self.choosing.stats.stall += stats.stall - before.0;
            self.choosing.stats.stalls += stats.stalls - before.1;
            self.unless_stale(waited)?;
        }
    }

    /// Keeps the flash busy while an expert is computed: to be called between its matrices.
    ///
    /// # Errors
    /// When a read has failed.
    pub fn tend(&mut self) -> Result<(), SchedulerError> {
        self.take_in()?;
        self.pump();
        Ok(())
    }

    /// Gives a computed expert back and empties `pages`.
    pub fn finish_expert(&mut self, pages: &mut Vec<Lease>) {
        let at = self.position_of_choice();
        for lease in pages.drain(..) {
            let page = lease.page();
            drop(lease);
            self.policy.touch(page, at, Use::Done);
        }
        if let (Some((_, choice)), Some(expert)) = (self.choosing.at, self.choosing.computing.take()) {
            self.choosing.progress[expert as usize] = Progress::Unwanted;
            if let Some(experts) = self.policy.experts() {
                experts.release(&choice, expert, at);
            }
        }
    }

    /// What was counted of experts.
    pub fn expert_stats(&self) -> ExpertStats {
        self.choosing.stats
    }

    /// What was counted of experts; counting starts again at zero.
    pub fn take_expert_stats(&mut self) -> ExpertStats {
        std::mem::take(&mut self.choosing.stats)
    }

    /// What was counted of experts in the present pass, or in the last one when it is over.
    pub fn pass_experts(&self) -> PassExperts {
        self.counts.experts
    }

    /// The experts that have pages in the window and are not chosen, the first to leave first, by the numbers that
    /// [`Plan::expert_grid`] gives them; none where the policy does not tell experts from other pages. Slow: for tests.
    pub fn leaving_experts(&mut self) -> Vec<PageId> {
        self.policy.experts().map_or_else(Vec::new, ResidentExperts::leaving)
    }

    pub(super) fn begin_choice(&mut self, step: StepId) {
        let Some((_, choice)) = self.choosing.at.filter(|(chosen_for, _)| *chosen_for == step) else {
            panic!("the experts of step {} are not chosen", step.0);
        };
        // What was hinted so far is demanded from here on.
        self.choosing.next = (0, 0);
        for i in 0..self.choosing.pending.len() {
            let expert = self.choosing.pending[i];
            if complete(&self.pager, &choice, expert) {
                self.choosing.complete(expert);
            }
        }
    }

    /// Lets go of what was chosen for a step that is not to come any more when `step` begins.
    pub(super) fn give_up_experts_before(&mut self, step: StepId) {
        if self.choosing.at.is_some_and(|(at, _)| at < step || at == self.step) {
            self.give_up_experts();
        }
    }

    /// Lets go of what was chosen.
    pub(super) fn give_up_experts(&mut self) {
        let at = self.position_of_choice();
        let Some((_, choice)) = self.choosing.at.take() else { return };
        let Choosing { pending, ready, progress, computing, .. } = &mut self.choosing;
        ready.clear();
        for expert in pending.drain(..).chain(computing.take()) {
            progress[expert as usize] = Progress::Unwanted;
            if let Some(experts) = self.policy.experts() {
                experts.release(&choice, expert, at);
            }
        }
        self.choosing.next = (0, 0);
    }

    /// A page has arrived while the current step is a choice.
    pub(super) fn note_expert_page(&mut self, page: PageId) {
        let Some((step, choice)) = self.choosing.at else { return };
        let Some(expert) = choice.expert_of(page).filter(|_| step == self.step) else { return };
        let pending = self.choosing.progress[expert as usize] == Progress::Pending;
        if pending && complete(&self.pager, &choice, expert) {
            self.choosing.complete(expert);
        }
    }

    /// Asks for the missing pages of the chosen experts. `false` when some of them have to wait.
    pub(super) fn read_chosen(&mut self) -> bool {
        let Some((step, choice)) = self.choosing.at else { return true };
        let class = if step == self.step { Class::Demand } else { Class::Hint };
        if class == Class::Hint && !self.prefetch {
            return true;
        }
        let at = self.position_of_choice();
        while let Some(&expert) = self.choosing.pending.get(self.choosing.next.0) {
            let (index, place) = self.choosing.next;
            if place == choice.pages_per_expert {
                self.choosing.next = (index + 1, 0);
                continue;
            }
            // Dense steps that come before have to find room: what is read for later must not have to leave again.
            let asked = index * choice.pages_per_expert as usize + place as usize;
            if class == Class::Hint && asked + LEAST_FRAMES >= self.pager.frames() {
                return true;
            }
            self.choosing.next.1 += 1;
            let before = self.pager.in_flight();
            if !self.fetch(PageId(choice.pages(expert).start + place), at, class) {
                // A sacrifice may have put it back already.
                self.choosing.next = self.choosing.next.min((index, place));
                return false;
            }
            self.choosing.stats.reads += (self.pager.in_flight() - before) as u64;
        }
        true
    }

    /// The last step of this pass whose experts, if it has any, are known.
    pub(super) fn chosen_until(&self) -> StepId {
        self.choosing.at.map_or(self.step, |(step, _)| step.max(self.step))
    }

    /// Experts are used at the position of the next dense page.
    fn position_of_choice(&self) -> Position {
        let step = self.choosing.at.map_or(self.step, |(step, _)| step);
        self.position(self.plan.steps()[step.0 as usize].dense.end)
    }

    /// An error of a read, with the expert that the page belongs to.
    pub(super) fn name_expert(&self, error: forebay_pager::Error) -> SchedulerError {
        let place = match &error {
            forebay_pager::Error::Read { page, .. } => self.plan.expert_of(*page),
            _ => None,
        };
        match place {
            Some((_, choice, expert)) => SchedulerError::Expert { choice: choice.index, expert, source: error },
            None => SchedulerError::Pager(error),
        }
    }
}
