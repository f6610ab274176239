//! The pager's bookkeeping of time: when reads start and end, how long flash was busy, how long compute waited.

use crate::clock::{Clock, Nanos};
use crate::ids::PageSpec;
use crate::journal::{Event, Journal};
use crate::pager::Class;
use crate::stats::Stats;

#[derive(Debug)]
pub(crate) struct Meter<C: Clock> {
    clock: C,
    pub(crate) stats: Stats,
    in_flight: usize,
    /// When `busy` was last brought up to date; only meaningful while something is in flight.
    seen: Nanos,
    /// Where one is asked for.
    pub(crate) journal: Option<Journal>,
}

impl<C: Clock> Meter<C> {
    pub(crate) fn new(clock: C) -> Meter<C> {
        Meter { clock, stats: Stats::default(), in_flight: 0, seen: Nanos::ZERO, journal: None }
    }

    pub(crate) fn clock(&self) -> &C {
        &self.clock
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(crate) fn take(&mut self) -> Stats {
        self.observe();
        std::mem::take(&mut self.stats)
    }

    /// Reads the clock and brings the busy time up to date.
    pub(crate) fn observe(&mut self) -> Nanos {
        let now = self.clock.now();
        if self.in_flight > 0 {
            self.stats.busy += now - self.seen;
        }
        self.seen = now;
        now
    }

    /// A read starts now.
    pub(crate) fn started(&mut self) -> Nanos {
        let now = self.observe();
        self.in_flight += 1;
        self.stats.peak_in_flight = self.stats.peak_in_flight.max(self.in_flight);
        now
    }

    pub(crate) fn page_read(&mut self, class: Class, again: bool) {
        match class {
            Class::Demand => self.stats.demands += 1,
            Class::Hint => self.stats.hints += 1,
        }
        self.stats.rereads += u64::from(again);
    }

    /// A read has ended well; `now` comes from [`Meter::observe`].
    pub(crate) fn ended(&mut self, spec: PageSpec, since: Nanos, now: Nanos) {
        self.in_flight -= 1;
        self.stats.reads += 1;
        self.stats.bytes_read += read_len(spec);
        self.stats.bytes_useful += u64::from(spec.len);
        self.stats.latency.record(now - since);
    }

    /// A page that was hinted leaves, and nobody has used it.
    pub(crate) fn wasted(&mut self, spec: PageSpec) {
        self.stats.hints_wasted += 1;
        self.stats.bytes_wasted += read_len(spec);
    }

    /// A read has ended badly.
    pub(crate) fn failed(&mut self, class: Class) {
        self.in_flight -= 1;
        self.stats.faults += 1;
        self.stats.hints_wasted += u64::from(class == Class::Hint);
    }

    /// A read has ended that nobody waits for any more.
    pub(crate) fn forgotten(&mut self) {
        self.in_flight -= 1;
    }

    /// Compute was blocked from `before` until now.
    pub(crate) fn stalled_since(&mut self, before: Nanos) {
        self.stats.stall += self.clock.now() - before;
        self.stats.stalls += 1;
        self.note(Event::Stalled { since: before });
    }

    /// Puts down what happens now, if a journal is kept.
    #[inline]
    pub(crate) fn note(&mut self, event: Event) {
        if let Some(journal) = &mut self.journal {
            journal.note(self.clock.now(), event);
        }
    }
}

/// Bytes that are asked from the device for `spec`.
fn read_len(spec: PageSpec) -> u64 {
    spec.span().map_or(0, |span| u64::from(span.len))
}
