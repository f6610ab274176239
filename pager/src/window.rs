//! The window: one arena of memory, carved into frames, whose size is the budget.
//!
//! The arena is mapped once, aligned for huge pages, and touched up front: what the window says it holds it really
//! holds, and a budget that the machine cannot give fails here rather than in the middle of a token.
//!
//! A frame has exactly one owner, its [`Frame`], which moves from the pager into a read and back. While nobody views
//! it, the owner may write to it; while a [`View`] lives, nobody may. The count of views is kept in the arena, beside
//! the frame, so that this rule is checked and not merely believed:
//!
//! ```text
//!  Arena  | frame 0 | frame 1 | ... | frame n-1 | scratch 0 | scratch 1 | ...     one mapping, never moves
//!  views  |    0    |    2    | ... |     0     |     0     |     0     | ...     one counter a frame
//! ```

use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapMut, MmapOptions};

use crate::ids::{ALIGN, FrameId};

/// Huge pages of x86-64 and of aarch64 with 4 KiB base pages.
const HUGE: usize = 2 << 20;

/// The kernel takes at most 1 GiB in one registered buffer.
const MAX_BUFFER: usize = 1 << 30;

/// A few small frames beside the window's own, for [`Pager::gather`](crate::Pager::gather).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scratch {
    /// The longest single read, wherever in the file it lies.
    pub max_len: usize,
    /// How many may be in flight at once.
    pub frames: usize,
}

/// Why a window could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// The frame length cannot be used for aligned reads.
    #[error("a frame of {frame_len} bytes cannot be used: it must be a multiple of {ALIGN}, and at most 1 GiB")]
    FrameLen {
        /// The length asked for.
        frame_len: usize,
    },
    /// There must be at least one frame.
    #[error("a window needs at least one frame")]
    NoFrames,
    /// More than the address space, or more frames than a `u32` counts.
    #[error("a window of {frames} frames of {frame_len} bytes is larger than this machine can address")]
    TooLarge {
        /// The length asked for.
        frame_len: usize,
        /// The count asked for.
        frames: usize,
    },
    /// The operating system has not the memory.
    #[error("cannot get {bytes} bytes of memory for the window")]
    Memory {
        /// The size of the whole arena.
        bytes: usize,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The frames of one arena, before a [`Pager`](crate::Pager) takes them.
#[derive(Debug)]
pub struct Window {
    pub(crate) arena: Arena,
    pub(crate) frames: Vec<Frame>,
    pub(crate) scratch: Vec<Frame>,
}

impl Window {
    /// A window of `frames` frames of `frame_len` bytes each, without scratch frames.
    pub fn new(frame_len: usize, frames: usize) -> Result<Window, WindowError> {
        Window::with_scratch(frame_len, frames, Scratch { max_len: 0, frames: 0 })
    }

    /// A window with scratch frames in the same arena; they count in [`Window::bytes`].
    pub fn with_scratch(frame_len: usize, frames: usize, scratch: Scratch) -> Result<Window, WindowError> {
        if frame_len == 0 || !frame_len.is_multiple_of(ALIGN) || frame_len > MAX_BUFFER {
            return Err(WindowError::FrameLen { frame_len });
        }
        if frames == 0 {
            return Err(WindowError::NoFrames);
        }
        let layout = Layout::new(frame_len, frames, scratch).ok_or(WindowError::TooLarge { frame_len, frames })?;
        let bytes = layout.bytes();
        let arena = Arena::map(layout).map_err(|source| WindowError::Memory { bytes, source })?;
        let frame = |index| Frame { arena: arena.clone(), id: FrameId(index as u32) };
        let scratch = (frames..arena.0.layout.count()).map(frame).collect();
        Ok(Window { frames: (0..frames).map(frame).collect(), scratch, arena })
    }

    /// How long each frame is.
    pub fn frame_len(&self) -> usize {
        self.arena.0.layout.frame_len
    }

    /// How many frames there are, scratch frames not counted.
    pub fn frame_count(&self) -> usize {
        self.arena.0.layout.frames
    }

    /// What the window really takes from the machine: all frames and scratch frames.
    pub fn bytes(&self) -> usize {
        self.arena.0.layout.bytes()
    }

    /// The arena, for a storage that registers its memory with the kernel.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// Takes the window apart: the frames and the scratch frames.
    pub fn into_frames(self) -> (Vec<Frame>, Vec<Frame>) {
        (self.frames, self.scratch)
    }
}

/// How the arena is carved. All sums were checked by [`Layout::new`].
#[derive(Debug, Clone, Copy)]
struct Layout {
    frame_len: usize,
    frames: usize,
    scratch_len: usize,
    scratch: usize,
}

impl Layout {
    fn new(frame_len: usize, frames: usize, scratch: Scratch) -> Option<Layout> {
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

    fn count(&self) -> usize {
        self.frames + self.scratch
    }

    fn bytes(&self) -> usize {
        self.frame_len * self.frames + self.scratch_len * self.scratch
    }

    fn start(&self, frame: usize) -> usize {
        match frame.checked_sub(self.frames) {
            None => frame * self.frame_len,
            Some(scratch) => self.frames * self.frame_len + scratch * self.scratch_len,
        }
    }

    fn len(&self, frame: usize) -> usize {
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
    /// For each frame, how many [`View`]s of it live.
    views: Box<[AtomicU32]>,
    /// Unmaps when the last frame, view or storage lets go.
    _map: MmapMut,
}

// SAFETY: `base` points into `_map`, which is owned memory. Nothing in `Mapping` reads or writes through it; `Frame` and
// `View` do, each only within its own frame and under the rules stated there.
unsafe impl Send for Mapping {}
// SAFETY: as above; the counters are atomic.
unsafe impl Sync for Mapping {}

impl Arena {
    fn map(layout: Layout) -> io::Result<Arena> {
        let bytes = layout.bytes();
        let mut map = MmapOptions::new().len(bytes + HUGE).map_anon()?;
        let skip = map.as_ptr().align_offset(HUGE);
        commit(&mut map, skip, bytes)?;
        // SAFETY: `skip < HUGE` and the mapping is `bytes + HUGE` long, so the pointer stays inside of it.
        let base = unsafe { NonNull::new_unchecked(map.as_mut_ptr().add(skip)) };
        let views = (0..layout.count()).map(|_| AtomicU32::new(0)).collect();
        Ok(Arena(Arc::new(Mapping { base, layout, views, _map: map })))
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
        Arc::ptr_eq(&self.0, &frame.arena.0)
    }

    /// The size of all frames together.
    pub fn bytes(&self) -> usize {
        self.0.layout.bytes()
    }

    fn address(&self, frame: usize) -> NonNull<u8> {
        debug_assert!(frame < self.0.layout.count());
        // SAFETY: the layout is within the mapping, and `start` is within the layout.
        unsafe { self.0.base.add(self.0.layout.start(frame)) }
    }

    fn views(&self, frame: FrameId) -> &AtomicU32 {
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

/// One frame of memory, owned: whoever has it may fill it, and nobody else can.
///
/// It keeps the arena mapped, so a read in flight never outlives its memory, whatever is dropped first.
#[derive(Debug)]
pub struct Frame {
    arena: Arena,
    id: FrameId,
}

impl Frame {
    /// Which slot of the window this is.
    pub fn id(&self) -> FrameId {
        self.id
    }

    /// Its length in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a frame is never empty")]
    pub fn len(&self) -> usize {
        self.arena.0.layout.len(self.id.index())
    }

    /// The arena that it is part of.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The bytes, to read.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range is inside the arena, which `self.arena` keeps mapped, and initialised (anonymous memory
        // starts as zeros). Writing needs the one `&mut Frame`, which cannot exist beside `&self`.
        unsafe { slice::from_raw_parts(self.arena.address(self.id.index()).as_ptr(), self.len()) }
    }

    /// The bytes, to fill.
    ///
    /// # Panics
    /// When a [`View`] of the frame lives: the pager never gives such a frame away.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        assert!(!self.is_viewed(), "frame {} is written to while it is leased", self.id.0);
        // SAFETY: as in `bytes`; besides, `&mut self` is the only way to this frame: there is one `Frame` for each id,
        // no view lives (checked above), and none can start while `self` is borrowed.
        unsafe { slice::from_raw_parts_mut(self.arena.address(self.id.index()).as_ptr(), self.len()) }
    }

    /// Whether a view of it lives.
    #[inline]
    pub fn is_viewed(&self) -> bool {
        // Acquire pairs with the release in `View::drop`: what the viewer read, it read before we write.
        self.arena.views(self.id).load(Ordering::Acquire) != 0
    }

    /// Shares `len` bytes from `start` until the view is dropped.
    ///
    /// # Panics
    /// When the range is not within the frame.
    #[inline]
    pub fn view(&self, start: usize, len: usize) -> View {
        let bytes = NonNull::from(&self.bytes()[start..start + len]);
        let before = self.arena.views(self.id).fetch_add(1, Ordering::Relaxed);
        assert!(before < u32::MAX / 2, "views of frame {} are leaked in a loop", self.id.0);
        View { bytes, frame: self.id, arena: self.arena.clone() }
    }
}

/// A shared look at the bytes of a frame. While it lives the frame is not written to; threads may hold it.
#[derive(Debug)]
pub struct View {
    bytes: NonNull<[u8]>,
    frame: FrameId,
    arena: Arena,
}

// SAFETY: a view gives shared access to plain bytes that nobody writes to while it lives.
unsafe impl Send for View {}
// SAFETY: as above.
unsafe impl Sync for View {}

impl View {
    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the range was checked by `Frame::view`, `self.arena` keeps it mapped, and the count of views, which
        // this view holds up, keeps `Frame::bytes_mut` from writing to it.
        unsafe { self.bytes.as_ref() }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.arena.views(self.frame).fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_aligned_apart_and_writable() {
        let scratch = Scratch { max_len: 5000, frames: 3 };
        let (mut frames, mut small) = Window::with_scratch(3 * ALIGN, 5, scratch).unwrap().into_frames();
        assert_eq!((frames.len(), small.len()), (5, 3));
        assert!(small.iter().all(|frame| frame.len() == 3 * ALIGN));
        frames.append(&mut small);
        for (i, frame) in frames.iter_mut().enumerate() {
            assert_eq!(frame.id(), FrameId(i as u32));
            assert!(frame.bytes().as_ptr().addr().is_multiple_of(ALIGN));
            frame.bytes_mut().fill(i as u8 + 1);
        }
        for (i, frame) in frames.iter().enumerate() {
            assert!(frame.bytes().iter().all(|&b| b == i as u8 + 1));
        }
    }

    #[test]
    fn every_frame_lies_in_the_buffer_that_is_named_for_it() {
        let scratch = Scratch { max_len: 1, frames: 2 };
        let window = Window::with_scratch(2 * ALIGN, 7, scratch).unwrap();
        let buffers: Vec<_> = window.arena().buffers().collect();
        assert_eq!(buffers.iter().map(|b| b.1).sum::<usize>(), window.bytes());
        for frame in window.frames.iter().chain(&window.scratch) {
            let (start, len) = buffers[window.arena().buffer_of(frame.id())];
            let at = frame.bytes().as_ptr().addr();
            assert!(at >= start.addr().get() && at + frame.len() <= start.addr().get() + len);
        }
    }

    #[test]
    fn chunks_cover_everything_once() {
        assert_eq!(chunks(7, 3).collect::<Vec<_>>(), [(0, 3), (3, 3), (6, 1)]);
        assert_eq!(chunks(0, 3).count(), 0);
    }

    #[test]
    fn a_view_outlives_its_frame_and_forbids_writing() {
        let (mut frames, _) = Window::new(ALIGN, 1).unwrap().into_frames();
        let mut frame = frames.pop().unwrap();
        frame.bytes_mut()[7] = 42;
        let view = frame.view(7, 1);
        assert!(frame.is_viewed());
        let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| frame.bytes_mut()[7] = 0));
        assert!(refused.is_err());
        drop(frame);
        assert_eq!(view.bytes(), [42]);
    }

    #[test]
    fn impossible_windows_are_errors() {
        let text = |frame_len, frames| Window::new(frame_len, frames).unwrap_err().to_string();
        assert_eq!(
            text(1000, 1),
            "a frame of 1000 bytes cannot be used: it must be a multiple of 4096, and at most 1 GiB"
        );
        assert_eq!(text(4096, 0), "a window needs at least one frame");
        assert_eq!(
            text(4096, usize::MAX / 4096),
            format!("a window of {} frames of 4096 bytes is larger than this machine can address", usize::MAX / 4096)
        );
    }
}
