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

impl Entry {
    /// What it is made of, as numbers: when; what kind of event, and of which page or step; what else belongs to it.
    fn words(self) -> [u64; 3] {
        let word = |kind: u64, number: u32| kind << 32 | u64::from(number);
        let (what, more) = match self.event {
            Event::Pass { tokens, position } => (word(1, tokens), u64::from(position)),
            Event::Step(step) => (word(2, step), 0),
            Event::Read { page, class } => (word(3, page.0), u64::from(class == Class::Demand)),
            Event::Arrived { page, since } => (word(4, page.0), since.0),
            Event::Failed { page, since } => (word(5, page.0), since.0),
            Event::Leased(page) => (word(6, page.0), 0),
            Event::Evicted { page, wasted } => (word(7, page.0), u64::from(wasted)),
            Event::Stalled { since } => (word(8, 0), since.0),
        };
        [self.at.0, what, more]
    }
}

/// A hash of numbers in their order: FNV-1a with words in place of bytes, and a fold after each, without which the upper bits would
/// never reach the lower ones.
///
/// ```text
/// h = 0xcbf29ce484222325;  for each word: h = (h ^ word) * 0x9e3779b97f4a7c15;  h = h ^ (h >> 32)      (mod 2^64)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Takes in one more number.
    #[inline]
    pub fn add(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    /// The hash of all that was taken in.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// The events of a run, in their order; all memory is had at construction.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    entries: Vec<Entry>,
    lost: u64,
    digest: Digest,
}

impl Journal {
    /// A journal of at most `capacity` events; those that come after are only counted.
    pub fn new(capacity: usize) -> Journal {
        Journal { entries: Vec::with_capacity(capacity), lost: 0, digest: Digest::default() }
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

    /// The hash of all events with their times, those included that there was no room for. Two runs with the same one did the same
    /// at the same times.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    pub(crate) fn note(&mut self, at: Nanos, event: Event) {
        let entry = Entry { at, event };
        entry.words().into_iter().for_each(|word| self.digest.add(word));
        if self.entries.len() < self.entries.capacity() {
            self.entries.push(entry);
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

    #[test]
    fn the_digest_is_of_all_events_their_order_and_their_times() {
        let of = |capacity: usize, entries: &[(u64, Event)]| {
            let mut journal = Journal::new(capacity);
            entries.iter().for_each(|&(at, event)| journal.note(Nanos(at), event));
            journal.digest()
        };
        let read = |page, class| Event::Read { page: PageId(page), class };
        let run = [(1, Event::Step(0)), (1, read(4, Class::Demand)), (3, Event::Leased(PageId(4)))];
        assert_eq!(of(3, &run), of(0, &run), "whether they are kept or not");
        assert_eq!(of(3, &run), 13_166_074_593_445_526_776, "the same on every machine");
        let others = [
            [(1, Event::Step(0)), (1, read(4, Class::Hint)), (3, Event::Leased(PageId(4)))],
            [(1, Event::Step(0)), (1, read(5, Class::Demand)), (3, Event::Leased(PageId(4)))],
            [(1, Event::Step(0)), (2, read(4, Class::Demand)), (3, Event::Leased(PageId(4)))],
            [(1, Event::Step(0)), (1, Event::Leased(PageId(4))), (3, read(4, Class::Demand))],
        ];
        others.iter().for_each(|other| assert_ne!(of(3, &run), of(3, other), "{other:?}"));
        assert_ne!(of(3, &run), of(3, &run[..2]));
    }
}
