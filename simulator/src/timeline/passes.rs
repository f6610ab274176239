//! When passes began and ended, and what of a run is looked at.

use forebay_pager::{Event, Nanos};

use super::Timeline;

/// A part of a run, in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Nanos,
    pub(super) to: Nanos,
}

impl Span {
    pub(super) fn length(self) -> Nanos {
        self.to - self.from
    }

    /// What an interval has in common with this one.
    pub(super) fn clip(self, from: Nanos, to: Nanos) -> Nanos {
        to.min(self.to) - from.max(self.from)
    }

    /// Whether something that ends at `time` ends in it.
    pub(super) fn has(self, time: Nanos) -> bool {
        self.from <= time && time <= self.to
    }
}

/// A pass through the model, up to the begin of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PassSpan {
    pub(super) span: Span,
    pub(super) tokens: u32,
    pub(super) position: u32,
}

/// The passes of a run that the events cover in full.
pub(super) fn passes(timeline: &Timeline<'_>) -> Vec<PassSpan> {
    let covered = timeline.covered();
    let mut passes: Vec<PassSpan> = Vec::new();
    for entry in timeline.events.iter() {
        if let Event::Pass { tokens, position } = entry.event {
            if let Some(last) = passes.last_mut() {
                last.span.to = entry.at;
            }
            passes.push(PassSpan { span: Span { from: entry.at, to: covered }, tokens, position });
        }
    }
    // The one that the end of the events cuts off.
    if timeline.lost > 0 && passes.len() > 1 {
        passes.pop();
    }
    passes
}

/// Those of the prompt, and those behind it.
pub(super) fn split<'a>(timeline: &Timeline<'_>, passes: &'a [PassSpan]) -> (&'a [PassSpan], &'a [PassSpan]) {
    let decodes = |pass: &PassSpan| pass.position >= timeline.facts.prompt_tokens;
    passes.split_at(passes.iter().position(decodes).unwrap_or(passes.len()))
}

/// From the first of some passes to the end of the last.
pub(super) fn around(passes: &[PassSpan]) -> Option<Span> {
    Some(Span { from: passes.first()?.span.from, to: passes.last()?.span.to })
}
