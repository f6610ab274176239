//! The seam to flash: reads go in with the frame they fill, and the frame comes back, filled or with a fault.
//!
//! **Whoever holds the frame owns the memory.** A [`Read`] moves its [`Frame`] into the storage, a [`Done`] moves it
//! back, error or not; no two owners, no lock, and memory that the kernel still writes to cannot be freed or reused.
//!
//! What every backend promises, so that nobody above has to check again:
//! * each submitted read comes back exactly once, in any order;
//! * short reads, interrupted calls and passing faults are dealt with inside (`transfer.rs`);
//! * `Ok` means that at least [`Read::need`] bytes of the frame are the file's bytes.

mod auto;
#[allow(unsafe_code, reason = "system calls")]
mod file;
#[allow(unsafe_code, reason = "maps files")]
mod mmap;
mod pread;
#[cfg(test)]
mod tests;
mod transfer;
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "hands memory to the kernel")]
mod uring;

pub use auto::{AnyStorage, Backend, Choice, OpenError, PassedOver, UnknownBackend, open};
pub use mmap::MmapStorage;
pub use pread::PreadStorage;
#[cfg(target_os = "linux")]
pub use uring::UringStorage;

use std::io;

use crate::ids::{ALIGN, FileId};
use crate::window::Frame;

/// One read, with the memory it fills.
#[derive(Debug)]
pub struct Read {
    /// Comes back in [`Done::tag`]; the storage does not look at it.
    pub tag: u64,
    /// The file.
    pub file: FileId,
    /// Where to read; a multiple of [`ALIGN`].
    pub offset: u64,
    /// How much to read into the frame's start; a multiple of [`ALIGN`], at most the frame's length.
    pub len: u32,
    /// How many of these bytes must arrive; the end of the file may cut the rest.
    pub need: u32,
    /// The memory to fill.
    pub frame: Frame,
}

/// A read that has ended. The frame is back, whatever the result.
#[derive(Debug)]
pub struct Done {
    /// The [`Read::tag`].
    pub tag: u64,
    /// The [`Read::frame`].
    pub frame: Frame,
    /// Whether the bytes are there.
    pub result: Result<(), ReadFault>,
}

/// Why the bytes of a read are not there.
#[derive(Debug, thiserror::Error)]
pub enum ReadFault {
    /// The file ends too early: it was truncated, or never as long as its header says.
    #[error("the file ends at byte {end}, but the bytes up to {wanted} are needed; it was truncated")]
    Shrunk {
        /// Where the file ends.
        end: u64,
        /// One past the last byte that is needed.
        wanted: u64,
    },
    /// The operating system failed to read, after retries.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// How [`Storage::reap`] waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: take what is there.
    No,
    /// Until at least one read has ended, if any is in flight.
    One,
}

/// Flash, or something that stands for it.
pub trait Storage {
    /// How many reads may be in flight at once.
    fn depth(&self) -> usize;

    /// What offsets and lengths are multiples of when a read reaches the device; divides [`ALIGN`].
    fn alignment(&self) -> usize;

    /// Takes a read. It may only start at the next [`flush`](Storage::flush) or [`reap`](Storage::reap).
    ///
    /// Never fails: what goes wrong is told by the [`Done`].
    ///
    /// # Panics
    /// When `depth` reads are in flight already, or the read is not aligned or longer than its frame.
    fn submit(&mut self, read: Read);

    /// Starts every read that was taken: one system call for a whole round, where the backend can.
    fn flush(&mut self) {}

    /// Moves the reads that have ended to `done`, after a `flush`.
    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>);

    /// How many reads were taken and not given back.
    fn in_flight(&self) -> usize;

    /// The backend and how it reads, in one line for people.
    fn describe(&self) -> String;
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn depth(&self) -> usize {
        (**self).depth()
    }
    fn alignment(&self) -> usize {
        (**self).alignment()
    }
    fn submit(&mut self, read: Read) {
        (**self).submit(read);
    }
    fn flush(&mut self) {
        (**self).flush();
    }
    fn reap(&mut self, wait: Wait, done: &mut Vec<Done>) {
        (**self).reap(wait, done);
    }
    fn in_flight(&self) -> usize {
        (**self).in_flight()
    }
    fn describe(&self) -> String {
        (**self).describe()
    }
}

/// The contract of [`Storage::submit`], in one place for all backends.
pub(crate) fn check(read: &Read, in_flight: usize, depth: usize, files: usize) {
    let aligned = read.offset.is_multiple_of(ALIGN as u64) && (read.len as usize).is_multiple_of(ALIGN);
    assert!(in_flight < depth, "a read is submitted while {in_flight} of {depth} are in flight");
    assert!(aligned && read.len as usize <= read.frame.len() && read.need <= read.len, "{read:?} is not a valid read");
    assert!(read.file.index() < files, "{read:?} names a file that is not open");
}
