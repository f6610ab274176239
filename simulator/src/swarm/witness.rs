//! What happens between the pager and the device, seen from between them; and what is broken for good, which no device model has.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io;
use std::rc::Rc;

use forebay_pager::{ALIGN, Clock as _, Digest, Done, FileId, Nanos, PageId, Read, ReadFault, Storage, Wait};

use super::bytes::{first_wrong, spoil};
use super::scenario::Broken;
use crate::clock::VirtualClock;
use crate::flash::Faults;
use crate::storage::{Pace, VirtualPace};

/// What the last read of a page came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    Never,
    Right,
    /// With wrong bytes, which the device did not tell.
    Damaged,
    Failed,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Ledger {
    depth: usize,
    /// For each page, its last read.
    pub(super) pages: Vec<Came>,
    /// Pages of which a read failed in this pass.
    pub(super) failed_pages: HashSet<PageId>,
    /// Places beside the pages that came damaged in this pass, and that failed.
    pub(super) damaged_rows: HashSet<(FileId, u64)>,
    pub(super) failed_rows: HashSet<(FileId, u64)>,
    /// What fails, while it does.
    pub(super) broken: Option<Broken>,
    /// Reads of this pass, and how many there may be: more than that, and it will never end.
    pub(super) reads: usize,
    reads_most: usize,
    /// Reads that failed, and that came damaged, in all.
    pub(super) failed: usize,
    pub(super) damaged: usize,
    digest: Digest,
    flights: Vec<Flight>,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    tag: u64,
    file: FileId,
    offset: u64,
    need: u32,
}

impl Ledger {
    pub(super) fn new(pages: usize, depth: usize) -> Self {
        Ledger {
            depth,
            pages: vec![Came::Never; pages],
            failed_pages: HashSet::new(),
            damaged_rows: HashSet::new(),
            failed_rows: HashSet::new(),
            broken: None,
            reads: 0,
            reads_most: usize::MAX,
            failed: 0,
            damaged: 0,
            digest: Digest::default(),
            flights: Vec::with_capacity(depth),
        }
    }

    /// The hash of all reads: which, and when and how they ended.
    pub(super) fn digest(&self) -> u64 {
        self.digest.value()
    }

    fn submitted(&mut self, read: &Read) {
        let &Read { tag, file, offset, len, need, .. } = read;
        assert!(self.flights.len() < self.depth, "{} reads are in flight, and one more is asked for", self.depth);
        assert!(self.flights.iter().all(|f| f.tag != tag), "{tag:#x} is asked for while it is in flight");
        assert!(offset.is_multiple_of(ALIGN as u64) && (len as usize).is_multiple_of(ALIGN) && need <= len);
        self.reads += 1;
        assert!(self.reads <= self.reads_most, "a pass that goes on for ever: {} reads", self.reads);
        self.flights.push(Flight { tag, file, offset, need });
    }

    fn ended(&mut self, done: &mut Done, now: Nanos) {
        let flight = self.flights.iter().position(|f| f.tag == done.tag).expect("what ends was submitted");
        let Flight { tag, file, offset, need } = self.flights.swap_remove(flight);
        if let Some(broken) = &self.broken
            && broken.file == file
            && broken.bytes.start < offset + u64::from(need)
            && offset < broken.bytes.end
        {
            done.result = Err(match broken.shrunk {
                true => ReadFault::Shrunk { end: broken.bytes.start, wanted: offset + u64::from(need) },
                false => io::Error::from_raw_os_error(Faults::EIO).into(),
            });
        }
        let came = match done.result {
            Err(_) => Came::Failed,
            Ok(()) if first_wrong(file, offset, &done.frame.bytes()[..need as usize]).is_some() => Came::Damaged,
            Ok(()) => Came::Right,
        };
        self.failed += usize::from(came == Came::Failed);
        self.damaged += usize::from(came == Came::Damaged);
        if came == Came::Failed {
            spoil(done);
        }
        [now.0, tag, came as u64].into_iter().for_each(|word| self.digest.add(word));
        if let Some(page) = usize::try_from(tag).ok().and_then(|tag| self.pages.get_mut(tag)) {
            *page = came;
            if came == Came::Failed {
                self.failed_pages.insert(PageId(tag as u32));
            }
            return;
        }
        // Two rows may lie in one block, and one read of it end well and another not.
        match came {
            Came::Damaged => self.damaged_rows.insert((file, offset)),
            Came::Failed => self.failed_rows.insert((file, offset)),
            Came::Never | Came::Right => true,
        };
    }

    /// A pass has failed: what is broken is mended after so many, in whichever passes they were. One that failed may succeed at its
    /// next try with the place still broken, when routers choose other experts then.
    pub(super) fn pass_failed(&mut self) {
        if let Some(broken) = &mut self.broken {
            broken.tries -= 1;
            if broken.tries == 0 {
                self.broken = None;
            }
        }
    }

    /// A pass begins, which may have so many reads.
    pub(super) fn begin_pass(&mut self, reads_most: usize) {
        self.failed_pages.clear();
        self.damaged_rows.clear();
        self.failed_rows.clear();
        (self.reads, self.reads_most) = (0, reads_most);
    }
}

/// A storage that is looked at.
#[derive(Debug)]
pub(super) struct Witness<S> {
    storage: S,
    clock: VirtualClock,
    ledger: Rc<RefCell<Ledger>>,
}

impl<S> Witness<S> {
    pub(super) fn new(storage: S, clock: VirtualClock, ledger: Rc<RefCell<Ledger>>) -> Self {
        Witness { storage, clock, ledger }
    }
}

impl<S: Storage> Storage for Witness<S> {
    fn depth(&self) -> usize {
        self.storage.depth()
    }

    fn alignment(&self) -> usize {
        self.storage.alignment()
    }

    fn submit(&mut self, read: Read) {
        self.ledger.borrow_mut().submitted(&read);
        self.storage.submit(read);
    }

    fn flush(&mut self) {
        self.storage.flush();
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        let before = done.len();
        let could = self.storage.in_flight() > 0;
        self.storage.reap(wait, done);
        assert!(wait == Wait::No || !could || done.len() > before, "a read was waited for, and none has ended");
        let mut ledger = self.ledger.borrow_mut();
        done[before..].iter_mut().for_each(|done| ledger.ended(done, self.clock.now()));
    }

    fn in_flight(&self) -> usize {
        self.storage.in_flight()
    }

    fn describe(&self) -> String {
        self.storage.describe()
    }
}

/// How often time may be waited for without any passing.
const PATIENCE: u32 = 10_000;

/// Virtual time, of which some passes when it is waited for.
#[derive(Debug)]
pub(super) struct Passing {
    pace: VirtualPace,
    in_vain: Cell<u32>,
}

impl Passing {
    pub(super) fn new(clock: VirtualClock) -> Self {
        Passing { pace: VirtualPace(clock), in_vain: Cell::new(0) }
    }
}

impl Pace for Passing {
    fn now(&self) -> Nanos {
        self.pace.now()
    }

    fn wait_until(&self, at: Nanos) {
        let in_vain = if at > self.now() { 0 } else { self.in_vain.get() + 1 };
        assert!(in_vain < PATIENCE, "the device says that a read ends at {at}, again and again, and none does");
        self.in_vain.set(in_vain);
        self.pace.wait_until(at);
    }

    fn charge(&self, time: Nanos) {
        self.pace.charge(time);
    }
}
