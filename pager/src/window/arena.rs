//! The memory under the frames: one mapping, how it is carved, and the count of views of each part.

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use memmap2::{MmapMut, MmapOptions};

use super::{Frame, Scratch};
use crate::ids::{ALIGN, FrameId};

/// Huge pages of x86-64 and of aarch64 with 4 KiB base pages.
const HUGE: usize = 2 << 20;

/// The kernel takes at most 1 GiB in one registered buffer.
pub(super) const MAX_BUFFER: usize = 1 << 30;

/// How the arena is carved. All sums were checked by [`Layout::new`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) frame_len: usize,
    pub(super) frames: usize,
    scratch_len: usize,
    scratch: usize,
}

impl Layout {
    pub(super) fn new(frame_len: usize, frames: usize, scratch: Scratch) -> Option<Layout> {
        // An unaligned read of n bytes touches at most one granule more than n bytes fill.
        let scratch_len = match scratch.frames {
            0 => 0,
            _ => scratch.max_len.max(1).checked_next_multiple_of(ALIGN)?.checked_add(ALIGN)?,
        };
        let layout = Layout { frame_len, frames, scratch_len, scratch: scratch.frames };
        let own = frame_len.checked_mul(frames)?;
        let all = scratch_len.checked_mul(scratch.frames)?.checked_add(own)?;
        // The arena is mapped with room to align it; no object is longer than `isize::MAX`.
        let fits = all.checked_add(HUGE)? <= isize::MAX as usize && scratch_len <= MAX_BUFFER;
        let countable = u32::try_from(frames.checked_add(scratch.frames)?).is_ok();
        (fits && countable).then_some(layout)
    }

    pub(super) fn count(&self) -> usize {
        self.frames + self.scratch
    }

    pub(super) fn bytes(&self) -> usize {
        self.frame_len * self.frames + self.scratch_len * self.scratch
    }

    fn start(&self, frame: usize) -> usize {
        match frame.checked_sub(self.frames) {
            None => frame * self.frame_len,
            Some(scratch) => self.frames * self.frame_len + scratch * self.scratch_len,
        }
    }

    pub(super) fn len(&self, frame: usize) -> usize {
        if frame < self.frames { self.frame_len } else { self.scratch_len }
    }
}

/// The memory of a window. Cloning it shares the memory and keeps it mapped; the bytes are reached by frames only.
#[derive(Debug, Clone)]
pub struct Arena(Arc<Mapping>);

#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    layout: Layout,
    /// For each frame, how many views of it live.
    views: Box<[AtomicU32]>,
    /// Unmaps when the last frame, view or storage lets go.
    _map: MmapMut,
}

// SAFETY: `base` points into `_map`, which is owned memory. Nothing in `Mapping` reads or writes through it; `Frame` and
// `View` do, each only within its own frame and under the rules stated there.
unsafe impl Send for Mapping {}
// SAFETY: as above; the counters are atomic.
unsafe impl Sync for Mapping {}

/// When the machine has to give the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    Now,
    /// Page by page, when it is written to; none of it is promised.
    Later,
}

impl Arena {
    pub(super) fn map(layout: Layout, memory: Memory) -> io::Result<Arena> {
        let bytes = layout.bytes();
        let mut options = MmapOptions::new();
        options.len(bytes + HUGE);
        if memory == Memory::Later {
            options.no_reserve_swap();
        }
        let mut map = options.map_anon()?;
        let skip = map.as_ptr().align_offset(HUGE);
        if memory == Memory::Now {
            commit(&mut map, skip, bytes)?;
        }
        // SAFETY: `skip < HUGE` and the mapping is `bytes + HUGE` long, so the pointer stays inside of it.
        let base = unsafe { NonNull::new_unchecked(map.as_mut_ptr().add(skip)) };
        let views = (0..layout.count()).map(|_| AtomicU32::new(0)).collect();
        Ok(Arena(Arc::new(Mapping { base, layout, views, _map: map })))
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// The address ranges to register with the kernel: each at most 1 GiB, no frame in two of them.
    pub fn buffers(&self) -> impl Iterator<Item = (NonNull<u8>, usize)> {
        let Layout { frame_len, frames, scratch_len, scratch } = self.0.layout;
        let own = chunks(frames, MAX_BUFFER / frame_len).map(move |(first, count)| (first, count * frame_len));
        let rest = chunks(scratch, MAX_BUFFER / scratch_len.max(1))
            .map(move |(first, count)| (frames + first, count * scratch_len));
        own.chain(rest).map(|(frame, len)| (self.address(frame), len))
    }

    /// Which of [`Arena::buffers`] holds a frame.
    pub fn buffer_of(&self, frame: FrameId) -> usize {
        let Layout { frame_len, frames, scratch_len, .. } = self.0.layout;
        let per_buffer = MAX_BUFFER / frame_len;
        match frame.index().checked_sub(frames) {
            None => frame.index() / per_buffer,
            Some(scratch) => frames.div_ceil(per_buffer) + scratch / (MAX_BUFFER / scratch_len),
        }
    }

    /// Whether a frame is part of this arena.
    pub fn owns(&self, frame: &Frame) -> bool {
        Arc::ptr_eq(&self.0, &frame.arena().0)
    }

    /// The size of all frames together.
    pub fn bytes(&self) -> usize {
        self.0.layout.bytes()
    }

    pub(super) fn address(&self, frame: usize) -> NonNull<u8> {
        debug_assert!(frame < self.0.layout.count());
        // SAFETY: the layout is within the mapping, and `start` is within the layout.
        unsafe { self.0.base.add(self.0.layout.start(frame)) }
    }

    /// How many views of a frame live.
    pub(super) fn views(&self, frame: FrameId) -> &AtomicU32 {
        &self.0.views[frame.index()]
    }
}

/// Splits `0..count` into runs of at most `run`: the first of each, and its length.
fn chunks(count: usize, run: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).step_by(run.max(1)).map(move |first| (first, run.min(count - first)))
}

/// Asks for huge pages, then makes the kernel give the memory now.
fn commit(map: &mut MmapMut, start: usize, len: usize) -> io::Result<()> {
    let range = &mut map[start..start + len];
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // Refused where the kernel is built without huge pages: then they are simply not used.
        let _ = advise(range, libc::MADV_HUGEPAGE);
        match advise(range, MADV_POPULATE_WRITE) {
            Ok(()) => return Ok(()),
            // Older than Linux 5.14: touch the pages by hand.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Err(error) => return Err(error),
        }
    }
    for byte in range.iter_mut().step_by(ALIGN) {
        // SAFETY: `byte` is a valid exclusive reference. A volatile write, since fresh memory is known to be zero and
        // a plain one could be left out.
        unsafe { std::ptr::write_volatile(byte, 0) };
    }
    Ok(())
}

/// Asks the system to put `memory`, which nobody has written to yet, into huge pages, where it has any: what is read from end
/// to end is read faster there. What is in it does not change, and where it is too short nothing happens.
pub fn prefer_huge_pages<T>(memory: &mut [T]) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if size_of_val(memory) >= HUGE {
        // From the beginning of the first page on: so neighbouring blocks of memory share the huge page between them.
        let address = memory.as_mut_ptr().cast::<u8>();
        let before = address.addr() % ALIGN;
        // SAFETY: pages of which a part is ours are mapped, and this advice changes nothing that is in them, whosever it is.
        unsafe {
            libc::madvise(address.wrapping_sub(before).cast(), size_of_val(memory) + before, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = memory;
}

/// Not named by every libc that has it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MADV_POPULATE_WRITE: libc::c_int = 23;

#[cfg(any(target_os = "linux", target_os = "android"))]
fn advise(range: &mut [u8], advice: libc::c_int) -> io::Result<()> {
    // SAFETY: the range is mapped and exclusively ours, and neither advice that is given changes its contents.
    match unsafe { libc::madvise(range.as_mut_ptr().cast(), range.len(), advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_everything_once() {
        assert_eq!(chunks(7, 3).collect::<Vec<_>>(), [(0, 3), (3, 3), (6, 1)]);
        assert_eq!(chunks(0, 3).count(), 0);
    }
}
