//! The pager: which pages are in the window, and how they come and go.
//!
//! One owner, no locks. A page is absent, loading or resident; a frame is free, filling or holding. The two tables
//! point at each other by index, and a frame of memory is always in exactly one place:
//!
//! ```text
//!   pages:  Absent ──load──▶ Loading(frame) ──poll──▶ Resident(frame) ──evict──▶ Absent
//!   slots:  Free(memory)     Filling(page)            Holding(page, memory)      Free(memory)
//!   memory:  here             in the storage           here, viewed by leases     here
//! ```
//!
//! A read that fails leads back to `Absent` and `Free`. Nothing is allocated after construction.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::clock::{Clock, Nanos};
use crate::error::{Error, PageDefect};
use crate::gather::Gathering;
use crate::ids::{ALIGN, FrameId, PageId, PageSpec, Span};
use crate::meter::Meter;
use crate::stats::Stats;
use crate::storage::{Done, Read, ReadFault, Storage, Wait};
use crate::window::{Frame, View, Window};

/// Tags of one-off reads have this bit; all others are page numbers.
pub(crate) const SCRATCH_TAG: u64 = 1 << 63;

/// How much a page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Compute needs it now.
    Demand,
    /// Compute may need it later.
    Hint,
}

/// What [`Pager::load`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Load {
    /// The page is resident.
    Hit,
    /// The page was on its way already; a demand makes it one.
    Joined,
    /// A read was submitted.
    Started,
    /// Every frame is taken: evict a page first.
    NoFrame,
    /// As many reads are in flight as the storage takes: poll or wait first.
    QueueFull,
}

/// Where a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// On flash only.
    Absent,
    /// On its way.
    Loading,
    /// In the window.
    Resident,
}

/// A guard: while it lives its page stays resident and its bytes stay as they are.
///
/// It may go to another thread, and outlives even the pager; dropping it is all it takes to release it.
#[derive(Debug)]
#[must_use = "a lease that is dropped at once protects nothing"]
pub struct Lease {
    page: PageId,
    view: View,
}

impl Lease {
    /// The page.
    pub fn page(&self) -> PageId {
        self.page
    }

    /// The page's bytes: exactly those of its [`PageSpec`].
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        self.view.bytes()
    }
}

/// A page's row of the table.
#[derive(Debug)]
struct Entry {
    spec: PageSpec,
    place: Place,
    /// It was loaded before: the next load is a reread.
    seen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Absent,
    Loading(FrameId),
    Resident(FrameId),
}

/// A frame's row of the table.
#[derive(Debug)]
struct Slot {
    state: SlotState,
    /// It is in the list of arrivals, so that the list never holds a frame twice.
    announced: bool,
}

#[derive(Debug)]
enum SlotState {
    Free(Frame),
    Filling {
        page: PageId,
        class: Class,
        since: Nanos,
    },
    Holding {
        page: PageId,
        frame: Frame,
        /// It was hinted, and nobody has asked for it since.
        unused_hint: bool,
        /// The scheduler has not been told of it.
        fresh: bool,
    },
}

/// The memory layer: pages of files, in a bounded window, over a [`Storage`].
#[derive(Debug)]
pub struct Pager<S: Storage, C: Clock> {
    pub(crate) storage: S,
    pub(crate) meter: Meter<C>,
    pub(crate) files: Vec<PathBuf>,
    entries: Vec<Entry>,
    slots: Vec<Slot>,
    free: Vec<FrameId>,
    arrived: Vec<FrameId>,
    /// Faults of demanded pages that nobody was told of yet.
    faults: VecDeque<(PageId, ReadFault)>,
    pub(crate) gathering: Gathering,
    /// Emptied after every use; kept for its capacity.
    pub(crate) done: Vec<Done>,
}

impl<S: Storage, C: Clock> Pager<S, C> {
    /// A pager over `pages`, all absent, with the frames of `window`.
    ///
    /// `files` are the names for error messages, in the order in which the storage has them open.
    pub fn new(
        storage: S,
        clock: C,
        window: Window,
        files: Vec<PathBuf>,
        pages: Vec<PageSpec>,
    ) -> Result<Pager<S, C>, Error> {
        check_pages(&pages, files.len(), window.frame_len())?;
        let (frames, scratch) = window.into_frames();
        let depth = storage.depth();
        Ok(Pager {
            meter: Meter::new(clock),
            files,
            entries: pages.into_iter().map(|spec| Entry { spec, place: Place::Absent, seen: false }).collect(),
            // The lowest frames are used first.
            free: frames.iter().rev().map(Frame::id).collect(),
            arrived: Vec::with_capacity(frames.len()),
            gathering: Gathering::new(scratch, frames.len()),
            slots: frames.into_iter().map(|frame| Slot { state: SlotState::Free(frame), announced: false }).collect(),
            faults: VecDeque::with_capacity(depth),
            done: Vec::with_capacity(depth),
            storage,
        })
    }

    /// How many frames the window has.
    pub fn frames(&self) -> usize {
        self.slots.len()
    }

    /// How many of them are free.
    pub fn free_frames(&self) -> usize {
        self.free.len()
    }

    /// How many reads are in flight.
    pub fn in_flight(&self) -> usize {
        self.storage.in_flight()
    }

    /// How many reads may be in flight at once.
    pub fn depth(&self) -> usize {
        self.storage.depth()
    }

    /// How many pages there are.
    pub fn page_count(&self) -> usize {
        self.entries.len()
    }

    /// Where a page's bytes lie on flash.
    pub fn spec(&self, page: PageId) -> PageSpec {
        self.entries[page.index()].spec
    }

    /// The storage below.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        self.meter.clock()
    }

    /// What was counted so far.
    pub fn stats(&self) -> &Stats {
        self.meter.stats()
    }

    /// What was counted so far; counting starts again at zero.
    pub fn take_stats(&mut self) -> Stats {
        self.meter.take()
    }

    /// Where a page is.
    #[inline]
    pub fn state(&self, page: PageId) -> PageState {
        match self.entries[page.index()].place {
            Place::Absent => PageState::Absent,
            Place::Loading(_) => PageState::Loading,
            Place::Resident(_) => PageState::Resident,
        }
    }

    /// Asks for a page. Two loads of one page share one read.
    ///
    /// The read starts at the next [`flush`](Pager::flush), [`poll`](Pager::poll) or [`wait`](Pager::wait), together
    /// with all others of the round.
    #[inline]
    pub fn load(&mut self, page: PageId, class: Class) -> Load {
        match self.entries[page.index()].place {
            Place::Resident(frame) => {
                self.meter.stats.hits += 1;
                if class == Class::Demand {
                    self.use_hint(frame);
                }
                Load::Hit
            }
            Place::Loading(frame) => {
                self.meter.stats.joined += 1;
                if class == Class::Demand {
                    self.hurry(frame);
                }
                Load::Joined
            }
            Place::Absent => self.start(page, class),
        }
    }

    fn start(&mut self, page: PageId, class: Class) -> Load {
        // The queue first: a page that cannot be read now is no reason to evict another.
        if self.storage.in_flight() >= self.storage.depth() {
            return Load::QueueFull;
        }
        let Some(id) = self.free.pop() else { return Load::NoFrame };
        let since = self.meter.started();
        let filling = SlotState::Filling { page, class, since };
        let SlotState::Free(frame) = std::mem::replace(&mut self.slots[id.index()].state, filling) else {
            unreachable!("frame {} is in the free list and not free", id.0);
        };
        let entry = &mut self.entries[page.index()];
        entry.place = Place::Loading(id);
        self.meter.page_read(class, std::mem::replace(&mut entry.seen, true));
        self.storage.submit(read_of(entry.spec, u64::from(page.0), frame));
        Load::Started
    }

    /// A page in flight is demanded.
    fn hurry(&mut self, frame: FrameId) {
        if let SlotState::Filling { class, .. } = &mut self.slots[frame.index()].state
            && std::mem::replace(class, Class::Demand) == Class::Hint
        {
            self.meter.stats.hints_used += 1;
            self.meter.stats.hints_late += 1;
        }
    }

    /// A resident page is demanded or leased.
    fn use_hint(&mut self, frame: FrameId) {
        if let SlotState::Holding { unused_hint, .. } = &mut self.slots[frame.index()].state
            && std::mem::take(unused_hint)
        {
            self.meter.stats.hints_used += 1;
        }
    }

    /// Makes a page absent and its frame free. Refuses, and says `false`, when the page is leased, loading or absent.
    pub fn evict(&mut self, page: PageId) -> bool {
        let Place::Resident(id) = self.entries[page.index()].place else { return false };
        let slot = &mut self.slots[id.index()].state;
        let SlotState::Holding { frame, unused_hint, .. } = slot else {
            unreachable!("{page} is resident in frame {}, which holds nothing", id.0);
        };
        if frame.is_viewed() {
            return false;
        }
        self.meter.stats.evictions += 1;
        self.meter.stats.hints_wasted += u64::from(*unused_hint);
        take_frame(slot);
        self.entries[page.index()].place = Place::Absent;
        self.free.push(id);
        true
    }

    /// Keeps a resident page where it is, and gives access to its bytes, until the lease is dropped.
    pub fn lease(&mut self, page: PageId) -> Option<Lease> {
        let entry = &self.entries[page.index()];
        let (Place::Resident(id), spec) = (entry.place, entry.spec) else { return None };
        self.use_hint(id);
        let SlotState::Holding { frame, .. } = &self.slots[id.index()].state else {
            unreachable!("{page} is resident in frame {}, which holds nothing", id.0);
        };
        Some(Lease { page, view: frame.view(spec.offset as usize % ALIGN, spec.len as usize) })
    }

    /// Whether any lease of a page lives.
    pub fn is_leased(&self, page: PageId) -> bool {
        let Place::Resident(id) = self.entries[page.index()].place else { return false };
        matches!(&self.slots[id.index()].state, SlotState::Holding { frame, .. } if frame.is_viewed())
    }

    /// The bytes of a leased page; the same as [`Lease::bytes`].
    #[inline]
    pub fn bytes<'a>(&self, lease: &'a Lease) -> &'a [u8] {
        lease.bytes()
    }

    /// Ends a lease; the same as dropping it.
    pub fn release(&mut self, lease: Lease) {
        drop(lease);
    }

    /// Starts the reads that were asked for: the end of a scheduling round.
    pub fn flush(&mut self) {
        self.storage.flush();
    }

    /// Flushes, and takes in what has ended, without waiting. Returns how many reads have ended.
    ///
    /// An error is a demanded page that could not be read; it is told once, and the page is absent again. A hint that
    /// fails is only counted: if the page matters it will be demanded, and then it is an error.
    pub fn poll(&mut self) -> Result<usize, Error> {
        let ended = self.collect(Wait::No);
        self.first_fault().map_or(Ok(ended), Err)
    }

    /// Flushes, and waits until at least one read has ended, if any is in flight. The time counts as stall.
    ///
    /// Errors are those of [`poll`](Pager::poll). One that is not told yet is told at once, without waiting.
    pub fn wait(&mut self) -> Result<usize, Error> {
        if !self.faults.is_empty() || self.storage.in_flight() == 0 {
            return self.poll();
        }
        let before = self.meter.clock().now();
        let ended = self.collect(Wait::One);
        self.meter.stalled_since(before);
        self.first_fault().map_or(Ok(ended), Err)
    }

    /// Names every page that became resident since the last call and still is.
    pub fn drain_arrived(&mut self, mut tell: impl FnMut(PageId)) {
        for id in self.arrived.drain(..) {
            let slot = &mut self.slots[id.index()];
            slot.announced = false;
            if let SlotState::Holding { page, fresh, .. } = &mut slot.state
                && std::mem::take(fresh)
            {
                tell(*page);
            }
        }
    }

    /// Every resident page, in the order of the frames.
    pub fn resident(&self) -> impl Iterator<Item = PageId> {
        self.slots.iter().filter_map(|slot| match slot.state {
            SlotState::Holding { page, .. } => Some(page),
            _ => None,
        })
    }

    pub(crate) fn collect(&mut self, wait: Wait) -> usize {
        let mut done = std::mem::take(&mut self.done);
        self.storage.flush();
        self.storage.reap(wait, &mut done);
        let ended = done.len();
        if ended > 0 {
            let now = self.meter.observe();
            done.drain(..).for_each(|done| self.settle(done, now));
        }
        self.done = done;
        ended
    }

    /// Takes a frame back from the storage.
    pub(crate) fn settle(&mut self, done: Done, now: Nanos) {
        if done.tag & SCRATCH_TAG != 0 {
            // The callback of a `gather` panicked and left this read behind.
            self.meter.forgotten();
            self.gathering.give_back(done.frame);
            return;
        }
        let id = done.frame.id();
        let SlotState::Filling { page, class, since } = self.slots[id.index()].state else {
            unreachable!("the storage gave back frame {}, which it did not have", id.0);
        };
        assert_eq!(done.tag, u64::from(page.0), "the storage mixed up frames and tags");
        match done.result {
            Ok(()) => {
                self.meter.ended(&self.entries[page.index()].spec, since, now);
                self.arrive(page, done.frame, class == Class::Hint);
            }
            Err(fault) => {
                self.meter.failed(class);
                self.entries[page.index()].place = Place::Absent;
                self.slots[id.index()].state = SlotState::Free(done.frame);
                self.free.push(id);
                if class == Class::Demand {
                    self.faults.push_back((page, fault));
                }
            }
        }
    }

    fn arrive(&mut self, page: PageId, frame: Frame, unused_hint: bool) {
        let id = frame.id();
        let slot = &mut self.slots[id.index()];
        slot.state = SlotState::Holding { page, frame, unused_hint, fresh: true };
        if !std::mem::replace(&mut slot.announced, true) {
            self.arrived.push(id);
        }
        self.entries[page.index()].place = Place::Resident(id);
    }

    fn first_fault(&mut self) -> Option<Error> {
        let (page, source) = self.faults.pop_front()?;
        let PageSpec { file, offset, .. } = self.entries[page.index()].spec;
        Some(Error::Read { file: self.files[file.index()].clone(), offset, page, source })
    }

    /// Checks every invariant of the two tables.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn validate(&self) {
        let mut filling = 0;
        for (i, slot) in self.slots.iter().enumerate() {
            let id = FrameId(i as u32);
            match &slot.state {
                SlotState::Free(frame) => {
                    assert_eq!(frame.id(), id);
                    assert!(!frame.is_viewed(), "free frame {i} is leased");
                    assert_eq!(self.free.iter().filter(|&&f| f == id).count(), 1, "frame {i} is free, once");
                }
                SlotState::Filling { page, .. } => {
                    assert_eq!(self.entries[page.index()].place, Place::Loading(id));
                    filling += 1;
                }
                SlotState::Holding { page, frame, fresh, .. } => {
                    assert_eq!(frame.id(), id);
                    assert_eq!(self.entries[page.index()].place, Place::Resident(id));
                    assert!(!fresh || slot.announced, "{page} arrived, and nobody will be told");
                }
            }
            assert_eq!(self.arrived.iter().filter(|&&f| f == id).count(), usize::from(slot.announced));
        }
        let free = self.slots.iter().filter(|slot| matches!(slot.state, SlotState::Free(_))).count();
        assert_eq!(self.free.len(), free, "the free list is exactly the free frames");
        let placed = self.entries.iter().filter(|entry| entry.place != Place::Absent).count();
        assert_eq!(placed + free, self.slots.len(), "each frame has one page or none");
        assert_eq!(filling + self.gathering.in_flight(), self.storage.in_flight());
        assert_eq!(self.meter.in_flight(), self.storage.in_flight());
    }
}

fn take_frame(slot: &mut SlotState) {
    let placeholder = SlotState::Filling { page: PageId(u32::MAX), class: Class::Hint, since: Nanos::ZERO };
    if let SlotState::Holding { frame, .. } = std::mem::replace(slot, placeholder) {
        *slot = SlotState::Free(frame);
    }
}

/// The aligned read for a spec whose span was checked.
pub(crate) fn read_of(spec: PageSpec, tag: u64, frame: Frame) -> Read {
    let Span { offset, len, skip } = spec.span().expect("checked when it was taken in");
    Read { tag, file: spec.file, offset, len, need: skip + spec.len, frame }
}

fn check_pages(pages: &[PageSpec], files: usize, frame: usize) -> Result<(), Error> {
    for (i, spec) in pages.iter().enumerate() {
        let why = match spec.span() {
            _ if i > u32::MAX as usize => PageDefect::TooMany,
            _ if spec.len == 0 => PageDefect::Empty,
            _ if spec.file.index() >= files => PageDefect::NoSuchFile { file: spec.file.0, files },
            None => PageDefect::Overflow,
            Some(span) if span.len as usize > frame => PageDefect::TooLong { span: span.len, frame },
            Some(_) => continue,
        };
        return Err(Error::Page { page: PageId(i as u32), offset: spec.offset, len: spec.len, why });
    }
    Ok(())
}
