//! What happened, event by event: for timelines, and to compare the decisions of two runs.

use crate::clock::Nanos;
use crate::ids::PageId;
use crate::pager::Class;

/// Something that happened to a page, or in the course of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A pass through the model began.
    Pass {
        /// Tokens that go through together.
        tokens: u32,
        /// Tokens that are in the context already.
        position: u32,
    },
    /// A step of the plan began, by its number.
    Step(u32),
    /// The read of a page was started.
    Read {
        /// The page.
        page: PageId,
        /// How much it is wanted.
        class: Class,
    },
    /// A page has come.
    Arrived {
        /// The page.
        page: PageId,
        /// When its read was started.
        since: Nanos,
    },
    /// The read of a page has failed.
    Failed {
        /// The page.
        page: PageId,
        /// When its read was started.
        since: Nanos,
    },
    /// Compute has taken a page that is in the window.
    Leased(PageId),
    /// A page has left.
    Evicted {
        /// The page.
        page: PageId,
        /// It was hinted, and nobody had used it.
        wasted: bool,
    },
    /// Compute had waited.
    Stalled {
        /// From when on.
        since: Nanos,
    },
}

/// An event and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When it happened.
    pub at: Nanos,
    /// What happened.
    pub event: Event,
}

/// The events of a run, in their order; all memory is had at construction.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    entries: Vec<Entry>,
    lost: u64,
}

impl Journal {
    /// A journal of at most `capacity` events; those that come after are only counted.
    pub fn new(capacity: usize) -> Journal {
        Journal { entries: Vec::with_capacity(capacity), lost: 0 }
    }

    /// Bytes that a journal of `capacity` events takes.
    pub fn bytes(capacity: usize) -> usize {
        capacity * size_of::<Entry>()
    }

    /// The events.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many events came when it was full.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn note(&mut self, at: Nanos, event: Event) {
        if self.entries.len() < self.entries.capacity() {
            self.entries.push(Entry { at, event });
        } else {
            self.lost += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_journal_counts_what_it_has_no_room_for() {
        let mut journal = Journal::new(2);
        (0..5).for_each(|step| journal.note(Nanos(step), Event::Step(step as u32)));
        let steps: Vec<_> = journal.entries().iter().map(|entry| entry.event).collect();
        assert_eq!((steps, journal.lost()), (vec![Event::Step(0), Event::Step(1)], 3));
        assert_eq!(Journal::bytes(2), 2 * size_of::<Entry>());
    }
}
