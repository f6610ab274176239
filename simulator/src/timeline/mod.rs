//! One timeline for real and simulated runs: what the pager's journal says, with names, in one file.
//!
//! The file is a trace in the JSON form of Chrome's trace viewer, which Perfetto and others open, too: a lane for each read
//! that the flash has in hand, one for compute with its passes, steps and stalls, the pages that left, and counters. Beside
//! these it has the journal itself, so a [`Timeline`] is read back whole, and [`Figures`] and the [page] are made of the
//! file alone.
//!
//! Read in this order: `steps` (what the pages are for), `fates` (what becomes of each page, and what a use of it was worth),
//! `lanes` (which read is on which lane), [`write()`] and [`read()`] (the file), `passes`, `sums`, `resident` and `figures` (sums
//! over a timeline), [`page`] (a report for people).
//!
//! Rows of an embedding are read beside the table of pages and are in no journal: of them only the waiting is seen.

mod fates;
mod figures;
mod histogram;
mod lanes;
pub mod page;
mod passes;
mod read;
mod resident;
mod steps;
mod sums;
#[cfg(test)]
mod tests;
mod write;

use std::borrow::Cow;

use forebay_pager::{Clock, Entry, Event, Journal, Nanos, PageId, PageSpec, Storage};
use forebay_prefetch::{Layout, Scheduler, StepName};
use serde::{Deserialize, Serialize};

pub use fates::{Hints, Uses};
pub use figures::{Figures, Phase, PromptFigures, Rate, Share};
pub use histogram::{Bar, Distribution};
pub use read::{TimelineError, read};
pub use resident::{Residency, ResidencyRow};
pub use steps::{ExpertPages, Step, steps_of};
pub use sums::PassSums;
pub use write::write;

/// Whose time the events have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClockKind {
    /// The machine's.
    System,
    /// That of a simulation.
    Virtual,
}

impl ClockKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            ClockKind::System => "system",
            ClockKind::Virtual => "virtual",
        }
    }
}

/// What a run was of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The model's name.
    pub model: String,
    /// The flash: how it was read, or the device that was simulated.
    pub flash: String,
    /// Whose time it is.
    pub clock: ClockKind,
    /// The ceiling, in bytes.
    pub ceiling: u64,
    /// Frames of the window.
    pub frames: u64,
    /// Bytes of a frame.
    pub frame_len: u64,
    /// Reads in flight at most.
    pub depth: u32,
    /// Layers of the model.
    pub layers: u32,
    /// Tokens of the prompt: passes that begin behind them decode.
    pub prompt_tokens: u32,
}

/// The events of a run, and what they are about.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline<'a> {
    /// What was run.
    pub facts: Facts,
    /// The steps of the plan, in order.
    pub steps: Vec<Step>,
    /// Where each page lies.
    pub pages: Cow<'a, [PageSpec]>,
    /// What happened, in the order of time.
    pub events: Cow<'a, [Entry]>,
    /// Events at the end that there was no room for.
    pub lost: u64,
    /// When it began.
    pub begin: Nanos,
    /// When it was over.
    pub end: Nanos,
}

impl<'a> Timeline<'a> {
    /// What a journal says that `scheduler` has kept since `begin`, up to now. `names` are those of the steps of its plan.
    ///
    /// # Panics
    /// When there are not as many names as steps.
    pub fn of_run<S: Storage, C: Clock>(
        facts: Facts,
        scheduler: &Scheduler<S, C>,
        layout: &'a Layout,
        names: Vec<StepName>,
        journal: &'a Journal,
        begin: Nanos,
    ) -> Timeline<'a> {
        Timeline {
            facts,
            steps: steps_of(scheduler.plan(), names),
            pages: Cow::Borrowed(&layout.specs),
            events: Cow::Borrowed(journal.entries()),
            lost: journal.lost(),
            begin,
            end: scheduler.pager().clock().now(),
        }
    }
}

impl Timeline<'_> {
    /// That every number is that of something, and no time lies before an earlier event's.
    ///
    /// # Errors
    /// What is wrong, with the place.
    pub fn check(&self) -> Result<(), String> {
        steps::check(&self.steps, self.pages.len())?;
        let mut before = self.begin;
        for (i, &Entry { at, event }) in self.events.iter().enumerate() {
            let wrong = |what: String| Err(format!("event {} of {}: {what}", i + 1, self.events.len()));
            if at < before {
                return wrong(format!("it is at {} ns, after one at {} ns", at.0, before.0));
            }
            before = at;
            match event {
                Event::Step(step) if step as usize >= self.steps.len() => {
                    return wrong(format!("step {step} of {}", self.steps.len()));
                }
                Event::Pass { tokens: 0, .. } => return wrong("a pass of no tokens".into()),
                _ => {}
            }
            if let Some(PageId(page)) = page_of(event)
                && page as usize >= self.pages.len()
            {
                return wrong(format!("page {page} of {}", self.pages.len()));
            }
            if let Event::Arrived { since, .. } | Event::Failed { since, .. } | Event::Stalled { since } = event
                && since > at
            {
                return wrong(format!("it ends at {} ns, before it began at {} ns", at.0, since.0));
            }
        }
        if self.end < before { Err(format!("the end is at {} ns, before the last event", self.end.0)) } else { Ok(()) }
    }

    /// The time that the events cover in full: if some were lost, up to the last pass that began.
    fn covered(&self) -> Nanos {
        if self.lost == 0 {
            return self.end;
        }
        let mut passes = self.events.iter().rev().filter(|entry| matches!(entry.event, Event::Pass { .. }));
        match (passes.next(), passes.next()) {
            (Some(last), Some(_)) => last.at,
            _ => self.events.last().map_or(self.end, |entry| entry.at),
        }
    }

    /// Bytes that were asked of the flash for a page.
    fn read_len(&self, page: PageId) -> u64 {
        let spec = self.pages[page.index()];
        spec.span().map_or(u64::from(spec.len), |span| u64::from(span.len))
    }
}

fn page_of(event: Event) -> Option<PageId> {
    match event {
        Event::Read { page, .. }
        | Event::Arrived { page, .. }
        | Event::Failed { page, .. }
        | Event::Leased(page)
        | Event::Evicted { page, .. } => Some(page),
        Event::Pass { .. } | Event::Step(_) | Event::Stalled { .. } => None,
    }
}

/// Bytes that [`write()`] takes for a timeline of so many pages, besides the journal: to be paid from the ceiling.
pub fn writing_bytes(pages: usize) -> usize {
    fates::bytes(pages) + write::BUFFER + (64 << 10)
}
