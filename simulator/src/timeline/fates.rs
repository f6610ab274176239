//! What becomes of each page, and what each use of one was worth.

use forebay_pager::{Class, Event, PageId};
use forebay_prefetch::StepKind;
use serde::Serialize;

use super::Timeline;
use super::steps::{Step, step_of};

/// Where a page is, as far as the events tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Absent,
    Loading(Class),
    /// It came ahead of its step, and waits for its first use.
    Ahead,
    /// It was hinted and came when it was wanted already.
    Late,
    /// It was demanded, and waits for its first use.
    Demanded,
    /// It has been used since it came.
    Used,
}

/// How a page came to be there when its step used it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It was there since an earlier use.
    Kept,
    /// It was read ahead, and was there when its step began.
    Ahead,
    /// It was read ahead, and was wanted when it came.
    Late,
    /// It was read because it was missing.
    Demanded,
}

/// How pages came to be there when their steps used them: pages, counted each time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Uses {
    /// There since an earlier use.
    pub kept: u64,
    /// Read ahead, and there in time.
    pub ahead: u64,
    /// Read ahead, but when they came the step had begun, or, of experts, their router had spoken.
    pub late: u64,
    /// Read because they were missing.
    pub demanded: u64,
}

impl Uses {
    pub(super) fn count(&mut self, used: Use) {
        match used {
            Use::Kept => self.kept += 1,
            Use::Ahead => self.ahead += 1,
            Use::Late => self.late += 1,
            Use::Demanded => self.demanded += 1,
        }
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.kept + self.ahead + self.late + self.demanded
    }

    /// The share of pages that were there before they were wanted; 0 where nothing was used.
    pub fn hit_rate(&self) -> f64 {
        (self.kept + self.ahead) as f64 / self.all().max(1) as f64
    }

    pub(super) fn add(&mut self, other: Uses) {
        self.kept += other.kept;
        self.ahead += other.ahead;
        self.late += other.late;
        self.demanded += other.demanded;
    }
}

/// What became of reads ahead: pages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Hints {
    /// Reads that were started.
    pub read: u64,
    /// Pages that their step used.
    pub used: u64,
    /// Of these, the ones that came late, as in [`Uses`].
    pub late: u64,
    /// Pages that left, or whose read failed, before anyone used them.
    pub wasted: u64,
}

/// Follows the events of a timeline, in their order.
#[derive(Debug)]
pub(super) struct Fates<'a> {
    steps: &'a [Step],
    /// For each step, the one from whose begin on its pages are wanted.
    wanted_from: Vec<usize>,
    fates: Vec<Fate>,
    /// The step that compute is in; none between the begin of a pass and that of its first step.
    at: Option<usize>,
    pub(super) uses: Uses,
    pub(super) hints: Hints,
    pub(super) reads_in_flight: u64,
    pub(super) bytes_in_flight: u64,
    pub(super) resident: u64,
}

/// A step's own begin; that of the one behind the router, where pages are those of experts: a shared expert comes in between.
fn wanted_from(steps: &[Step], step: usize) -> usize {
    let router = steps[..step].iter().rposition(|other| other.name.kind == StepKind::Router);
    match (steps[step].experts, router) {
        (Some(_), Some(router)) if steps[router].name.layer == steps[step].name.layer => router + 1,
        _ => step,
    }
}

/// Bytes of the fates of so many pages.
pub(super) const fn bytes(pages: usize) -> usize {
    pages * size_of::<Fate>()
}

impl<'a> Fates<'a> {
    pub(super) fn new(timeline: &'a Timeline<'_>) -> Self {
        Fates {
            steps: &timeline.steps,
            wanted_from: (0..timeline.steps.len()).map(|step| wanted_from(&timeline.steps, step)).collect(),
            fates: vec![Fate::Absent; timeline.pages.len()],
            at: None,
            uses: Uses::default(),
            hints: Hints::default(),
            reads_in_flight: 0,
            bytes_in_flight: 0,
            resident: 0,
        }
    }

    /// The step that compute is in.
    pub(super) fn step(&self) -> Option<usize> {
        self.at
    }

    /// How much a page that is on its way was wanted when its read was started.
    pub(super) fn class(&self, page: PageId) -> Option<Class> {
        match self.fates[page.index()] {
            Fate::Loading(class) => Some(class),
            _ => None,
        }
    }

    /// Takes in the next event. `len` is what was read for its page. Tells of a use, if it was one.
    pub(super) fn take(&mut self, event: Event, len: u64) -> Option<Use> {
        match event {
            Event::Pass { .. } => self.at = None,
            Event::Step(step) => self.at = Some(step as usize),
            Event::Read { page, class } => {
                self.fates[page.index()] = Fate::Loading(class);
                self.hints.read += u64::from(class == Class::Hint);
                self.reads_in_flight += 1;
                self.bytes_in_flight += len;
            }
            Event::Arrived { page, .. } => {
                self.landed(page, len);
                self.fates[page.index()] = match self.fates[page.index()] {
                    Fate::Loading(Class::Hint) if self.is_wanted(page) => Fate::Late,
                    Fate::Loading(Class::Hint) => Fate::Ahead,
                    _ => Fate::Demanded,
                };
                self.resident += 1;
            }
            Event::Failed { page, .. } => {
                self.landed(page, len);
                self.hints.wasted += u64::from(self.fates[page.index()] == Fate::Loading(Class::Hint));
                self.fates[page.index()] = Fate::Absent;
            }
            Event::Leased(page) => return self.leased(page),
            Event::Evicted { page, wasted } => {
                self.hints.wasted += u64::from(wasted);
                self.fates[page.index()] = Fate::Absent;
                self.resident = self.resident.saturating_sub(1);
            }
            Event::Stalled { .. } => {}
        }
        None
    }

    fn is_wanted(&self, page: PageId) -> bool {
        let step = step_of(self.steps, page);
        self.at.is_some_and(|at| (self.wanted_from[step]..=step).contains(&at))
    }

    /// A read that was started before the first event is not counted as in flight.
    fn landed(&mut self, page: PageId, len: u64) {
        if matches!(self.fates[page.index()], Fate::Loading(_)) {
            self.reads_in_flight -= 1;
            self.bytes_in_flight -= len;
        }
    }

    /// A lease outside of the page's step is a look at it (a row of a tied embedding, a router asked early), and no use.
    fn leased(&mut self, page: PageId) -> Option<Use> {
        if self.at != Some(step_of(self.steps, page)) {
            return None;
        }
        let used = match std::mem::replace(&mut self.fates[page.index()], Fate::Used) {
            Fate::Ahead => Use::Ahead,
            Fate::Late => Use::Late,
            Fate::Demanded => Use::Demanded,
            // It was there before the first event.
            Fate::Absent | Fate::Loading(_) | Fate::Used => Use::Kept,
        };
        self.uses.count(used);
        self.hints.used += u64::from(matches!(used, Use::Ahead | Use::Late));
        self.hints.late += u64::from(used == Use::Late);
        Some(used)
    }
}

#[cfg(test)]
mod tests {
    use forebay_prefetch::{Plan, StepName, StepShape};

    use super::*;
    use crate::timeline::steps_of;

    #[test]
    fn experts_are_wanted_from_their_router_on() {
        let kinds = [StepKind::Attention, StepKind::Router, StepKind::Shared, StepKind::Experts, StepKind::Head];
        let name = |kind| StepName { layer: Some(0), kind, part: "".into() };
        let shape = |kind| match kind {
            StepKind::Experts => StepShape::Choice { experts: 2, pages_per_expert: 1, chosen: 1 },
            _ => StepShape::All { pages: 1 },
        };
        let steps = steps_of(&Plan::new(kinds.map(shape), 1), kinds.map(name).to_vec());
        let from: Vec<usize> = (0..5).map(|step| wanted_from(&steps, step)).collect();
        assert_eq!(from, [0, 1, 2, 2, 4]);
    }
}
