//! Drives a pager along the plan: demand first, then hints; hits are handed out before misses.
//!
//! One owner, no locks. Compute asks for the pages of a step in batches and gives them back; between batches the
//! scheduler polls completions and keeps the queue of the flash full.
//!
//! ```text
//! announce              of how many tokens the pass is: for the clock and the journal
//! begin_pass            the next token, or the next part of a prompt
//!   begin_step          pages of the step that are resident are leased at once
//!     next_batch        demand what is missing, hint what comes later, hand out what is ready (or wait)
//!     worked            these pages are computed: for clocks that do not go by themselves
//!     finish_batch      give the pages back: from here on they may be evicted
//!   choose              what the router has chosen: read from here on, before all hints
//!     foresee           what the next router is likely to choose: read behind all that was chosen
//!   begin_step          of the choice; dense steps may come in between
//!     next_expert       demand what is missing, hand out an expert all of whose pages are resident (or wait)
//!     finish_expert     give it back
//! ```

mod ahead;
mod choice;
mod counts;
mod reads;
mod room;

pub use choice::ExpertStats;
pub use counts::PassExperts;
pub use room::{LEAST_FRAMES, least_frames};

use forebay_pager::{Clock, Event, Lease, PageId, Pager, Storage, Work};

use self::ahead::Ahead;
use self::choice::Choosing;
use self::counts::PassCounts;
use self::room::{kept_pages, least, ring};
use crate::experts::{ExpertForecast, ExpertPolicy, Learned, Lookahead};
use crate::layout::Layout;
use crate::plan::{Need, Pass, Plan, Step, StepId};
use crate::policy::{AnyPolicy, ClockSweep, Forecast, Lfu, Lru, Policy, PolicyKind, Position, ResidentExperts, Use};

/// Pages that are handed out together, at most: enough to make the price of handing out vanish.
pub const MOST_AT_ONCE: usize = 16;
/// The same while streaming: few, so that the flash's queue is looked after often.
const AT_ONCE_STREAMING: usize = 4;
/// The same while the flash has all the reads that it takes: it is what a run waits for, and some flash ends many reads at
/// once. Then it is idle until somebody comes.
const AT_ONCE_QUEUE_FULL: usize = 1;

/// How the scheduler decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// Who leaves when a frame is wanted.
    pub policy: PolicyKind,
    /// Whether pages of later steps are read ahead. Off is a baseline: every miss is then waited for.
    pub prefetch: bool,
    /// On what grounds experts are read before their router has spoken; only with prefetch and [`PolicyKind::Forecast`].
    pub lookahead: Lookahead,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        SchedulerOptions { policy: PolicyKind::default(), prefetch: true, lookahead: Lookahead::default() }
    }
}

/// Why a run along the plan cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// A read failed.
    #[error(transparent)]
    Pager(#[from] forebay_pager::Error),
    /// A read of an expert's page failed.
    #[error("expert {expert} of choice {choice}: {source}")]
    Expert {
        /// The choice, counted from the first of the plan.
        choice: u32,
        /// The expert, counted within its choice.
        expert: u32,
        /// What happened, and where.
        source: forebay_pager::Error,
    },
    /// The window is too small to hold even one page beside those that compute holds.
    #[error("the window of {frames} frames is too small: at least {least} are needed")]
    WindowTooSmall {
        /// Frames there are.
        frames: usize,
        /// Frames that a run needs.
        least: usize,
    },
}

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Scheduler<S: Storage, C: Clock> {
    pager: Pager<S, C>,
    plan: Plan,
    policy: AnyPolicy,
    prefetch: bool,
    /// Passes begun before the current one.
    pass: u64,
    /// The dense pages of the current pass.
    pass_end: u32,
    step: StepId,
    /// Pages of the current step that are leased and wait to be taken.
    ready: Vec<Lease>,
    /// Emptied after every use; kept for its capacity.
    arrived: Vec<PageId>,
    /// For each page, the use that it was last read for.
    due: Vec<Position>,
    /// For each page, whether the current step has had it: once computed it may be evicted, and must not be read again.
    taken: Vec<bool>,
    /// Pages of the current step not yet given back.
    unfinished: u32,
    /// Next page of the current step to be looked at for demand.
    demand_at: u32,
    /// Next dense page to be looked at for a hint; never before the current step.
    hint_at: Position,
    /// Distance, in dense pages, that hints may run ahead of compute.
    reach: u64,
    /// The experts that are chosen and not computed.
    choosing: Choosing,
    /// The experts that are read before they are chosen.
    ahead: Ahead,
    /// What is counted of experts in this pass.
    counts: PassCounts,
}

impl<S: Storage, C: Clock> Scheduler<S, C> {
    /// Runs `plan`, whose pages are those of `layout`, through the window of `pager`.
    ///
    /// # Errors
    /// When the window has fewer than [`least_frames`].
    ///
    /// # Panics
    /// When pager, plan and layout differ in the number of pages.
    pub fn new(
        pager: Pager<S, C>,
        plan: Plan,
        layout: &Layout,
        options: SchedulerOptions,
    ) -> Result<Self, SchedulerError> {
        let experts = forecast_of_experts(&plan, options.lookahead);
        Self::with_experts(pager, plan, layout, options, experts)
    }

    /// The same with another policy over experts for [`PolicyKind::Forecast`]. An expert goes by the number that
    /// [`Plan::expert_grid`] gives it.
    ///
    /// # Errors
    /// As of [`Scheduler::new`].
    ///
    /// # Panics
    /// As [`Scheduler::new`].
    pub fn with_experts(
        pager: Pager<S, C>,
        plan: Plan,
        layout: &Layout,
        options: SchedulerOptions,
        experts: Box<dyn ExpertPolicy + Send>,
    ) -> Result<Self, SchedulerError> {
        let pages = layout.page_count();
        assert!(pages == plan.page_count() as usize && pages == pager.page_count(), "one plan, one layout");
        let frames = pager.frames();
        let least = least(&plan);
        if frames < least.min(pages) {
            return Err(SchedulerError::WindowTooSmall { frames, least });
        }
        let policy = match options.policy {
            PolicyKind::Forecast => {
                let (keep, ahead) = (kept_pages(&plan, layout, frames, pager.depth()), 2 * pager.depth());
                let experts = ResidentExperts::new(&plan, ring(&plan, frames, pager.depth()), experts);
                AnyPolicy::Forecast(Forecast::new(&plan, keep, ahead, experts))
            }
            PolicyKind::Lru => AnyPolicy::Lru(Lru::new(frames)),
            PolicyKind::Lfu => AnyPolicy::Lfu(Lfu::new(pages)),
            PolicyKind::Clock => AnyPolicy::Clock(ClockSweep::new(pages)),
        };
        // The forecast knows by itself when a hint does harm. The others do not, and would evict what was just read
        // ahead: they get the reach that every read-ahead has, a part of the window.
        let reach = match options.policy {
            PolicyKind::Forecast => plan.dense().len() as u64,
            _ => (frames / 2).min(2 * pager.depth()) as u64,
        };
        let pass_end = plan.end_of(Pass::Full);
        Ok(Scheduler {
            ready: Vec::with_capacity(frames.min(pages)),
            arrived: Vec::with_capacity(frames),
            choosing: Choosing::new(&plan),
            ahead: Ahead::new(&plan, options),
            counts: PassCounts::new(&plan),
            pager,
            plan,
            policy,
            prefetch: options.prefetch,
            pass: 0,
            pass_end,
            step: StepId(0),
            due: vec![0; pages],
            taken: vec![false; pages],
            unfinished: 0,
            demand_at: 0,
            hint_at: 0,
            reach,
        })
    }

    /// The pager, for its statistics and state.
    pub fn pager(&self) -> &Pager<S, C> {
        &self.pager
    }

    /// The pager, for reads beside the plan and to reset its statistics.
    pub fn pager_mut(&mut self) -> &mut Pager<S, C> {
        &mut self.pager
    }

    /// The plan that is run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Says of how many tokens the next pass is, and how many are in the context: for the clock and the journal.
    pub fn announce(&mut self, tokens: u32, position: u32) {
        self.pager.clock().spend(Work::Pass { tokens, position });
        self.pager.note(Event::Pass { tokens, position });
    }

    /// Says that leased pages were multiplied with the activations of `tokens` tokens: before they are given back, and before
    /// anything else is asked for.
    pub fn worked(&self, pages: impl Iterator<Item = PageId>, tokens: usize) {
        let tokens = tokens as u32;
        pages.for_each(|page| self.pager.clock().spend(Work::Page { page, tokens }));
    }

    /// Begins the next pass.
    pub fn begin_pass(&mut self, pass: Pass) {
        self.give_up_experts();
        self.give_up_step();
        self.step = StepId(0);
        self.pass += 1;
        self.counts.begin_pass();
        self.pass_end = self.plan.end_of(pass);
        // Hints may have come to a tail that this pass leaves out: it is not needed before the next.
        if self.hint_at >= self.position(self.pass_end) {
            self.hint_at = self.hint_at.max(self.position_after(self.pass_end));
        }
    }

    /// Begins a step: leases those of its pages that are resident, so that nothing evicts them before they are used.
    ///
    /// # Panics
    /// When the step is a choice and its experts are not chosen.
    pub fn begin_step(&mut self, step: StepId) {
        self.pager.clock().spend(Work::Step(step.0));
        self.pager.note(Event::Step(step.0));
        self.give_up_experts_before(step);
        self.give_up_step();
        self.note_arrivals(); // Before any lease, so that no page is leased twice.
        self.step = step;
        let Step { pages, need, dense } = self.plan.steps()[step.0 as usize].clone();
        self.hint_at = self.hint_at.max(self.position_after(dense.end));
        match need {
            Need::All => {
                self.unfinished = pages.len() as u32;
                self.demand_at = pages.start;
                self.taken[pages.start as usize..pages.end as usize].fill(false);
                for page in pages {
                    self.take_if_resident(PageId(page));
                }
            }
            Need::Choice(_) => self.begin_choice(step),
        }
    }

    /// The next pages to compute: at least one, and at most `most` and [`MOST_AT_ONCE`], moved into `batch`, which must be empty.
    /// Waits for the flash only when nothing is ready. `false` when the step is complete.
    ///
    /// # Errors
    /// When a read has failed or the window cannot hold another page.
    ///
    /// # Panics
    /// When the last batch was not given back.
    pub fn next_batch(&mut self, most: usize, batch: &mut Vec<Lease>) -> Result<bool, SchedulerError> {
        assert!(batch.is_empty(), "give the last batch back before asking for the next");
        loop {
            self.take_in()?;
            self.pump();
            if !self.ready.is_empty() {
                let keep = self.ready.len().saturating_sub(most.clamp(1, self.at_once()));
                batch.extend(self.ready.drain(keep..));
                return Ok(true);
            }
            if self.unfinished == 0 {
                return Ok(false);
            }
            if self.pager.in_flight() == 0 {
                return Err(self.too_small());
            }
            let waited = self.pager.wait();
            self.unless_stale(waited)?;
        }
    }

    /// Gives a computed batch back and empties it.
    pub fn finish_batch(&mut self, batch: &mut Vec<Lease>) {
        for lease in batch.drain(..) {
            let page = lease.page();
            drop(lease);
            self.policy.touch(page, self.position_in_step(page.0), Use::Done);
            self.unfinished -= 1;
        }
    }

    /// Whether the flash has anything to do: with everything resident there is no need to come back and poll.
    pub fn streaming(&self) -> bool {
        self.pager.frames() < self.pager.page_count() || self.pager.in_flight() > 0
    }

    /// How many pages are best handed out together.
    fn at_once(&self) -> usize {
        if !self.streaming() {
            MOST_AT_ONCE
        } else if self.pager.in_flight() < self.pager.depth() {
            AT_ONCE_STREAMING
        } else {
            AT_ONCE_QUEUE_FULL
        }
    }

    /// Drops what an abandoned step still holds (a read failed in its middle, or the caller stopped early). Nothing is demanded
    /// between two steps: a fault that nobody was told of is of something that was given up, maybe by an earlier pass.
    fn give_up_step(&mut self) {
        self.ready.clear();
        self.unfinished = 0;
        self.pager.forget_faults();
    }

    /// Takes in what has ended.
    fn take_in(&mut self) -> Result<(), SchedulerError> {
        let polled = self.pager.poll();
        self.unless_stale(polled)?;
        self.note_arrivals();
        Ok(())
    }

    /// An error of a read, unless the page was demanded by a step that was given up: who needs it will ask for it again.
    fn unless_stale(&self, result: Result<usize, forebay_pager::Error>) -> Result<(), SchedulerError> {
        match result {
            Ok(_) => Ok(()),
            Err(forebay_pager::Error::Read { page, .. }) if !self.wants(page) => Ok(()),
            Err(error) => Err(self.name_expert(error)),
        }
    }

    /// Whether the current step waits for `page`.
    fn wants(&self, page: PageId) -> bool {
        let Step { pages, need, .. } = self.current();
        match need {
            Need::All => self.unfinished > 0 && pages.contains(&page.0) && !self.taken[page.index()],
            Need::Choice(choice) => choice.expert_of(page).is_some() && self.choosing.holds(page),
        }
    }

    fn too_small(&self) -> SchedulerError {
        SchedulerError::WindowTooSmall { frames: self.pager.frames(), least: least(&self.plan) }
    }

    fn current(&self) -> &Step {
        &self.plan.steps()[self.step.0 as usize]
    }

    /// The position of dense page number `dense` of the current pass.
    fn position(&self, dense: u32) -> Position {
        self.pass * self.plan.dense().len() as u64 + u64::from(dense)
    }

    /// The position of a dense page of the current step.
    fn position_in_step(&self, page: u32) -> Position {
        let Step { pages, dense, .. } = self.current();
        self.position(dense.start + page - pages.start)
    }

    /// The position behind the first `dense` dense pages of the current pass, which may leave out the tail.
    fn position_after(&self, dense: u32) -> Position {
        if dense == self.pass_end { (self.pass + 1) * self.plan.dense().len() as u64 } else { self.position(dense) }
    }

    fn take_if_resident(&mut self, page: PageId) {
        if let Some(lease) = self.pager.lease(page) {
            self.taken[page.index()] = true;
            self.ready.push(lease);
        }
    }

    /// Tells the policy of the pages that have arrived, and takes those that the current step waits for.
    fn note_arrivals(&mut self) {
        let need = self.current().need;
        let mut arrived = std::mem::take(&mut self.arrived);
        self.pager.drain_arrived(|page| arrived.push(page));
        for page in arrived.drain(..) {
            self.policy.touch(page, self.due[page.index()], Use::Arrived);
            match need {
                Need::All if self.wants(page) => self.take_if_resident(page),
                Need::All => {}
                Need::Choice(_) => self.note_expert_page(page),
            }
        }
        self.arrived = arrived;
    }
}

/// Ours: what is learnt from the routing says who stays, and what is read ahead.
fn forecast_of_experts(plan: &Plan, lookahead: Lookahead) -> Box<dyn ExpertPolicy + Send> {
    let grid = plan.expert_grid();
    let used = plan.choices().iter().map(|(_, choice)| choice.chosen as usize).max().unwrap_or(0);
    let learned = Learned::new(grid, used);
    match lookahead {
        Lookahead::Off => Box::new(ExpertForecast::new(grid, learned)),
        Lookahead::Learnt | Lookahead::Router => Box::new(ExpertForecast::with_live_lookahead(grid, learned)),
    }
}
