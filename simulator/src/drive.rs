//! The scheduler, driven as the engine of `forebay-infer` drives it: the same calls in the same order, with time in place of
//! products. Nothing is decided here.

use std::sync::Arc;

use forebay_pager::{Clock, Lease, PageId, PageSpec, PageState, Storage};
use forebay_prefetch::scheduler::MOST_AT_ONCE;
use forebay_prefetch::{Chosen, Layout, Pass, Scheduler, SchedulerError, StepId};

use crate::routing::Router;
use crate::workload::{StepNeed, Workload};

/// A model that is run without being computed.
#[derive(Debug)]
pub struct Driver<S: Storage, C: Clock, R> {
    scheduler: Scheduler<S, C>,
    layout: Arc<Layout>,
    workload: Workload,
    router: R,
    /// For each step, how many choices were opened when it is done.
    choices_before: Vec<usize>,
    position: usize,
    batch: Vec<Lease>,
    chosen: Vec<Chosen>,
    scores: Vec<f32>,
    rows: Vec<PageSpec>,
}

impl<S: Storage, C: Clock, R: Router> Driver<S, C, R> {
    /// Runs `workload`, cut as `layout` says, through `scheduler`.
    pub fn new(scheduler: Scheduler<S, C>, layout: impl Into<Arc<Layout>>, workload: Workload, router: R) -> Self {
        let opens = |need: StepNeed| usize::from(matches!(need, StepNeed::All { opens: Some(_), .. }));
        let choices_before = workload.steps.iter().scan(0, |before, step| {
            let now = *before;
            *before += opens(step.need);
            Some(now)
        });
        Driver {
            choices_before: choices_before.collect(),
            scheduler,
            layout: layout.into(),
            workload,
            router,
            position: 0,
            batch: Vec::new(),
            chosen: Vec::new(),
            scores: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The scheduler, for statistics.
    pub fn scheduler(&self) -> &Scheduler<S, C> {
        &self.scheduler
    }

    /// The scheduler, to reset its statistics.
    pub fn scheduler_mut(&mut self) -> &mut Scheduler<S, C> {
        &mut self.scheduler
    }

    /// Takes tokens through the layers, at most `chunk` together; the last of them is followed by logits.
    ///
    /// # Errors
    /// When the flash fails, or the window is too small.
    pub fn forward(&mut self, tokens: &[u32], chunk: usize) -> Result<(), SchedulerError> {
        let mut done = 0;
        for part in tokens.chunks(chunk) {
            done += part.len();
            self.pass(part, done == tokens.len())?;
        }
        Ok(())
    }

    fn pass(&mut self, tokens: &[u32], with_logits: bool) -> Result<(), SchedulerError> {
        self.scheduler.announce(tokens.len() as u32, self.position as u32);
        self.scheduler.begin_pass(if with_logits { Pass::Full } else { Pass::WithoutTail });
        self.embed(tokens)?;
        let steps = self.workload.steps.len() - usize::from(!with_logits);
        for step in 0..steps {
            let id = StepId(step as u32);
            match self.workload.steps[step].need {
                StepNeed::All { opens, .. } => {
                    // The head sees the last token only.
                    let n = if step + 1 == self.workload.steps.len() { 1 } else { tokens.len() };
                    self.dense(id, n)?;
                    if let Some(choice) = opens {
                        self.open(step, choice, tokens.len());
                    }
                }
                StepNeed::Choice { before_gate, .. } => self.experts(id, before_gate)?,
            }
        }
        self.position += tokens.len();
        Ok(())
    }

    /// The rows of the embedding: those of a tied head that are in the window are taken from there.
    fn embed(&mut self, tokens: &[u32]) -> Result<(), SchedulerError> {
        let embedding = self.workload.embedding;
        self.rows.clear();
        for &token in tokens {
            let page = embedding.tied.map(|tensor| self.layout.page_of_row(tensor as usize, token));
            if page.and_then(|page| self.scheduler.pager_mut().lease(page)).is_some() {
                continue;
            }
            let offset = embedding.extent.offset + u64::from(token) * u64::from(embedding.extent.row_bytes);
            self.rows.push(PageSpec { file: embedding.extent.file, offset, len: embedding.extent.row_bytes });
        }
        if !self.rows.is_empty() {
            self.scheduler.pager_mut().gather(&self.rows, |_, _| ())?;
        }
        Ok(())
    }

    fn dense(&mut self, step: StepId, tokens: usize) -> Result<(), SchedulerError> {
        self.scheduler.begin_step(step);
        while self.scheduler.next_batch(MOST_AT_ONCE, &mut self.batch)? {
            self.batch.sort_unstable_by_key(Lease::page);
            self.scheduler.worked(self.batch.iter().map(Lease::page), tokens);
            self.scheduler.finish_batch(&mut self.batch);
        }
        Ok(())
    }

    /// The router at `step` has spoken: experts are chosen, and the next router is asked early.
    fn open(&mut self, step: usize, choice: StepId, tokens: usize) {
        let layer = self.choices_before[step];
        self.chosen.clear();
        self.router.choose(layer, tokens, self.position, &mut self.chosen);
        self.scheduler.choose(choice, tokens, &self.chosen);
        let behind = &self.workload.steps[step + 1..];
        let next = behind.iter().position(|s| matches!(s.need, StepNeed::All { opens: Some(_), .. }));
        let Some(next) = next.filter(|_| self.scheduler.foresees()) else { return };
        if self.ask_resident(StepId((step + 1 + next) as u32)) && self.router.foresee(layer + 1, &mut self.scores) {
            self.scheduler.foresee(layer as u32 + 1, &self.scores);
        }
    }

    /// Multiplies the pages of a step, if all of them are in the window.
    fn ask_resident(&mut self, step: StepId) -> bool {
        let pages = self.scheduler.plan().steps()[step.0 as usize].pages.clone();
        let absent = |page| self.scheduler.pager().state(PageId(page)) != PageState::Resident;
        if pages.clone().any(absent) {
            return false;
        }
        for first in pages.clone().step_by(MOST_AT_ONCE) {
            let some = (first..pages.end).take(MOST_AT_ONCE).map(PageId);
            self.batch.extend(some.filter_map(|page| self.scheduler.pager_mut().lease(page)));
            self.scheduler.worked(self.batch.iter().map(Lease::page), 1);
            self.batch.clear();
        }
        true
    }

    fn experts(&mut self, step: StepId, before_gate: u32) -> Result<(), SchedulerError> {
        self.scheduler.begin_step(step);
        while let Some(expert) = self.scheduler.next_expert(&mut self.batch)? {
            let users = self.chosen.iter().filter(|chosen| chosen.expert == expert).count();
            let first = self.batch.first().map_or(0, |lease| self.layout.rows[lease.page().index()].tensor);
            for before in [true, false] {
                let layout = &self.layout;
                let wanted = |page: &PageId| (layout.rows[page.index()].tensor < first + before_gate) == before;
                self.scheduler.worked(self.batch.iter().map(Lease::page).filter(wanted), users);
                // Who is told of an error does not give the expert back.
                self.scheduler.tend().inspect_err(|_| self.batch.clear())?;
            }
            self.scheduler.finish_expert(&mut self.batch);
        }
        Ok(())
    }
}
