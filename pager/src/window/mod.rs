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

mod arena;

use std::io;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::Ordering;

pub use self::arena::{Arena, prefer_huge_pages};
use self::arena::{Layout, MAX_BUFFER, Memory};
use crate::ids::{ALIGN, FrameId};

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
        Self::map(frame_len, frames, scratch, Memory::Now)
    }

    /// A window whose memory is only had when somebody writes to it: for a storage that delivers no bytes, where windows of
    /// any size can be tried on any machine.
    pub fn unbacked(frame_len: usize, frames: usize, scratch: Scratch) -> Result<Window, WindowError> {
        Self::map(frame_len, frames, scratch, Memory::Later)
    }

    fn map(frame_len: usize, frames: usize, scratch: Scratch, memory: Memory) -> Result<Window, WindowError> {
        if frame_len == 0 || !frame_len.is_multiple_of(ALIGN) || frame_len > MAX_BUFFER {
            return Err(WindowError::FrameLen { frame_len });
        }
        if frames == 0 {
            return Err(WindowError::NoFrames);
        }
        let layout = Layout::new(frame_len, frames, scratch).ok_or(WindowError::TooLarge { frame_len, frames })?;
        let bytes = layout.bytes();
        let arena = Arena::map(layout, memory).map_err(|source| WindowError::Memory { bytes, source })?;
        let frame = |index| Frame { arena: arena.clone(), id: FrameId(index as u32) };
        let scratch = (frames..arena.layout().count()).map(frame).collect();
        Ok(Window { frames: (0..frames).map(frame).collect(), scratch, arena })
    }

    /// How long each frame is.
    pub fn frame_len(&self) -> usize {
        self.arena.layout().frame_len
    }

    /// How many frames there are, scratch frames not counted.
    pub fn frame_count(&self) -> usize {
        self.arena.layout().frames
    }

    /// What the window really takes from the machine: all frames and scratch frames.
    pub fn bytes(&self) -> usize {
        self.arena.layout().bytes()
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
        self.arena.layout().len(self.id.index())
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
    fn a_window_without_memory_may_be_larger_than_the_machine() {
        let scratch = Scratch { max_len: 1, frames: 1 };
        let window = Window::unbacked(1 << 20, 1 << 20, scratch).unwrap();
        let (mut frames, _) = window.into_frames();
        frames[1 << 19].bytes_mut()[5] = 1;
        assert_eq!(frames[1 << 19].view(4, 3).bytes(), [0, 1, 0]);
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
