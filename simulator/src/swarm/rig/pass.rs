//! One pass as a caller makes it: the calls of an engine in their order, and now and then those of one that changes its mind; every
//! lease is looked at.

use std::collections::BTreeSet;

use forebay_pager::{Lease, PageId, PageSpec, PageState};
use forebay_prefetch::plan::Need;
use forebay_prefetch::scheduler::MOST_AT_ONCE;
use forebay_prefetch::{Choice, Chosen, SchedulerError, StepId};

use super::{ALIGN, Rig, Stop};
use crate::routing::Router as _;
use crate::swarm::Violation;
use crate::swarm::audit::ensure;
use crate::swarm::bytes::first_wrong;
use crate::swarm::scenario::Routing;
use crate::swarm::witness::Came;
use crate::workload::StepNeed;

impl Rig<'_> {
    pub(super) fn pass(&mut self, tokens: &[u32], with_logits: bool) -> Result<(), Stop> {
        self.embed(tokens)?;
        let steps = self.scenario.workload.steps.len() - usize::from(!with_logits);
        let mut layer = 0;
        for step in 0..steps {
            let id = StepId(step as u32);
            match self.scenario.workload.steps[step].need {
                StepNeed::All { opens, .. } => {
                    self.dense(id, tokens.len())?;
                    if let Some(choice) = opens {
                        self.open(step, choice, layer, tokens.len())?;
                        layer += 1;
                    }
                }
                StepNeed::Choice { .. } => self.experts(id)?,
            }
            self.audit.compare(&self.scheduler)?;
        }
        Ok(())
    }

    /// The rows of the embedding.
    fn embed(&mut self, tokens: &[u32]) -> Result<(), Stop> {
        let embedding = self.scenario.workload.embedding;
        let extent = embedding.extent;
        let mut rows = Vec::new();
        for &token in tokens {
            let page = embedding.tied.map(|tensor| self.scenario.layout.page_of_row(tensor as usize, token));
            if let Some(lease) = page.and_then(|page| self.scheduler.pager_mut().lease(page)) {
                self.check(&lease)?;
                continue;
            }
            let offset = extent.offset + u64::from(token) * u64::from(extent.row_bytes);
            rows.push(PageSpec { file: extent.file, offset, len: extent.row_bytes });
        }
        let (ledger, mut wrong, mut told) = (&self.ledger, None, BTreeSet::new());
        let gathered = self.scheduler.pager_mut().gather(&rows, |i, bytes| {
            told.insert(i);
            let PageSpec { file, offset, .. } = rows[i];
            let damaged = ledger.borrow().damaged_rows.contains(&(file, offset / ALIGN * ALIGN));
            let is_wrong = first_wrong(file, offset, bytes).is_some();
            if is_wrong && !damaged {
                wrong = Some(offset);
            }
        });
        gathered.map_err(SchedulerError::from)?;
        ensure!(wrong.is_none(), "the row at {wrong:?} has wrong bytes");
        ensure!(told.len() == rows.len(), "{} of {} rows were handed out", told.len(), rows.len());
        self.went()
    }

    fn dense(&mut self, step: StepId, tokens: usize) -> Result<(), Stop> {
        self.audit.begin_step(step);
        self.scheduler.begin_step(step);
        self.went()?;
        let most = if self.dice.happens(0.5) { MOST_AT_ONCE } else { self.dice.within(0..=20) };
        while self.scheduler.next_batch(most, &mut self.batch)? {
            self.check_batch()?;
            self.went()?;
            self.scheduler.worked(self.batch.iter().map(Lease::page), tokens);
            self.check_batch()?;
            for lease in &self.batch {
                self.audit.finish(lease.page())?;
            }
            self.scheduler.finish_batch(&mut self.batch);
            self.went()?;
        }
        self.follow()?;
        self.done(step)
    }

    fn done(&self, step: StepId) -> Result<(), Stop> {
        let wanted = self.audit.wanted();
        ensure!(wanted.is_none(), "step {} is over without {wanted:?}", step.0);
        Ok(())
    }

    fn choice(&self, step: StepId) -> Choice {
        match self.scheduler.plan().steps()[step.0 as usize].need {
            Need::Choice(choice) => choice,
            Need::All => unreachable!("step {} is a choice", step.0),
        }
    }

    /// A router has spoken; the next is asked early.
    fn open(&mut self, step: usize, id: StepId, layer: usize, tokens: usize) -> Result<(), Stop> {
        let choice = self.choice(id);
        self.chosen.clear();
        self.choose(&choice, layer, tokens);
        let experts: BTreeSet<u32> = self.chosen.iter().map(|c| c.expert).collect();
        self.audit.choose(id, experts.iter().flat_map(|&expert| choice.pages(expert)).map(PageId));
        self.scheduler.choose(id, tokens, &self.chosen);
        self.went()?;
        let behind = &self.scenario.workload.steps[step + 1..];
        let next = behind.iter().position(|s| matches!(s.need, StepNeed::All { opens: Some(_), .. }));
        if let Some(next) = next.filter(|_| self.scheduler.foresees()) {
            let next = StepId((step + 1 + next) as u32);
            if self.ask_resident(next)? && self.foresee(layer + 1) {
                self.scheduler.foresee(layer as u32 + 1, &self.scores);
                self.went()?;
            }
        }
        Ok(())
    }

    fn choose(&mut self, choice: &Choice, layer: usize, tokens: usize) {
        if let Routing::Drawn(_) = self.scenario.routing {
            // All layers have as many experts for whom routing is drawn: those that there are not are taken round.
            self.router.choose(layer, tokens, self.position, &mut self.chosen);
            self.chosen.iter_mut().for_each(|c| c.expert %= choice.experts);
            return;
        }
        let pager = self.scheduler.pager();
        let absent = |expert: &u32| pager.state(PageId(choice.pages(*expert).start)) == PageState::Absent;
        let mut order: Vec<u32> = (0..choice.experts).collect();
        for token in 0..tokens as u32 {
            (1..order.len()).rev().for_each(|i| order.swap(i, self.dice.within(0..=i)));
            order.sort_by_key(|expert| !absent(expert));
            let weight = self.dice.uniform() as f32;
            let some = order.iter().take(choice.chosen as usize);
            self.chosen.extend(some.map(|&expert| Chosen { token, expert, weight }));
        }
    }

    /// What the router of a layer to come says early.
    fn foresee(&mut self, layer: usize) -> bool {
        let (_, choice) = self.scheduler.plan().choices()[layer];
        if let Routing::Drawn(_) = self.scenario.routing {
            let known = self.router.foresee(layer, &mut self.scores);
            self.scores.truncate(choice.experts as usize);
            return known;
        }
        self.scores.clear();
        self.scores.extend((0..choice.experts).map(|_| self.dice.between(-9.0, 9.0) as f32));
        true
    }

    /// Looks at the pages of a step, if all of them are in the window.
    fn ask_resident(&mut self, step: StepId) -> Result<bool, Stop> {
        let pages: Vec<PageId> = self.scheduler.plan().pages(step).collect();
        let resident = |page: &PageId| self.scheduler.pager().state(*page) == PageState::Resident;
        if !pages.iter().all(resident) {
            return Ok(false);
        }
        for some in pages.chunks(MOST_AT_ONCE) {
            self.batch.extend(some.iter().filter_map(|&page| self.scheduler.pager_mut().lease(page)));
            self.check_batch()?;
            self.scheduler.worked(self.batch.iter().map(Lease::page), 1);
            self.batch.clear();
        }
        self.went()?;
        Ok(true)
    }

    fn experts(&mut self, step: StepId) -> Result<(), Stop> {
        self.audit.begin_step(step);
        self.scheduler.begin_step(step);
        self.went()?;
        let choice = self.choice(step);
        let mut left: BTreeSet<u32> = self.chosen.iter().map(|c| c.expert).collect();
        while let Some(expert) = self.scheduler.next_expert(&mut self.batch)? {
            ensure!(left.remove(&expert), "expert {expert} of step {} was not chosen, or comes again", step.0);
            let pages = self.batch.iter().map(Lease::page);
            ensure!(pages.eq(choice.pages(expert).map(PageId)), "not the pages of expert {expert} of step {}", step.0);
            self.check_batch()?;
            self.went()?;
            for _ in 0..self.dice.within(0..=2) {
                self.scheduler.worked(self.batch.iter().map(Lease::page), 1);
                self.scheduler.tend()?;
                self.check_batch()?;
                self.went()?;
            }
            for lease in &self.batch {
                self.audit.finish(lease.page())?;
            }
            self.scheduler.finish_expert(&mut self.batch);
            self.went()?;
        }
        self.follow()?;
        ensure!(left.is_empty(), "step {} is over without the experts {left:?}", step.0);
        self.done(step)
    }

    fn check_batch(&mut self) -> Result<(), Violation> {
        let batch = std::mem::take(&mut self.batch);
        let checked = batch.iter().try_for_each(|lease| self.check(lease));
        self.batch = batch;
        checked
    }

    /// The bytes are right, but where the device has damaged them: then it must show.
    fn check(&mut self, lease: &Lease) -> Result<(), Violation> {
        let page = lease.page();
        let PageSpec { file, offset, len } = self.scheduler.pager().spec(page);
        ensure!(lease.bytes().len() == len as usize, "{page} has {len} bytes, not {}", lease.bytes().len());
        let wrong = first_wrong(file, offset, lease.bytes());
        let damaged = self.ledger.borrow().pages[page.index()] == Came::Damaged;
        match wrong {
            Some(byte) => ensure!(damaged, "byte {byte} of {page} is wrong"),
            None => ensure!(!damaged, "the device has damaged {page}, and it does not show"),
        }
        self.outcome.leases += 1;
        self.outcome.noticed += u64::from(damaged);
        Ok(())
    }
}
