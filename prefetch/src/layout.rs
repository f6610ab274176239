//! Tensors are cut into pages: whole rows of one tensor, at most one frame long.
//!
//! Page numbers follow the plan, so that "the next page" and "the page with the next number" are the same thing.
//!
//! A page occupies a whole frame however short it is, so the length of the frames decides how much of the window is
//! lost. [`Layout::choose_frame_len`] looks for the length that loses least on the tensors at hand: a transformer
//! repeats a handful of shapes in every layer, so there is nearly always a length that divides the large ones well.
//!
//! The pages of an expert follow one another, and every expert of a layer is cut at the same rows: so page `i` of expert `e`
//! is found by a multiplication, and experts can be exchanged for one another frame by frame.

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

/// What is used together: a tensor that every token needs whole, or one of several experts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Needed by every token.
    Dense(TensorExtent),
    /// Of these a token needs a few, each of them whole.
    Experts {
        /// The matrices of the first expert. Those of the others follow, each behind the same one of the expert before.
        tensors: Vec<TensorExtent>,
        /// How many experts there are.
        count: u32,
    },
}

impl From<TensorExtent> for Segment {
    fn from(extent: TensorExtent) -> Self {
        Segment::Dense(extent)
    }
}

impl Segment {
    /// The tensors; those of experts as they are for the first.
    pub fn tensors(&self) -> &[TensorExtent] {
        match self {
            Segment::Dense(extent) => std::slice::from_ref(extent),
            Segment::Experts { tensors, .. } => tensors,
        }
    }

    /// How often the tensors are there: once, or once for each expert.
    pub fn copies(&self) -> u32 {
        match self {
            Segment::Dense(_) => 1,
            Segment::Experts { count, .. } => *count,
        }
    }

    /// Bytes of everything, all experts included.
    pub fn bytes(&self) -> u64 {
        u64::from(self.copies()) * self.tensors().iter().map(TensorExtent::bytes).sum::<u64>()
    }

    /// Pages of one copy at most, whatever the over-read; of experts exactly so many.
    fn pages(&self, frame_len: usize) -> u64 {
        self.tensors().iter().map(|t| pages_estimate(t, frame_len)).sum()
    }
}

/// The pages of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentPages {
    /// All of them, expert after expert.
    pub pages: Range<u32>,
    /// How many experts there are; `None` where every token needs all pages.
    pub experts: Option<u32>,
}

/// The rows that a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRows {
    /// Index of the tensor among those of all segments.
    pub tensor: u32,
    /// The first row; of an expert's matrix, counted from that expert's first.
    pub first: u32,
    /// How many rows.
    pub count: u32,
}

/// A row is longer than the frames can be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("tensor {tensor}: a row of {row_bytes} bytes does not fit a frame of {frame_len} bytes")]
pub struct RowTooLong {
    /// Index of the tensor among those of all segments.
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
    /// For each tensor, its pages; of an expert's matrix, those of the first expert.
    pub tensors: Vec<Range<u32>>,
    /// For each segment, its pages.
    pub segments: Vec<SegmentPages>,
}

impl Layout {
    /// Cuts `segments`, which come in the order of the plan, into pages of at most `frame_len` bytes, over-read included.
    ///
    /// # Errors
    /// When one row of a tensor is longer than a frame.
    pub fn cut(segments: &[Segment], frame_len: usize) -> Result<Self, RowTooLong> {
        let (specs, rows, tensors, segment_pages) = Default::default();
        let mut layout = Layout { frame_len, specs, rows, tensors, segments: segment_pages };
        for segment in segments {
            let begin = layout.specs.len() as u32;
            let first_tensor = layout.tensors.len();
            for copy in 0..segment.copies() {
                for (i, extent) in segment.tensors().iter().enumerate() {
                    let first_page = layout.specs.len() as u32;
                    let offset = extent.offset + u64::from(copy) * extent.bytes();
                    let most = match segment {
                        Segment::Dense(_) => None,
                        Segment::Experts { .. } => Some(rows_that_always_fit(extent.row_bytes, frame_len)),
                    };
                    layout.cut_tensor(first_tensor + i, TensorExtent { offset, ..*extent }, most)?;
                    if copy == 0 {
                        layout.tensors.push(first_page..layout.specs.len() as u32);
                    }
                }
            }
            let experts = match segment {
                Segment::Dense(_) => None,
                Segment::Experts { count, .. } => Some(*count),
            };
            layout.segments.push(SegmentPages { pages: begin..layout.specs.len() as u32, experts });
        }
        Ok(layout)
    }

    /// Adds the pages of one tensor: as many rows in each as fit, or `rows` of them.
    fn cut_tensor(&mut self, index: usize, extent: TensorExtent, rows: Option<u32>) -> Result<(), RowTooLong> {
        let mut first = 0;
        while first < extent.rows {
            let offset = extent.offset + u64::from(first) * u64::from(extent.row_bytes);
            let fit = rows.unwrap_or_else(|| rows_that_fit(offset, extent.row_bytes, self.frame_len));
            let count = fit.min(extent.rows - first);
            if count == 0 {
                return Err(RowTooLong { tensor: index, row_bytes: extent.row_bytes, frame_len: self.frame_len });
            }
            self.specs.push(PageSpec { file: extent.file, offset, len: count * extent.row_bytes });
            self.rows.push(PageRows { tensor: index as u32, first, count });
            first += count;
        }
        Ok(())
    }

    /// The frame length, a multiple of [`ALIGN`] within a third of `target`, that loses the least memory to pages
    /// shorter than a frame; of equals the one nearest to `target`.
    pub fn choose_frame_len(segments: &[Segment], target: usize) -> usize {
        let longest_row = segments.iter().flat_map(Segment::tensors).map(|t| t.row_bytes as usize).max().unwrap_or(0);
        let least = (longest_row + 2 * ALIGN).next_multiple_of(ALIGN);
        let low = (target * 2 / 3).next_multiple_of(ALIGN).max(least);
        let high = (target * 4 / 3).max(low);
        let total: u64 = segments.iter().map(Segment::bytes).sum();
        let lost = |frame_len: usize| Self::most_pages(segments, frame_len) * frame_len as u64 - total;
        // A hundredth of the model is not worth an odd read size; it keeps the choice near the target.
        let grain = (total / 400).max(1);
        (low..=high).step_by(ALIGN).min_by_key(|&len| (lost(len) / grain, len.abs_diff(target))).unwrap_or(least)
    }

    /// How many pages [`Layout::cut`] makes at most, without making them.
    pub fn most_pages(segments: &[Segment], frame_len: usize) -> u64 {
        segments.iter().map(|s| u64::from(s.copies()) * s.pages(frame_len)).sum()
    }

    /// How many pages the largest expert has, without making them; 0 where there are no experts.
    pub fn pages_per_expert(segments: &[Segment], frame_len: usize) -> u64 {
        let experts = segments.iter().filter(|s| matches!(s, Segment::Experts { .. }));
        experts.map(|s| s.pages(frame_len)).max().unwrap_or(0)
    }

    /// Number of pages.
    pub fn page_count(&self) -> usize {
        self.specs.len()
    }

    /// Bytes of all pages, without over-read.
    pub fn bytes(&self) -> u64 {
        self.specs.iter().map(|s| u64::from(s.len)).sum()
    }

    /// The page of `tensor`, which every token needs whole, that holds `row`.
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

/// How many whole rows fit a frame wherever the first begins.
fn rows_that_always_fit(row_bytes: u32, frame_len: usize) -> u32 {
    (frame_len.saturating_sub(ALIGN) as u64 / u64::from(row_bytes.max(1))) as u32
}

/// Pages that a tensor takes at most, whatever the over-read at the front; [`Layout::cut`] gives the exact count.
fn pages_estimate(extent: &TensorExtent, frame_len: usize) -> u64 {
    u64::from(extent.rows).div_ceil(u64::from(rows_that_always_fit(extent.row_bytes, frame_len).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(offset: u64, rows: u32, row_bytes: u32) -> TensorExtent {
        TensorExtent { file: FileId(0), offset, rows, row_bytes }
    }

    fn dense(extents: &[TensorExtent]) -> Vec<Segment> {
        extents.iter().copied().map(Segment::from).collect()
    }

    #[test]
    fn a_row_longer_than_a_frame_is_refused() {
        let error = Layout::cut(&dense(&[extent(0, 1, 100), extent(64, 2, 9000)]), 8192).unwrap_err();
        assert_eq!(error.to_string(), "tensor 1: a row of 9000 bytes does not fit a frame of 8192 bytes");
    }

    #[test]
    fn the_chosen_frame_divides_the_tensors_that_matter() {
        // gate/up and down of a 1.5B model in Q4_K: the best length loses well under a fiftieth.
        let tensors: Vec<_> =
            (0..28).flat_map(|i| [extent(i << 30, 8960, 864), extent((i << 30) + (1 << 29), 1536, 7350)]).collect();
        let tensors = dense(&tensors);
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
            let segments = dense(&tensors);
            let Ok(layout) = Layout::cut(&segments, frame_len) else {
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
            prop_assert!(layout.page_count() as u64 <= Layout::most_pages(&segments, frame_len));
        }

        #[test]
        fn every_expert_is_cut_in_the_same_way(
            offset in 0u64..100_000,
            shapes in prop::collection::vec((1u32..200, 1u32..9000), 1..4),
            count in 1u32..6,
            frames in 4usize..32,
        ) {
            let frame_len = frames * ALIGN;
            let (mut tensors, mut next) = (Vec::new(), offset);
            for &(rows, row_bytes) in &shapes {
                tensors.push(extent(next, rows, row_bytes));
                next += u64::from(count) * tensors[tensors.len() - 1].bytes();
            }
            let segments = [extent(0, 3, 50).into(), Segment::Experts { tensors: tensors.clone(), count }];
            let layout = Layout::cut(&segments, frame_len).unwrap();
            let SegmentPages { pages, experts } = layout.segments[1].clone();
            prop_assert_eq!(experts, Some(count));
            prop_assert_eq!(pages.end as usize, layout.page_count());
            let per_expert = pages.len() / count as usize;
            prop_assert_eq!(per_expert as u64, Layout::pages_per_expert(&segments, frame_len));
            prop_assert_eq!(per_expert * count as usize, pages.len());
            for (i, page) in pages.clone().enumerate() {
                let (spec, rows) = (layout.specs[page as usize], layout.rows[page as usize]);
                let (expert, place) = ((i / per_expert) as u64, i % per_expert);
                prop_assert_eq!(rows, layout.rows[pages.start as usize + place], "expert {} page {}", expert, place);
                let tensor = tensors[rows.tensor as usize - 1];
                let row = expert * u64::from(tensor.rows) + u64::from(rows.first);
                prop_assert_eq!(spec.offset, tensor.offset + row * u64::from(tensor.row_bytes));
                prop_assert_eq!(spec.len, rows.count * tensor.row_bytes);
                prop_assert!(spec.span().unwrap().len as usize <= frame_len);
            }
            let held: u64 = layout.specs[pages.start as usize..].iter().map(|s| u64::from(s.len)).sum();
            prop_assert_eq!(held, segments[1].bytes());
        }
    }
}
