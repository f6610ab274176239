//! The page table: a page is absent, loading or resident; a frame is free, filling or holding.
//!
//! The two halves point at each other by index, and a frame of memory is always in exactly one place:
//!
//! ```text
//!   pages:   Absent ──begin──▶ Loading(frame) ──end──▶ Resident(frame) ──evict──▶ Absent
//!   slots:   Free(memory)      Filling(page)           Holding(page, memory)      Free(memory)
//!   memory:  here              in the storage          here, viewed by leases     here
//! ```
//!
//! A read that fails leads back to `Absent` and `Free`. Every step is O(1), and nothing is allocated after construction.

use std::mem;

use crate::clock::Nanos;
use crate::ids::{ALIGN, FrameId, PageId, PageSpec};
use crate::pager::Class;
use crate::window::{Frame, View};

#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Entry>,
    slots: Vec<Slot>,
    free: Vec<FrameId>,
    /// Frames whose page may be news, oldest first.
    arrived: Vec<FrameId>,
}

/// A page's row.
#[derive(Debug)]
struct Entry {
    spec: PageSpec,
    place: Place,
    /// It was loaded before: the next load is a reread.
    seen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Absent,
    Loading(FrameId),
    Resident(FrameId),
}

/// A frame's row.
#[derive(Debug)]
struct Slot {
    state: SlotState,
    /// It is in the list of arrivals, so that the list never holds a frame twice.
    announced: bool,
}

#[derive(Debug)]
enum SlotState {
    Free(Frame),
    Filling(Flight),
    Holding {
        page: PageId,
        frame: Frame,
        /// It was hinted, and nobody has asked for it since.
        unused_hint: bool,
        /// The scheduler has not been told of it.
        fresh: bool,
    },
}

/// A page on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    pub(crate) page: PageId,
    pub(crate) class: Class,
    pub(crate) since: Nanos,
}

impl Table {
    pub(crate) fn new(pages: Vec<PageSpec>, frames: Vec<Frame>) -> Table {
        Table {
            entries: pages.into_iter().map(|spec| Entry { spec, place: Place::Absent, seen: false }).collect(),
            // The lowest frames are used first.
            free: frames.iter().rev().map(Frame::id).collect(),
            arrived: Vec::with_capacity(frames.len()),
            slots: frames.into_iter().map(|frame| Slot { state: SlotState::Free(frame), announced: false }).collect(),
        }
    }

    pub(crate) fn pages(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn frames(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn free_frames(&self) -> usize {
        self.free.len()
    }

    pub(crate) fn spec(&self, page: PageId) -> PageSpec {
        self.entries[page.index()].spec
    }

    #[inline]
    pub(crate) fn place(&self, page: PageId) -> Place {
        self.entries[page.index()].place
    }

    /// Whether a page was loaded before.
    pub(crate) fn seen(&self, page: PageId) -> bool {
        self.entries[page.index()].seen
    }

    /// An absent page starts to load; the caller gives the frame to the storage. `None` when no frame is free.
    pub(crate) fn begin(&mut self, flight: Flight) -> Option<Frame> {
        let id = self.free.pop()?;
        let SlotState::Free(frame) = mem::replace(&mut self.slots[id.index()].state, SlotState::Filling(flight)) else {
            unreachable!("frame {} is in the free list and not free", id.0);
        };
        let entry = &mut self.entries[flight.page.index()];
        debug_assert_eq!(entry.place, Place::Absent);
        (entry.place, entry.seen) = (Place::Loading(id), true);
        Some(frame)
    }

    /// What a frame that the storage has is being filled with.
    pub(crate) fn flight(&self, id: FrameId) -> Flight {
        match self.slots[id.index()].state {
            SlotState::Filling(flight) => flight,
            _ => unreachable!("the storage has frame {}, which is not filling", id.0),
        }
    }

    /// A page has arrived.
    pub(crate) fn arrive(&mut self, frame: Frame) {
        let (id, Flight { page, class, .. }) = (frame.id(), self.flight(frame.id()));
        let slot = &mut self.slots[id.index()];
        slot.state = SlotState::Holding { page, frame, unused_hint: class == Class::Hint, fresh: true };
        if !mem::replace(&mut slot.announced, true) {
            self.arrived.push(id);
        }
        self.entries[page.index()].place = Place::Resident(id);
    }

    /// A page has not arrived.
    pub(crate) fn fail(&mut self, frame: Frame) {
        let page = self.flight(frame.id()).page;
        self.free_up(page, frame);
    }

    fn free_up(&mut self, page: PageId, frame: Frame) {
        let id = frame.id();
        self.slots[id.index()].state = SlotState::Free(frame);
        self.free.push(id);
        self.entries[page.index()].place = Place::Absent;
    }

    /// A page on its way is demanded. `true` when it was only hinted so far.
    pub(crate) fn hurry(&mut self, id: FrameId) -> bool {
        match &mut self.slots[id.index()].state {
            SlotState::Filling(flight) => mem::replace(&mut flight.class, Class::Demand) == Class::Hint,
            _ => false,
        }
    }

    /// A resident page is demanded or leased. `true` when it was hinted, and this is its first use.
    #[inline]
    pub(crate) fn use_hint(&mut self, id: FrameId) -> bool {
        match &mut self.slots[id.index()].state {
            SlotState::Holding { unused_hint, .. } => mem::take(unused_hint),
            _ => false,
        }
    }

    /// Frees the frame of a resident page that nobody views, and tells whether it was a hint that nobody used.
    /// `None` when it cannot be evicted.
    pub(crate) fn evict(&mut self, page: PageId) -> Option<bool> {
        let Place::Resident(id) = self.place(page) else { return None };
        if self.frame(id).is_viewed() {
            return None;
        }
        let unused = self.use_hint(id);
        // The state in between is never seen: `free_up` puts the frame back at once.
        let flight = Flight { page, class: Class::Hint, since: Nanos::ZERO };
        let state = mem::replace(&mut self.slots[id.index()].state, SlotState::Filling(flight));
        if let SlotState::Holding { frame, .. } = state {
            self.free_up(page, frame);
        }
        Some(unused)
    }

    fn frame(&self, id: FrameId) -> &Frame {
        match &self.slots[id.index()].state {
            SlotState::Free(frame) | SlotState::Holding { frame, .. } => frame,
            SlotState::Filling(flight) => unreachable!("frame {} is with the storage, for {}", id.0, flight.page),
        }
    }

    /// The bytes of a resident page.
    #[inline]
    pub(crate) fn view(&self, page: PageId, id: FrameId) -> View {
        let PageSpec { offset, len, .. } = self.entries[page.index()].spec;
        self.frame(id).view((offset % ALIGN as u64) as usize, len as usize)
    }

    pub(crate) fn is_viewed(&self, page: PageId) -> bool {
        matches!(self.place(page), Place::Resident(id) if self.frame(id).is_viewed())
    }

    pub(crate) fn drain_arrived(&mut self, mut tell: impl FnMut(PageId)) {
        for id in self.arrived.drain(..) {
            let slot = &mut self.slots[id.index()];
            slot.announced = false;
            // The page that was announced may be gone, and another one have come into its frame.
            if let SlotState::Holding { page, fresh, .. } = &mut slot.state
                && mem::take(fresh)
            {
                tell(*page);
            }
        }
    }

    pub(crate) fn resident(&self) -> impl Iterator<Item = PageId> {
        self.slots.iter().filter_map(|slot| match slot.state {
            SlotState::Holding { page, .. } => Some(page),
            _ => None,
        })
    }

    /// Checks every invariant, and returns how many pages are loading.
    pub(crate) fn validate(&self) -> usize {
        let (mut free, mut filling) = (0, 0);
        for (slot, id) in self.slots.iter().zip((0..).map(FrameId)) {
            match &slot.state {
                SlotState::Free(frame) => {
                    assert_eq!(frame.id(), id);
                    assert!(!frame.is_viewed(), "free {id:?} is leased");
                    assert!(self.free.contains(&id), "free {id:?} is not in the free list");
                    free += 1;
                }
                SlotState::Filling(Flight { page, .. }) => {
                    assert_eq!(self.place(*page), Place::Loading(id));
                    filling += 1;
                }
                SlotState::Holding { page, frame, fresh, .. } => {
                    assert_eq!(frame.id(), id);
                    assert_eq!(self.place(*page), Place::Resident(id));
                    assert!(!fresh || slot.announced, "{page} arrived, and nobody will be told");
                }
            }
            assert_eq!(self.arrived.iter().filter(|&&there| there == id).count(), usize::from(slot.announced));
        }
        assert_eq!(self.free.len(), free, "the free list is exactly the free frames");
        let placed = self.entries.iter().filter(|entry| entry.place != Place::Absent).count();
        assert_eq!(placed + free, self.slots.len(), "each frame has one page or none");
        filling
    }
}
