//! The words of this crate as types: pages, files, frames, and where a page's bytes lie.

use std::fmt;

/// The granule of every read: offsets, lengths and frame addresses are multiples of it.
///
/// 4096 satisfies direct I/O on every block device in use (logical blocks of 512 or 4096 bytes). A file whose file
/// system asks for more is read through the page cache instead.
pub const ALIGN: usize = 4096;

/// A page: the unit of I/O and of residency. An index into the page list given to [`Pager::new`](crate::Pager::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// A file: an index into the file list given to [`Pager::new`](crate::Pager::new).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u16);

/// A slot of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(pub u32);

impl PageId {
    /// The page's place in the page list.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl FileId {
    /// The file's place in the file list.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl FrameId {
    /// The frame's place in the window.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page {}", self.0)
    }
}

/// Where the bytes of a page lie: exact, with no regard to alignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageSpec {
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub offset: u64,
    /// How many bytes; never zero for a page.
    pub len: u32,
}

impl PageSpec {
    /// One past the last byte, or `None` when the spec overflows the address range of files.
    pub fn end(&self) -> Option<u64> {
        // Offsets are signed in every Unix read call.
        self.offset.checked_add(u64::from(self.len)).filter(|&end| end <= i64::MAX as u64 - ALIGN as u64)
    }

    /// The aligned range around the bytes: what is read. `None` when it overflows.
    pub fn span(&self) -> Option<Span> {
        let align = ALIGN as u64;
        let end = self.end()?;
        let start = self.offset / align * align;
        let len = u32::try_from(end.next_multiple_of(align) - start).ok()?;
        Some(Span { offset: start, len, skip: (self.offset - start) as u32 })
    }
}

/// The aligned range of a file that covers a [`PageSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Aligned start in the file.
    pub offset: u64,
    /// Aligned length.
    pub len: u32,
    /// Bytes between the aligned start and the page's first byte; less than [`ALIGN`].
    pub skip: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: u64, len: u32) -> Option<Span> {
        PageSpec { file: FileId(0), offset, len }.span()
    }

    #[test]
    fn a_span_covers_its_page_and_nothing_more() {
        assert_eq!(span(0, 1), Some(Span { offset: 0, len: 4096, skip: 0 }));
        assert_eq!(span(4095, 1), Some(Span { offset: 0, len: 4096, skip: 4095 }));
        assert_eq!(span(4095, 2), Some(Span { offset: 0, len: 8192, skip: 4095 }));
        assert_eq!(span(8192, 4096), Some(Span { offset: 8192, len: 4096, skip: 0 }));
    }

    #[test]
    fn a_span_that_overflows_is_refused() {
        assert_eq!(span(u64::MAX, 1), None);
        assert_eq!(span(i64::MAX as u64, 1), None);
        assert_eq!(span(4095, u32::MAX), None);
    }
}
