//! The interleaved layout of weights that prompts are multiplied in.
//!
//! In a file a row of weights lies on its own, and so it is read in place when one token, or a few, come by. For many tokens
//! that would mean unpacking each row again and again, and adding up across vectors at the end of each block. So sixteen
//! rows at a time are unpacked to a *panel* in which the lanes of a vector are the rows: quants as plain bytes, a few of each
//! row at a time, and scales in planes of their own. On AVX2, whose products take one operand without signs, that is the
//! quants where their format can be made unsigned; elsewhere they are signed. A panel is made in a thread's own scratch memory, meets
//! all tokens, and is forgotten: nothing is kept in memory twice, and streamed weights need no other form on flash.
//!
//! The activations come in *tiles* of eight tokens ([`tile`](super::tile)), interleaved likewise.

use bytemuck::{Pod, Zeroable};

use super::Isa;
use super::gemm::with_gemm;

/// Rows of a panel.
pub(super) const PANEL: usize = 16;

/// How quants are interleaved, and what else a level's product wants of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// Neighbours that stay together: this many of a row, of the next row, and so on; then the next of each. The same for
    /// the tokens of a tile. 4 or 8.
    pub(super) group: usize,
    /// What is added to activations, for instructions that want one operand without signs; taken back with
    /// [`Panel32::bias`].
    pub(super) offset: u8,
}

/// A value for each row.
pub(super) type Plane<T> = [T; PANEL];

/// One block of 32 of each row.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Panel32 {
    /// Interleaved by [`Order::group`].
    pub(super) quants: [[i8; 64]; 8],
    pub(super) scales: Plane<f32>,
    pub(super) mins: Plane<f32>,
    /// Minus [`Order::offset`] times the sum of the quants: what a sum of products begins with.
    pub(super) bias: Plane<i32>,
}

/// One block of 256 of each row.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Panel256 {
    /// Interleaved by [`Order::group`].
    pub(super) quants: [[i8; 64]; 64],
    /// The sub-scales, of which there are 8 or 16. Where products take 16 bits at a time the upper halves are zero.
    pub(super) sub_scales: [Plane<i32>; 16],
    /// As [`Panel32::bias`], for each sub-block.
    pub(super) bias: [Plane<i32>; 16],
    /// The mins of sub-blocks, two neighbours together; 4 or 8 pairs. On AVX2, in formats without mins, what making the
    /// quants unsigned adds.
    pub(super) sub_mins: [Plane<[i16; 2]>; 8],
    pub(super) scales: Plane<f32>,
    pub(super) mins: Plane<f32>,
    /// The largest sum of the squares of a sub-block's quants, where the level's product looks at it.
    pub(super) squares: u32,
    unused: [u32; 15],
}

/// A cache line.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 64]);

/// The memory that products with many tokens work in: panels for each thread.
#[derive(Debug)]
pub struct Panels {
    lines: Vec<Line>,
    per_thread: usize,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

impl Panels {
    /// What the panels of a thread should take: a part of its second-level cache, so that they are still there when the
    /// next tile comes.
    const PER_THREAD: usize = 512 << 10;

    /// For products on level `isa` by `threads` threads, of rows of up to `max_cols` weights. Levels that know no panels
    /// take none.
    pub fn new(isa: Isa, threads: usize, max_cols: usize) -> Self {
        let per_thread = Self::lines(isa, max_cols);
        Self { lines: vec![Line::zeroed(); threads * per_thread], per_thread }
    }

    /// The bytes that [`Panels::new`] takes from memory.
    pub fn bytes(isa: Isa, threads: usize, max_cols: usize) -> usize {
        threads * Self::lines(isa, max_cols) * size_of::<Line>()
    }

    /// Two panels at least.
    fn lines(isa: Isa, max_cols: usize) -> usize {
        let two = 2 * max_cols.div_ceil(256) * size_of::<Panel256>();
        with_gemm!(isa, _level => two.max(Self::PER_THREAD).div_ceil(size_of::<Line>()), _ => 0)
    }

    /// All lines, and how many each thread has.
    pub(super) fn parts(&mut self) -> (&mut [Line], usize) {
        (&mut self.lines, self.per_thread)
    }
}
