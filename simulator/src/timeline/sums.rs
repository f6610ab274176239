//! What a part of a run cost, step by step and pass by pass.

use forebay_pager::{Entry, Event, Nanos};
use serde::Serialize;

use super::fates::{Fates, Hints, Uses};
use super::passes::{PassSpan, Span, around};
use super::{Timeline, page_of};

/// A pass of some tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PassSums {
    /// Tokens that went through together.
    pub tokens: u32,
    /// Nanoseconds that it took, up to the next.
    pub nanos: u64,
    /// Of these, the ones that compute waited.
    pub stall_nanos: u64,
    /// Bytes that came meanwhile.
    pub bytes: u64,
}

/// What was spent in a step, over all passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) time: Nanos,
    pub(super) stall: Nanos,
    pub(super) uses: Uses,
}

impl Spent {
    pub(super) fn add(&mut self, other: &Spent) {
        self.time += other.time;
        self.stall += other.stall;
        self.uses.add(other.uses);
    }
}

/// Everything that is summed up over some passes that follow one another.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    pub(super) span: Span,
    /// For each step; behind them what came between the begins of passes and those of their first steps: the embedding.
    pub(super) steps: Vec<Spent>,
    pub(super) passes: Vec<PassSums>,
    /// While at least one read was in flight.
    pub(super) busy: Nanos,
    pub(super) hints: Hints,
    /// Bytes and nanoseconds of each read that ended well.
    pub(super) sizes: Vec<u64>,
    pub(super) latencies: Vec<u64>,
}

impl Sums {
    pub(super) fn stall(&self) -> Nanos {
        self.steps.iter().fold(Nanos::ZERO, |sum, step| sum + step.stall)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.sizes.iter().sum()
    }

    pub(super) fn tokens(&self) -> u64 {
        self.passes.iter().map(|pass| u64::from(pass.tokens)).sum()
    }

    pub(super) fn uses(&self) -> Uses {
        self.steps.iter().fold(Uses::default(), |mut all, step| {
            all.add(step.uses);
            all
        })
    }
}

/// Sums up `passes`; `None` when there are none.
pub(super) fn sums(timeline: &Timeline<'_>, passes: &[PassSpan]) -> Option<Sums> {
    let span = around(passes)?;
    let mut fold = Fold {
        fates: Fates::new(timeline),
        slot: timeline.steps.len(),
        since: span.from,
        busy_since: None,
        pass: 0,
        spans: passes,
        before: Hints::default(),
        sums: Sums {
            span,
            steps: vec![Spent::default(); timeline.steps.len() + 1],
            passes: passes.iter().map(|pass| PassSums::of_nothing(*pass)).collect(),
            busy: Nanos::ZERO,
            hints: Hints::default(),
            sizes: Vec::new(),
            latencies: Vec::new(),
        },
    };
    for &entry in timeline.events.iter().take_while(|entry| entry.at <= span.to) {
        fold.take(timeline, entry);
    }
    Some(fold.finish())
}

impl PassSums {
    fn of_nothing(pass: PassSpan) -> PassSums {
        PassSums { tokens: pass.tokens, nanos: pass.span.length().0, stall_nanos: 0, bytes: 0 }
    }
}

struct Fold<'a> {
    fates: Fates<'a>,
    /// The step that compute is in, and since when.
    slot: usize,
    since: Nanos,
    busy_since: Option<Nanos>,
    /// The pass that compute is in.
    pass: usize,
    spans: &'a [PassSpan],
    /// The hints of what came before.
    before: Hints,
    sums: Sums,
}

impl Fold<'_> {
    fn take(&mut self, timeline: &Timeline<'_>, Entry { at, event }: Entry) {
        let span = self.sums.span;
        let len = page_of(event).map_or(0, |page| timeline.read_len(page));
        let used = self.fates.take(event, len);
        if at < span.from {
            self.before = self.fates.hints;
        }
        let inside = span.has(at);
        match event {
            Event::Pass { .. } => {
                self.turn_to(timeline.steps.len(), at);
                self.pass = self.spans.partition_point(|pass| pass.span.from <= at).saturating_sub(1);
            }
            Event::Step(step) => self.turn_to(step as usize, at),
            Event::Stalled { since } => {
                let stall = span.clip(since, at);
                self.sums.steps[self.slot].stall += stall;
                self.sums.passes[self.pass].stall_nanos += stall.0;
            }
            Event::Arrived { since, .. } if inside => {
                self.sums.sizes.push(len);
                self.sums.latencies.push((at - since).0);
                self.sums.passes[self.pass].bytes += len;
            }
            Event::Leased(_) if inside => {
                if let (Some(used), Some(step)) = (used, self.fates.step()) {
                    self.sums.steps[step].uses.count(used);
                }
            }
            _ => {}
        }
        self.note_busy(at);
    }

    /// Compute goes on to another step, or to the begin of a pass.
    fn turn_to(&mut self, slot: usize, at: Nanos) {
        self.sums.steps[self.slot].time += self.sums.span.clip(self.since, at);
        (self.slot, self.since) = (slot, at);
    }

    fn note_busy(&mut self, at: Nanos) {
        match (self.busy_since, self.fates.reads_in_flight) {
            (None, 1..) => self.busy_since = Some(at),
            (Some(since), 0) => {
                self.sums.busy += self.sums.span.clip(since, at);
                self.busy_since = None;
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Sums {
        let Span { to, .. } = self.sums.span;
        self.turn_to(self.slot, to);
        if let Some(since) = self.busy_since {
            self.sums.busy += self.sums.span.clip(since, to);
        }
        let (now, before) = (self.fates.hints, self.before);
        self.sums.hints = Hints {
            read: now.read - before.read,
            used: now.used - before.used,
            late: now.late - before.late,
            wasted: now.wasted - before.wasted,
        };
        self.sums
    }
}
