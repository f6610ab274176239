//! The pager: asks for pages, takes them in when they come, and lends them out.
//!
//! One owner, no locks. It joins the page table to a storage and keeps the books; see `table.rs` for the states.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::clock::{Clock, Nanos};
use crate::error::{Error, PageDefect};
use crate::gather::Gathering;
use crate::ids::{PageId, PageSpec, Span};
use crate::journal::{Event, Journal};
use crate::meter::Meter;
use crate::stats::Stats;
use crate::storage::{Done, Read, ReadFault, Storage, Wait};
use crate::table::{Flight, Place, Table};
use crate::window::{Frame, View, Window};

/// Tags of one-off reads have this bit; all others are page numbers.
pub(crate) const SCRATCH_TAG: u64 = 1 << 63;

/// How much a page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

/// The memory layer: pages of files, in a bounded window, over a [`Storage`].
#[derive(Debug)]
pub struct Pager<S: Storage, C: Clock> {
    pub(crate) storage: S,
    pub(crate) meter: Meter<C>,
    pub(crate) files: Vec<PathBuf>,
    table: Table,
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
            gathering: Gathering::new(scratch, frames.len()),
            table: Table::new(pages, frames),
            faults: VecDeque::with_capacity(depth),
            done: Vec::with_capacity(depth),
            storage,
        })
    }

    /// How many frames the window has.
    pub fn frames(&self) -> usize {
        self.table.frames()
    }

    /// How many of them are free.
    pub fn free_frames(&self) -> usize {
        self.table.free_frames()
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
        self.table.pages()
    }

    /// Where a page's bytes lie on flash.
    pub fn spec(&self, page: PageId) -> PageSpec {
        self.table.spec(page)
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

    /// Keeps a journal from here on; `None` ends it. Returns what was kept so far.
    pub fn keep_journal(&mut self, journal: Option<Journal>) -> Option<Journal> {
        std::mem::replace(&mut self.meter.journal, journal)
    }

    /// The journal so far, if one is kept.
    pub fn journal(&self) -> Option<&Journal> {
        self.meter.journal.as_ref()
    }

    /// Puts `event` down in the journal, if one is kept.
    #[inline]
    pub fn note(&mut self, event: Event) {
        self.meter.note(event);
    }

    /// Where a page is.
    #[inline]
    pub fn state(&self, page: PageId) -> PageState {
        match self.table.place(page) {
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
        match self.table.place(page) {
            Place::Resident(frame) => {
                self.meter.stats.hits += 1;
                if class == Class::Demand {
                    self.meter.stats.hints_used += u64::from(self.table.use_hint(frame));
                }
                Load::Hit
            }
            Place::Loading(frame) => {
                self.meter.stats.joined += 1;
                if class == Class::Demand && self.table.hurry(frame) {
                    self.meter.stats.hints_used += 1;
                    self.meter.stats.hints_late += 1;
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
        if self.table.free_frames() == 0 {
            return Load::NoFrame;
        }
        self.meter.page_read(class, self.table.seen(page));
        let since = self.meter.started();
        let frame = self.table.begin(Flight { page, class, since }).expect("a frame is free");
        self.meter.note(Event::Read { page, class });
        self.storage.submit(read_of(self.table.spec(page), u64::from(page.0), frame));
        Load::Started
    }

    /// Makes a page absent and its frame free. Refuses, and says `false`, when the page is leased, loading or absent.
    pub fn evict(&mut self, page: PageId) -> bool {
        let Some(unused_hint) = self.table.evict(page) else { return false };
        self.meter.stats.evictions += 1;
        self.meter.note(Event::Evicted { page, wasted: unused_hint });
        if unused_hint {
            self.meter.wasted(self.table.spec(page));
        }
        true
    }

    /// Keeps a resident page where it is, and gives access to its bytes, until the lease is dropped.
    #[inline]
    pub fn lease(&mut self, page: PageId) -> Option<Lease> {
        let Place::Resident(frame) = self.table.place(page) else { return None };
        self.meter.stats.hints_used += u64::from(self.table.use_hint(frame));
        self.meter.note(Event::Leased(page));
        Some(Lease { page, view: self.table.view(page, frame) })
    }

    /// Whether any lease of a page lives.
    pub fn is_leased(&self, page: PageId) -> bool {
        self.table.is_viewed(page)
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

    /// Forgets the faults that were not told yet: who gives up what it demanded does not want to hear of them later.
    pub fn forget_faults(&mut self) {
        self.faults.clear();
    }

    /// Names every page that became resident since the last call and still is.
    pub fn drain_arrived(&mut self, tell: impl FnMut(PageId)) {
        self.table.drain_arrived(tell);
    }

    /// Every resident page, in the order of the frames.
    pub fn resident(&self) -> impl Iterator<Item = PageId> {
        self.table.resident()
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
        let Flight { page, class, since } = self.table.flight(done.frame.id());
        assert_eq!(done.tag, u64::from(page.0), "the storage mixed up frames and tags");
        match done.result {
            Ok(()) => {
                self.meter.ended(self.table.spec(page), since, now);
                self.meter.note(Event::Arrived { page, since });
                self.table.arrive(done.frame);
            }
            Err(fault) => {
                self.meter.failed(class);
                self.meter.note(Event::Failed { page, since });
                self.table.fail(done.frame);
                if class == Class::Demand {
                    self.faults.push_back((page, fault));
                }
            }
        }
    }

    fn first_fault(&mut self) -> Option<Error> {
        let (page, source) = self.faults.pop_front()?;
        let PageSpec { file, offset, .. } = self.table.spec(page);
        Some(Error::Read { file: self.files[file.index()].clone(), offset, page, source })
    }

    /// Checks every invariant of the table and the books. Slow; for tests.
    ///
    /// # Panics
    /// When one does not hold.
    pub fn validate(&self) {
        let loading = self.table.validate();
        assert_eq!(loading + self.gathering.in_flight(), self.storage.in_flight());
        assert_eq!(self.meter.in_flight(), self.storage.in_flight());
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
