//! The properties of decisions, checked against the journal as it grows.
//!
//! What happens to pages is followed from the journal alone, beside the pager's own table. What the step at hand needs is told by
//! whoever drives. The properties:
//!
//! * a page is read when it is absent, arrives or fails when it is on its way, is leased and leaves when it is there; never is a
//!   page read that is in the window, and never is one leased twice for a step;
//! * there are never more pages in frames, or on their way to one, than the window has frames; a page leaves only when none is free,
//!   one for each read, and only for a read that is started at once;
//! * **demand before hints**: no hint is started while a page that the step needs is neither there nor on its way; no expert that
//!   nobody has chosen is read while a page of a chosen one has not been asked for;
//! * **do no harm**: what the step needs, or a chosen expert, does not leave for a hint; for a demand a chosen expert does, and only
//!   when compute has nothing and nothing is on its way. With the forecast no dense page leaves for one that is used later,
//!   but for such a demand.

use forebay_pager::{Class, Entry, Event, Nanos, PageId};
use forebay_prefetch::{Pass, Plan, PolicyKind, Scheduler, StepId};

use super::Violation;

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        match $holds {
            true => {}
            false => return Err($crate::swarm::Violation(format!($($why)+)).into()),
        }
    };
}
pub(super) use ensure;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Absent,
    Loading(Nanos),
    Resident,
}

/// What a page is to the present step.
#[derive(Debug, Clone, Copy, Default)]
struct Page {
    /// It needs it and has not given it back.
    wanted: bool,
    /// It has it.
    held: bool,
    /// It is one of an expert that is chosen and not computed.
    chosen: bool,
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Audit {
    plan: Plan,
    policy: PolicyKind,
    frames: usize,
    place: Vec<Place>,
    taken: usize,
    loading: usize,
    pages: Vec<Page>,
    held: usize,
    /// For each dense page, its number among them.
    dense: Vec<Option<u32>>,
    /// Passes begun.
    pass: u64,
    pass_end: u32,
    step: Option<StepId>,
    chosen_for: Option<StepId>,
    /// Entries that were looked at.
    seen: usize,
    now: Nanos,
    /// A page that has left, and the read that it left for is not seen yet.
    left: Option<PageId>,
    /// Reads that failed in this pass.
    failed: usize,
    /// Pages of chosen experts that had to leave in this pass.
    pub(super) sacrificed: usize,
}

impl Audit {
    pub(super) fn new(plan: Plan, policy: PolicyKind, frames: usize) -> Self {
        let pages = plan.page_count() as usize;
        let mut dense = vec![None; pages];
        plan.dense().iter().zip(0..).for_each(|(&page, number)| dense[page as usize] = Some(number));
        Audit {
            policy,
            frames,
            place: vec![Place::Absent; pages],
            taken: 0,
            loading: 0,
            pages: vec![Page::default(); pages],
            held: 0,
            dense,
            pass: 0,
            pass_end: 0,
            step: None,
            chosen_for: None,
            seen: 0,
            now: Nanos::ZERO,
            left: None,
            failed: 0,
            sacrificed: 0,
            plan,
        }
    }

    /// A pass begins: what was needed before is not any more.
    pub(super) fn begin_pass(&mut self, pass: Pass) {
        self.pages.fill(Page::default());
        self.held = 0;
        self.pass += 1;
        self.pass_end = self.plan.end_of(pass);
        (self.step, self.chosen_for) = (None, None);
        (self.failed, self.sacrificed) = (0, 0);
    }

    /// Experts were chosen for `step`; these are their pages.
    pub(super) fn choose(&mut self, step: StepId, pages: impl Iterator<Item = PageId>) {
        self.chosen_for = Some(step);
        pages.for_each(|page| self.pages[page.index()].chosen = true);
    }

    /// A step begins.
    pub(super) fn begin_step(&mut self, step: StepId) {
        self.step = Some(step);
        let choice = self.chosen_for == Some(step);
        for page in self.plan.pages(step) {
            let page = &mut self.pages[page.index()];
            page.wanted = !choice || page.chosen;
        }
    }

    /// The step has done with a page.
    pub(super) fn finish(&mut self, page: PageId) -> Result<(), Violation> {
        let of = std::mem::take(&mut self.pages[page.index()]);
        ensure!(of.wanted && of.held, "{page} is given back, and the step did not have it");
        self.held -= 1;
        Ok(())
    }

    /// Whether the step still needs a page.
    pub(super) fn wants(&self, page: PageId) -> bool {
        self.pages[page.index()].wanted
    }

    /// What the step still needs.
    pub(super) fn wanted(&self) -> Option<PageId> {
        let pages = self.step.map(|step| self.plan.pages(step))?;
        pages.into_iter().find(|page| self.pages[page.index()].wanted)
    }

    /// Takes in what the journal has more.
    pub(super) fn follow(&mut self, entries: &[Entry]) -> Result<(), Violation> {
        for entry in &entries[self.seen..] {
            ensure!(entry.at >= self.now, "{entry:?} is before {}", self.now);
            self.now = entry.at;
            if let Some(left) = self.left {
                let for_it = matches!(entry.event, Event::Read { .. });
                ensure!(for_it, "{left} has left, and then came {entry:?} and no read");
            }
            self.event(entry.event)?;
        }
        self.seen = entries.len();
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Pass { .. } | Event::Step(_) => {}
            Event::Read { page, class } => self.read(page, class)?,
            Event::Arrived { page, since } => self.ended(page, since, Place::Resident)?,
            Event::Failed { page, since } => {
                self.ended(page, since, Place::Absent)?;
                self.failed += 1;
                self.taken -= 1;
            }
            Event::Leased(page) => self.lease(page)?,
            Event::Evicted { page, .. } => self.evict(page)?,
            Event::Stalled { since } => ensure!(since <= self.now, "a stall since {since}, at {}", self.now),
        }
        Ok(())
    }

    fn read(&mut self, page: PageId, class: Class) -> Result<(), Violation> {
        let place = self.place[page.index()];
        ensure!(place == Place::Absent, "{page} is read while it is {place:?}");
        if class == Class::Hint {
            let missing = self.missing(|of| of.wanted);
            ensure!(missing.is_none(), "{page} is read ahead before {missing:?}, which step {:?} needs", self.step);
            if self.nobodys(page) && self.failed == 0 {
                let missing = self.missing(|of| of.chosen);
                ensure!(missing.is_none(), "{page} is read, which nobody has chosen, before {missing:?}, which is");
            }
        }
        if let Some(left) = self.left.take() {
            self.judge_eviction(left, page, class)?;
        }
        self.place[page.index()] = Place::Loading(self.now);
        self.loading += 1;
        self.taken += 1;
        ensure!(self.taken <= self.frames, "{} pages are in {} frames", self.taken, self.frames);
        Ok(())
    }

    fn ended(&mut self, page: PageId, since: Nanos, place: Place) -> Result<(), Violation> {
        let before = std::mem::replace(&mut self.place[page.index()], place);
        ensure!(before == Place::Loading(since), "a read of {page} since {since} has ended, which was {before:?}");
        self.loading -= 1;
        Ok(())
    }

    fn lease(&mut self, page: PageId) -> Result<(), Violation> {
        let place = self.place[page.index()];
        ensure!(place == Place::Resident, "{page} is leased while it is {place:?}");
        let of = &mut self.pages[page.index()];
        if of.wanted {
            ensure!(!of.held, "{page} is leased twice for one step");
            of.held = true;
            self.held += 1;
        }
        Ok(())
    }

    fn evict(&mut self, page: PageId) -> Result<(), Violation> {
        let place = std::mem::replace(&mut self.place[page.index()], Place::Absent);
        ensure!(place == Place::Resident, "{page} leaves while it is {place:?}");
        ensure!(!self.pages[page.index()].held, "{page} leaves while it is leased");
        ensure!(
            self.taken == self.frames,
            "{page} leaves while {} of {} frames are free",
            self.frames - self.taken,
            self.frames
        );
        self.taken -= 1;
        self.left = Some(page);
        Ok(())
    }

    /// `left` has made room for `page`.
    fn judge_eviction(&mut self, left: PageId, page: PageId, class: Class) -> Result<(), Violation> {
        let of = self.pages[left.index()];
        // Nothing is ready, as that would be leased, and nothing will be.
        let stuck = class == Class::Demand && self.loading == 0 && self.held == 0;
        if of.chosen {
            ensure!(stuck, "{left} leaves for {page} ({class:?}), and an expert that is chosen needs it");
            self.sacrificed += 1;
            return Ok(());
        }
        ensure!(!of.wanted, "{left} leaves for {page} ({class:?}), and step {:?} needs it", self.step);
        if self.policy == PolicyKind::Forecast && self.dense[left.index()].is_some() && !stuck {
            let (first, then) = (self.next_use(page), self.next_use(left));
            ensure!(
                first < then,
                "{left} leaves for {page} ({class:?}), which is used at {first:?}, and it itself at {then:?}"
            );
        }
        Ok(())
    }

    /// When a page is used next: a position, at which experts come before the dense page; of experts that are not chosen, at the
    /// earliest.
    fn next_use(&self, page: PageId) -> (u64, bool) {
        let (this, next) = (self.pass * self.cycle(), (self.pass + 1) * self.cycle());
        let done = self.step.map_or(0, |step| self.plan.steps()[step.0 as usize].dense.end);
        if let Some(number) = self.dense[page.index()] {
            let to_come = (done..self.pass_end).contains(&number) || self.pages[page.index()].wanted;
            return (u64::from(number) + if to_come { this } else { next }, true);
        }
        let (step, _, _) = self.plan.expert_of(page).expect("what is not dense is an expert's");
        let at = u64::from(self.plan.steps()[step.0 as usize].dense.end);
        let open = self.chosen_for != Some(step) && self.step.is_none_or(|now| step > now);
        let to_come = open || self.pages[page.index()].chosen;
        (at + if to_come { this } else { next }, false)
    }

    fn cycle(&self) -> u64 {
        self.plan.dense().len() as u64
    }

    /// Whether `page` is one of an expert that nobody has chosen.
    fn nobodys(&self, page: PageId) -> bool {
        self.dense[page.index()].is_none() && !self.pages[page.index()].chosen
    }

    /// A page that is neither there nor on its way.
    fn missing(&self, which: impl Fn(&Page) -> bool) -> Option<PageId> {
        let missing = |(page, place): (&Page, &Place)| which(page) && *place == Place::Absent;
        self.pages.iter().zip(&self.place).position(missing).map(|page| PageId(page as u32))
    }

    /// Compares what was followed with the pager.
    pub(super) fn compare<S: forebay_pager::Storage, C: forebay_pager::Clock>(
        &self,
        scheduler: &Scheduler<S, C>,
    ) -> Result<(), Violation> {
        let pager = scheduler.pager();
        pager.validate();
        let free = self.frames - self.taken;
        ensure!(pager.free_frames() == free, "{free} frames should be free, and {} are", pager.free_frames());
        for page in pager.resident() {
            let place = self.place[page.index()];
            ensure!(place == Place::Resident, "{page} is in the window, and should be {place:?}");
        }
        let resident = self.place.iter().filter(|place| **place == Place::Resident).count();
        ensure!(pager.resident().count() == resident, "{resident} pages should be in the window");
        Ok(())
    }
}
