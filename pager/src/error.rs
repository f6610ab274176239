//! What can go wrong, said so that the place is named: the file, the byte, the page.

use std::path::PathBuf;

use crate::ids::PageId;
use crate::storage::ReadFault;

/// An error of the [`Pager`](crate::Pager).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A page that was demanded could not be read.
    #[error("{}: cannot read {page} at byte {offset}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The page's first byte in the file.
        offset: u64,
        /// The page.
        page: PageId,
        /// What happened.
        source: ReadFault,
    },
    /// A one-off read of [`Pager::gather`](crate::Pager::gather) failed.
    #[error("{}: cannot read {len} bytes at byte {offset}: {source}", file.display())]
    Gather {
        /// The file.
        file: PathBuf,
        /// The first byte in the file.
        offset: u64,
        /// How many bytes were asked for.
        len: u32,
        /// What happened.
        source: ReadFault,
    },
    /// A one-off read that is too long for a scratch frame, empty, or not in a file.
    #[error(
        "a one-off read of {len} bytes at byte {offset} cannot be served: \
         it must be within a file and have 1 to {max} bytes"
    )]
    BadGather {
        /// The first byte in the file.
        offset: u64,
        /// How many bytes were asked for.
        len: u32,
        /// The longest read that fits everywhere; zero without scratch frames.
        max: usize,
    },
    /// A page list that cannot work with this window.
    #[error("{page} ({len} bytes at byte {offset}) {why}")]
    Page {
        /// The page.
        page: PageId,
        /// Its first byte in the file.
        offset: u64,
        /// Its length.
        len: u32,
        /// What is wrong with it.
        why: PageDefect,
    },
}

/// What makes a page impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageDefect {
    /// It has no bytes.
    #[error("is empty")]
    Empty,
    /// Its file is not in the list.
    #[error("names file {file}, but there are {files}")]
    NoSuchFile {
        /// The file's number.
        file: u16,
        /// How many files there are.
        files: usize,
    },
    /// It ends beyond the largest file offset.
    #[error("ends beyond the largest file offset")]
    Overflow,
    /// Its aligned span is longer than a frame.
    #[error("needs an aligned read of {span} bytes, but a frame has {frame}")]
    TooLong {
        /// The length of its aligned span.
        span: u32,
        /// The length of a frame.
        frame: usize,
    },
    /// Pages are numbered by 32 bits.
    #[error("is beyond the largest page number")]
    TooMany,
}
