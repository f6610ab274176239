//! Drives a pager along the plan: demand first, then hints; hits are handed out before misses.
//!
//! One owner, no locks. Compute asks for the pages of a step in batches and gives them back; between batches the
//! scheduler polls completions and keeps the queue of the flash full.
//!
//! ```text
//! begin_pass            the next token, or the next part of a prompt
//!   begin_step          pages of the step that are resident are leased at once
//!     next_batch        demand what is missing, hint what comes later, hand out what is ready (or wait)
//!     finish_batch      give the pages back: from here on they may be evicted
//! ```

use forebay_pager::{Class, Clock, Lease, Load, PageId, PageState, Pager, Storage};

use crate::layout::Layout;
use crate::plan::{Pass, Plan, StepId};
use crate::policy::{AnyPolicy, ClockSweep, Forecast, Lfu, Lru, Policy, PolicyKind, Position, Use};
use crate::residency::keep_set;

/// How the scheduler decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerOptions {
    /// Who leaves when a frame is wanted.
    pub policy: PolicyKind,
    /// Whether pages of later steps are read ahead. Off is a baseline: every miss is then waited for.
    pub prefetch: bool,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        SchedulerOptions { policy: PolicyKind::default(), prefetch: true }
    }
}

/// Why a run along the plan cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// A read failed.
    #[error(transparent)]
    Pager(#[from] forebay_pager::Error),
    /// The window is too small to hold even one page beside those that compute holds.
    #[error("the window of {frames} frames is too small: at least {least} are needed")]
    WindowTooSmall {
        /// Frames there are.
        frames: usize,
        /// Frames that a run needs.
        least: usize,
    },
}

/// The fewest frames that a run can work with: one under compute, one being read, and one to choose.
pub const LEAST_FRAMES: usize = 3;

/// See the [module documentation](self).
#[derive(Debug)]
pub struct Scheduler<S: Storage, C: Clock> {
    pager: Pager<S, C>,
    plan: Plan,
    policy: AnyPolicy,
    prefetch: bool,
    /// Passes begun before the current one.
    pass: u64,
    /// The current pass ends before this page.
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
    /// Next page to be looked at for a hint; never before the current step.
    hint_at: Position,
    /// Distance, in pages, that hints may run ahead of compute.
    reach: u64,
}

impl<S: Storage, C: Clock> Scheduler<S, C> {
    /// Runs `plan`, whose pages are those of `layout`, through the window of `pager`.
    ///
    /// # Errors
    /// When the window has fewer than [`LEAST_FRAMES`] frames.
    ///
    /// # Panics
    /// When pager, plan and layout differ in the number of pages.
    pub fn new(
        pager: Pager<S, C>,
        plan: Plan,
        layout: &Layout,
        options: SchedulerOptions,
    ) -> Result<Self, SchedulerError> {
        let pages = layout.page_count();
        assert!(pages == plan.page_count() as usize && pages == pager.page_count(), "one plan, one layout");
        let frames = pager.frames();
        if frames < LEAST_FRAMES.min(pages) {
            return Err(SchedulerError::WindowTooSmall { frames, least: LEAST_FRAMES });
        }
        let policy = match options.policy {
            PolicyKind::Forecast => {
                let lens: Vec<u32> = layout.specs.iter().map(|s| s.len).collect();
                let keep = if frames >= pages { pages } else { frames - ring(frames, pager.depth()) };
                AnyPolicy::Forecast(Forecast::cyclic(keep_set(&lens, layout.frame_len, keep)))
            }
            PolicyKind::Lru => AnyPolicy::Lru(Lru::new(frames)),
            PolicyKind::Lfu => AnyPolicy::Lfu(Lfu::new(pages)),
            PolicyKind::Clock => AnyPolicy::Clock(ClockSweep::new(pages)),
        };
        // The forecast knows by itself when a hint does harm. The others do not, and would evict what was just read
        // ahead: they get the reach that every read-ahead has, a part of the window.
        let reach = match options.policy {
            PolicyKind::Forecast => pages as u64,
            _ => (frames / 2).min(2 * pager.depth()) as u64,
        };
        let pass_end = plan.end_of(Pass::Full);
        Ok(Scheduler {
            ready: Vec::with_capacity(frames.min(pages)),
            arrived: Vec::with_capacity(frames),
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

    /// Begins the next pass.
    pub fn begin_pass(&mut self, pass: Pass) {
        self.give_up_step();
        self.pass += 1;
        self.pass_end = self.plan.end_of(pass);
    }

    /// Begins a step: leases those of its pages that are resident, so that nothing evicts them before they are used.
    pub fn begin_step(&mut self, step: StepId) {
        self.give_up_step();
        self.note_arrivals(); // Before any lease, so that no page is leased twice.
        self.step = step;
        let pages = self.plan.steps()[step.0 as usize].pages.clone();
        self.unfinished = pages.len() as u32;
        self.demand_at = pages.start;
        if !pages.is_empty() {
            self.hint_at = self.hint_at.max(self.after(self.position(pages.end - 1)));
        }
        self.taken[pages.start as usize..pages.end as usize].fill(false);
        for page in pages {
            self.take_if_resident(PageId(page));
        }
    }

    /// The next pages to compute: at least one and at most `most`, moved into `batch`, which must be empty.
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
            self.pager.poll()?;
            self.note_arrivals();
            self.pump();
            if !self.ready.is_empty() {
                let keep = self.ready.len().saturating_sub(most.max(1));
                batch.extend(self.ready.drain(keep..));
                return Ok(true);
            }
            if self.unfinished == 0 {
                return Ok(false);
            }
            if self.pager.in_flight() == 0 {
                return Err(SchedulerError::WindowTooSmall { frames: self.pager.frames(), least: LEAST_FRAMES });
            }
            self.pager.wait()?;
        }
    }

    /// Gives a computed batch back and empties it.
    pub fn finish_batch(&mut self, batch: &mut Vec<Lease>) {
        for lease in batch.drain(..) {
            let page = lease.page();
            drop(lease);
            self.policy.touch(page, self.position(page.0), Use::Done);
            self.unfinished -= 1;
        }
    }

    /// Whether the flash has anything to do: with everything resident there is no need to come back and poll.
    pub fn streaming(&self) -> bool {
        self.pager.frames() < self.pager.page_count() || self.pager.in_flight() > 0
    }

    /// Drops what an abandoned step still holds (a read failed in its middle, or the caller stopped early).
    fn give_up_step(&mut self) {
        self.ready.clear();
        if std::mem::take(&mut self.unfinished) > 0 {
            self.pager.forget_faults();
        }
    }

    fn position(&self, page: u32) -> Position {
        self.pass * u64::from(self.plan.page_count()) + u64::from(page)
    }

    fn take_if_resident(&mut self, page: PageId) {
        if let Some(lease) = self.pager.lease(page) {
            self.taken[page.index()] = true;
            self.ready.push(lease);
        }
    }

    /// Tells the policy of the pages that have arrived, and leases those that the current step waits for.
    fn note_arrivals(&mut self) {
        let step = self.plan.steps()[self.step.0 as usize].pages.clone();
        let mut arrived = std::mem::take(&mut self.arrived);
        self.pager.drain_arrived(|page| arrived.push(page));
        for page in arrived.drain(..) {
            let waited_for = self.unfinished > 0 && step.contains(&page.0) && !self.taken[page.index()];
            self.policy.touch(page, self.due[page.index()], Use::Arrived);
            if waited_for {
                self.take_if_resident(page);
            }
        }
        self.arrived = arrived;
    }

    /// Keeps the flash busy: the missing pages of this step first, then those of the steps to come.
    fn pump(&mut self) {
        let step_end = self.plan.steps()[self.step.0 as usize].pages.end;
        while self.unfinished > 0 && self.demand_at < step_end {
            let page = PageId(self.demand_at);
            if !self.taken[page.index()] && !self.fetch(page, self.position(page.0), Class::Demand) {
                return self.pager.flush();
            }
            self.demand_at += 1;
        }
        if self.prefetch && self.streaming_ahead() {
            let limit = self.position(step_end) + self.reach;
            while self.hint_at < limit {
                let page = (self.hint_at % u64::from(self.plan.page_count())) as u32;
                if !self.fetch(PageId(page), self.hint_at, Class::Hint) {
                    break;
                }
                self.hint_at = self.after(self.hint_at);
            }
        }
        self.pager.flush();
    }

    /// With every page resident there is nothing to read ahead.
    fn streaming_ahead(&self) -> bool {
        self.pager.frames() - self.pager.free_frames() < self.pager.page_count()
    }

    /// The position that follows in the order of use: the current pass may leave out the tail.
    fn after(&self, at: Position) -> Position {
        let next = at + 1;
        let pages = u64::from(self.plan.page_count());
        if next == self.position(self.pass_end) { (self.pass + 1) * pages } else { next }
    }

    /// Sees to it that `page` is resident or on its way. `false` when that has to wait: the queue is full, or no page
    /// may leave for it.
    fn fetch(&mut self, page: PageId, at: Position, class: Class) -> bool {
        loop {
            match self.pager.load(page, class) {
                Load::Started => {
                    self.due[page.index()] = at;
                    return true;
                }
                Load::Hit | Load::Joined => return true,
                Load::QueueFull => return false,
                Load::NoFrame => {
                    let pager = &self.pager;
                    let evictable = |p: PageId| pager.state(p) == PageState::Resident && !pager.is_leased(p);
                    // A demand may push out what is needed sooner only when compute has nothing else to go on with: else
                    // the pages that are ready will soon free frames whose loss does no harm.
                    let idle = self.ready.is_empty() && pager.in_flight() == 0;
                    let urgency = if idle { class } else { Class::Hint };
                    let Some(victim) = self.policy.victim(page, at, urgency, &evictable) else {
                        return false;
                    };
                    self.policy.forget(victim);
                    let evicted = self.pager.evict(victim);
                    debug_assert!(evicted, "the policy was given only pages that may leave");
                }
            }
        }
    }
}

/// Frames kept free of the resident set: a full queue, as much again waiting to be computed.
fn ring(frames: usize, depth: usize) -> usize {
    (2 * depth).max(LEAST_FRAMES).min(frames)
}
