//! Tensors are cut into pages: whole rows of one tensor, at most one frame long.
//!
//! Page numbers follow the plan, so that "the next page" and "the page with the next number" are the same thing.
//!
//! A page occupies a whole frame however short it is, so the length of the frames decides how much of the window is
//! lost. [`Layout::choose_frame_len`] looks for the length that loses least on the tensors at hand: a transformer
//! repeats a handful of shapes in every layer, so there is nearly always a length that divides the large ones well.

use std::ops::Range;

use forebay_pager::{ALIGN, FileId, PageId, PageSpec};

/// A tensor's place on flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorExtent {
    /// The file that holds it.
    pub file: FileId,
    /// Where its first row begins, in bytes. Need not be aligned.
    pub offset: u64,
    /// Number of rows.
    pub rows: u32,
    /// Bytes of one row.
    pub row_bytes: u32,
}

impl TensorExtent {
    /// Bytes of the whole tensor.
    pub fn bytes(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.row_bytes)
    }
}

/// The rows that a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRows {
    /// Index of the tensor in the list that the layout was cut from.
    pub tensor: u32,
    /// The first row.
    pub first: u32,
    /// How many rows.
    pub count: u32,
}

/// A row is longer than the frames can be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("tensor {tensor}: a row of {row_bytes} bytes does not fit a frame of {frame_len} bytes")]
pub struct RowTooLong {
    /// Index of the tensor in the list given.
    pub tensor: usize,
    /// Bytes of one of its rows.
    pub row_bytes: u32,
    /// The frame length.
    pub frame_len: usize,
}

/// All pages of a model, in the order of the plan.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Bytes of one frame.
    pub frame_len: usize,
    /// Where each page lies on flash.
    pub specs: Vec<PageSpec>,
    /// What each page holds.
    pub rows: Vec<PageRows>,
    /// For each tensor, its pages.
    pub tensors: Vec<Range<u32>>,
}

impl Layout {
    /// Cuts `tensors`, which come in the order of the plan, into pages of at most `frame_len` bytes, over-read included.
    ///
    /// # Errors
    /// When one row of a tensor is longer than a frame.
    pub fn cut(tensors: &[TensorExtent], frame_len: usize) -> Result<Self, RowTooLong> {
        let mut layout = Layout { frame_len, specs: Vec::new(), rows: Vec::new(), tensors: Vec::new() };
        for (index, extent) in tensors.iter().enumerate() {
            let first_page = layout.specs.len() as u32;
            let mut first = 0;
            while first < extent.rows {
                let offset = extent.offset + u64::from(first) * u64::from(extent.row_bytes);
                let count = rows_that_fit(offset, extent.row_bytes, frame_len).min(extent.rows - first);
                if count == 0 {
                    return Err(RowTooLong { tensor: index, row_bytes: extent.row_bytes, frame_len });
                }
                layout.specs.push(PageSpec { file: extent.file, offset, len: count * extent.row_bytes });
                layout.rows.push(PageRows { tensor: index as u32, first, count });
                first += count;
            }
            layout.tensors.push(first_page..layout.specs.len() as u32);
        }
        Ok(layout)
    }

    /// The frame length, a multiple of [`ALIGN`] within a third of `target`, that loses the least memory to pages
    /// shorter than a frame; of equals the one nearest to `target`.
    pub fn choose_frame_len(tensors: &[TensorExtent], target: usize) -> usize {
        let longest_row = tensors.iter().map(|t| t.row_bytes as usize).max().unwrap_or(0);
        let least = (longest_row + 2 * ALIGN).next_multiple_of(ALIGN);
        let low = (target * 2 / 3).next_multiple_of(ALIGN).max(least);
        let high = (target * 4 / 3).max(low);
        let lost = |frame_len: usize| -> u64 {
            tensors.iter().map(|t| pages_estimate(t, frame_len) * frame_len as u64 - t.bytes()).sum()
        };
        // A hundredth of the model is not worth an odd read size; it keeps the choice near the target.
        let total: u64 = tensors.iter().map(TensorExtent::bytes).sum();
        let grain = (total / 400).max(1);
        (low..=high).step_by(ALIGN).min_by_key(|&len| (lost(len) / grain, len.abs_diff(target))).unwrap_or(least)
    }

    /// How many pages [`Layout::cut`] makes at most, without making them.
    pub fn most_pages(tensors: &[TensorExtent], frame_len: usize) -> u64 {
        tensors.iter().map(|t| pages_estimate(t, frame_len)).sum()
    }

    /// Number of pages.
    pub fn page_count(&self) -> usize {
        self.specs.len()
    }

    /// Bytes of all pages, without over-read.
    pub fn bytes(&self) -> u64 {
        self.specs.iter().map(|s| u64::from(s.len)).sum()
    }

    /// The page of `tensor` that holds `row`.
    ///
    /// # Panics
    /// When there is no such tensor or row.
    pub fn page_of_row(&self, tensor: usize, row: u32) -> PageId {
        let pages = self.tensors[tensor].clone();
        let within = &self.rows[pages.start as usize..pages.end as usize];
        let after = within.partition_point(|p| p.first <= row);
        assert!(after > 0 && row < within[after - 1].first + within[after - 1].count, "row {row} is not in the tensor");
        PageId(pages.start + after as u32 - 1)
    }
}

/// How many whole rows fit a frame when the first begins at `offset` and the read is widened to [`ALIGN`] at both ends.
fn rows_that_fit(offset: u64, row_bytes: u32, frame_len: usize) -> u32 {
    let lead = offset % ALIGN as u64;
    let usable = (frame_len as u64).saturating_sub(lead);
    // The aligned end may not pass the frame's end, which is aligned itself: no further allowance is needed.
    (usable / u64::from(row_bytes.max(1))) as u32
}

/// Pages that a tensor takes at most, whatever the over-read at the front; [`Layout::cut`] gives the exact count.
fn pages_estimate(extent: &TensorExtent, frame_len: usize) -> u64 {
    let usable = (frame_len - ALIGN) as u64;
    let rows = (usable / u64::from(extent.row_bytes.max(1))).max(1);
    u64::from(extent.rows).div_ceil(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(offset: u64, rows: u32, row_bytes: u32) -> TensorExtent {
        TensorExtent { file: FileId(0), offset, rows, row_bytes }
    }

    #[test]
    fn a_row_longer_than_a_frame_is_refused() {
        let error = Layout::cut(&[extent(0, 1, 100), extent(64, 2, 9000)], 8192).unwrap_err();
        assert_eq!(error.to_string(), "tensor 1: a row of 9000 bytes does not fit a frame of 8192 bytes");
    }

    #[test]
    fn the_chosen_frame_divides_the_tensors_that_matter() {
        // gate/up and down of a 1.5B model in Q4_K: the best length loses well under a fiftieth.
        let tensors: Vec<_> =
            (0..28).flat_map(|i| [extent(i << 30, 8960, 864), extent((i << 30) + (1 << 29), 1536, 7350)]).collect();
        let frame_len = Layout::choose_frame_len(&tensors, 640 << 10);
        let layout = Layout::cut(&tensors, frame_len).unwrap();
        let held = (layout.page_count() * frame_len) as f64;
        assert!(held / (layout.bytes() as f64) < 1.02, "frame {frame_len}: {held}");
    }

    proptest! {
        #[test]
        fn pages_tile_every_tensor_and_fit_the_frame(
            shapes in prop::collection::vec((0u64..100_000, 1u32..500, 1u32..9000), 1..8),
            frames in 3usize..64,
        ) {
            let frame_len = frames * ALIGN;
            let tensors: Vec<_> = shapes.iter().map(|&(o, r, b)| extent(o, r, b)).collect();
            let Ok(layout) = Layout::cut(&tensors, frame_len) else {
                prop_assert!(tensors.iter().any(|t| t.row_bytes as usize + ALIGN > frame_len));
                return Ok(());
            };
            for (index, t) in tensors.iter().enumerate() {
                let mut next_row = 0;
                for page in layout.tensors[index].clone() {
                    let (spec, rows) = (layout.specs[page as usize], layout.rows[page as usize]);
                    prop_assert_eq!(rows.first, next_row);
                    prop_assert_eq!(spec.offset, t.offset + u64::from(rows.first) * u64::from(t.row_bytes));
                    prop_assert_eq!(spec.len, rows.count * t.row_bytes);
                    let start = spec.offset / ALIGN as u64 * ALIGN as u64;
                    let end = (spec.offset + u64::from(spec.len)).next_multiple_of(ALIGN as u64);
                    prop_assert!((end - start) as usize <= frame_len);
                    prop_assert_eq!(layout.page_of_row(index, rows.first), PageId(page));
                    prop_assert_eq!(layout.page_of_row(index, rows.first + rows.count - 1), PageId(page));
                    next_row += rows.count;
                }
                prop_assert_eq!(next_row, t.rows);
            }
            prop_assert!(layout.page_count() as u64 <= Layout::most_pages(&tensors, frame_len));
        }
    }
}
