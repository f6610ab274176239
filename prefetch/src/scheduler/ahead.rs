//! Experts that are read before their router has spoken, behind all that is sure to be needed.
//!
//! Which ones is said by the policy over experts; here it is seen to that they are in nobody's way: nothing is asked for before all
//! that was chosen, and the dense pages of the steps to come, are at least on their way, and no page leaves for them that is
//! worth more. On their way, and not there: while the last of them are read the queue would run dry.

use forebay_pager::{Class, Clock, PageId, Storage};

use super::choice::complete;
use super::{Scheduler, SchedulerOptions};
use crate::experts::Lookahead;
use crate::plan::{Choice, Plan};
use crate::policy::{PolicyKind, Position};

/// The experts that are read ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    lookahead: Lookahead,
    /// Whether there may be hints for the coming choice.
    open: bool,
    /// The one whose pages are being asked for, and the first of them that is not.
    reading: Option<(Choice, u32, u32)>,
    /// Those whose reading was begun, and the choice that they belong to.
    begun: Vec<u32>,
    begun_of: u32,
}

impl Ahead {
    pub(super) fn new(plan: &Plan, options: SchedulerOptions) -> Self {
        let able = options.prefetch && options.policy == PolicyKind::Forecast;
        Ahead {
            lookahead: if able { options.lookahead } else { Lookahead::Off },
            open: false,
            reading: None,
            begun: Vec::with_capacity(plan.expert_grid().experts),
            begun_of: 0,
        }
    }

    /// The router of a pass of `tokens` tokens has spoken. Parts of a prompt need nearly every expert: nothing to foresee.
    pub(super) fn begin(&mut self, tokens: usize) {
        self.open = tokens == 1 && self.lookahead != Lookahead::Off;
        self.reading = None;
    }
}

impl<S: Storage, C: Clock> Scheduler<S, C> {
    /// Whether [`Scheduler::foresee`] makes use of anything now.
    pub fn foresees(&self) -> bool {
        self.ahead.open && self.ahead.lookahead == Lookahead::Router
    }

    /// What the router of a choice to come, number `choice` of the plan, says of an earlier hidden state of the token: a score for
    /// each of its experts, of which the greatest would be chosen. Only a guess: it decides what is read behind all that is sure.
    pub fn foresee(&mut self, choice: u32, scores: &[f32]) {
        if let Some(experts) = self.policy.experts() {
            experts.foresee(choice, scores);
            self.ahead.reading = None;
            self.pump();
        }
    }

    /// Asks for experts that nobody has chosen yet.
    pub(super) fn read_experts_ahead(&mut self) {
        if !self.ahead.open || !self.choosing.all_asked() {
            return;
        }
        while let Some((choice, expert, place)) = self.ahead.reading.or_else(|| self.next_hint()) {
            self.ahead.reading = Some((choice, expert, place));
            if place == choice.pages_per_expert {
                self.ahead.reading = None;
                continue;
            }
            let before = self.pager.in_flight();
            let at = self.position_of_hint(&choice);
            // Asked for again later: what is computed until then may leave for it.
            if !self.fetch(PageId(choice.pages(expert).start + place), at, Class::Hint) {
                return;
            }
            self.ahead.reading = Some((choice, expert, place + 1));
            let started = self.pager.in_flight() > before;
            self.choosing.stats.hint_reads += u64::from(started);
            if started && !self.ahead.begun.contains(&expert) {
                self.ahead.begun.push(expert);
                self.ahead.begun_of = choice.index;
                self.choosing.stats.hints += 1;
            }
        }
    }

    /// When an expert that is read ahead is used: behind the last choice of a token comes the first one of the next.
    fn position_of_hint(&self, choice: &Choice) -> Position {
        let (step, _) = self.plan.choices()[choice.index as usize];
        let at = self.position(self.plan.steps()[step.0 as usize].dense.end);
        if self.chosen_until() < step { at } else { at + self.plan.dense().len() as u64 }
    }

    fn next_hint(&mut self) -> Option<(Choice, u32, u32)> {
        let pager = &self.pager;
        let hint = self.policy.experts()?.hint(|choice, expert| complete(pager, choice, expert));
        hint.map(|(choice, expert)| (choice, expert, 0))
    }

    /// The experts of `choice` are chosen: which of those read ahead are among them.
    pub(super) fn settle_hints(&mut self, choice: &Choice) {
        for expert in self.ahead.begun.drain(..) {
            let used = self.ahead.begun_of == choice.index && self.choosing.pending().binary_search(&expert).is_ok();
            let late = used && !complete(&self.pager, choice, expert);
            let stats = &mut self.choosing.stats;
            stats.hints_used += u64::from(used);
            stats.hints_late += u64::from(late);
            stats.hints_wasted += u64::from(!used);
        }
        self.ahead.begin(0);
    }
}
