//! The activations of a matrix product, in every form that the weights at hand ask for.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};

use super::gemm::{Gemm, with_gemm};
use super::panel::Line;
use super::quantize::{self, RowQ8, RowQ8K};
use super::shared::each_row;
use super::tile::{self, TILE, Tile32, Tile256};
use super::{Isa, Pool};
use crate::gguf::types::TensorType;

/// A set of forms of activations. A weight type needs one ([`Formats::of`]); a group of matrices with a common input
/// needs the union.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats(u8);

impl Formats {
    /// No form.
    pub const NONE: Self = Self(0);
    /// Single precision, as they are: for `F32`, `F16` and `BF16` weights.
    pub const FLOAT: Self = Self(1);
    /// 8-bit blocks of 32.
    pub const Q8: Self = Self(2);
    /// 8-bit blocks of 256.
    pub const Q8K: Self = Self(4);

    /// The form for weights of type `ty`, or none where there is no kernel for it.
    pub const fn of(ty: TensorType) -> Self {
        use TensorType::*;
        match ty {
            F32 | F16 | BF16 => Self::FLOAT,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | IQ4_NL | MXFP4 => Self::Q8,
            Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ4_XS => Self::Q8K,
            _ => Self::NONE,
        }
    }

    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Formats {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Formats {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl FromIterator<TensorType> for Formats {
    fn from_iter<I: IntoIterator<Item = TensorType>>(types: I) -> Self {
        types.into_iter().map(Self::of).fold(Self::NONE, Self::bitor)
    }
}

impl fmt::Debug for Formats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(Self::FLOAT, "float"), (Self::Q8, "q8"), (Self::Q8K, "q8k")];
        f.debug_set().entries(names.iter().filter(|(one, _)| self.contains(*one)).map(|(_, name)| name)).finish()
    }
}

const fn lines_of<T>(len: usize) -> usize {
    (len * size_of::<T>()).div_ceil(64)
}

/// Splits `len` elements in whole lines off the front.
fn take<'a, T: Pod>(lines: &mut &'a [Line], len: usize) -> &'a [T] {
    let (front, rest) = lines.split_at(lines_of::<T>(len));
    *lines = rest;
    &cast_slice(front)[..len]
}

/// The same, to write to.
fn take_mut<'a, T: Pod>(lines: &mut &'a mut [Line], len: usize) -> &'a mut [T] {
    let (front, rest) = std::mem::take(lines).split_at_mut(lines_of::<T>(len));
    *lines = rest;
    &mut cast_slice_mut(front)[..len]
}

/// The lengths of the forms of a token. They lie one after the other, each part in lines of its own: the floats; quants,
/// scales, sums and scaled sums of the blocks of 32; quants, scales, sums of 16 and sums of 32 of the blocks of 256.
#[derive(Clone, Copy)]
struct Layout {
    cols: usize,
    formats: Formats,
}

impl Layout {
    /// Blocks of 256.
    const fn blocks_k(self) -> usize {
        self.cols.div_ceil(256)
    }

    /// Groups of 8 blocks of 32, in whole weaves.
    const fn groups(self) -> usize {
        self.blocks_k().next_multiple_of(WEAVE.div_ceil(8))
    }

    /// Blocks of 256 in whole groups of 8.
    const fn scales_k(self) -> usize {
        self.blocks_k().next_multiple_of(8)
    }

    const fn float_lines(self) -> usize {
        if self.formats.contains(Formats::FLOAT) { lines_of::<f32>(self.cols) } else { 0 }
    }

    const fn q8_lines(self) -> usize {
        let groups = self.groups();
        if self.formats.contains(Formats::Q8) {
            lines_of::<i8>(groups * 256) + 3 * lines_of::<f32>(groups * 8)
        } else {
            0
        }
    }

    const fn q8k_lines(self) -> usize {
        let blocks = self.blocks_k();
        if !self.formats.contains(Formats::Q8K) {
            return 0;
        }
        lines_of::<i8>(blocks * 256)
            + lines_of::<f32>(self.scales_k())
            + lines_of::<i16>(blocks * 16)
            + lines_of::<i16>(blocks * 8)
    }

    /// Lines of the quants of a token.
    const fn quant_lines(self) -> usize {
        self.q8_lines() + self.q8k_lines()
    }

    /// Lines of a tile's blocks of 32.
    const fn tile_32_lines(self) -> usize {
        if self.formats.contains(Formats::Q8) { lines_of::<Tile32>(self.cols / 32) } else { 0 }
    }

    /// Lines of a tile's blocks of 256.
    const fn tile_256_lines(self) -> usize {
        if self.formats.contains(Formats::Q8K) { lines_of::<Tile256>(self.cols / 256) } else { 0 }
    }

    const fn tile_lines(self) -> usize {
        self.tile_32_lines() + self.tile_256_lines()
    }

    /// Lines of the quants of up to `tokens` tokens, however they are arranged.
    const fn most_quant_lines(self, tokens: usize) -> usize {
        let (rows, tiles) = (tokens * self.quant_lines(), tokens.div_ceil(TILE) * self.tile_lines());
        if rows > tiles { rows } else { tiles }
    }
}

/// How the quants of several tokens lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrangement {
    /// Token after token.
    Rows,
    /// In tiles, in the order of a level.
    Tiles,
}

impl Arrangement {
    /// From how many tokens on unpacking weights to panels pays.
    const FEWEST_TOKENS: usize = 16;

    fn of(isa: Isa, tokens: usize) -> Self {
        let rows = Self::Rows;
        if tokens < Self::FEWEST_TOKENS { rows } else { with_gemm!(isa, _level => Self::Tiles, _ => rows) }
    }
}

/// The activations of up to a number of tokens, in the forms that the weights at hand ask for.
///
/// All memory is had at construction. The blocks of a token are padded with zeros to whole groups of 8, so that vector
/// kernels need no special case for the activations of a last, incomplete group.
pub struct Activations {
    max_tokens: usize,
    max: Layout,
    tokens: usize,
    layout: Layout,
    isa: Isa,
    arrangement: Arrangement,
    /// Token after token.
    floats: Vec<Line>,
    quants: Vec<Line>,
}

impl Activations {
    /// Room for `max_tokens` tokens of `max_cols` elements in each of the forms `formats`.
    pub fn new(max_tokens: usize, max_cols: usize, formats: Formats) -> Self {
        let max = Layout { cols: max_cols, formats };
        let layout = Layout { cols: 0, formats: Formats::NONE };
        let lines = |count: usize| vec![Line::zeroed(); count];
        Self {
            max_tokens,
            max,
            tokens: 0,
            layout,
            isa: Isa::Portable,
            arrangement: Arrangement::Rows,
            floats: lines(max_tokens * max.float_lines()),
            quants: lines(max.most_quant_lines(max_tokens)),
        }
    }

    /// The bytes that [`Activations::new`] takes from memory.
    pub const fn bytes(max_tokens: usize, max_cols: usize, formats: Formats) -> usize {
        let max = Layout { cols: max_cols, formats };
        (max_tokens * max.float_lines() + max.most_quant_lines(max_tokens)) * size_of::<Line>()
    }

    /// Takes the tokens `x`, rows of `cols` elements, in the forms `formats`.
    ///
    /// # Panics
    ///
    /// `x` is not whole rows, or there is no room for the tokens, the columns or a form.
    pub fn prepare(&mut self, pool: &Pool, isa: Isa, x: &[f32], cols: usize, formats: Formats) {
        assert!(cols > 0 && x.len().is_multiple_of(cols), "{} activations in rows of {cols}", x.len());
        let (tokens, layout) = (x.len() / cols, Layout { cols, formats });
        assert!(tokens <= self.max_tokens && cols <= self.max.cols, "{tokens} x {cols} activations in {self:?}");
        assert!(self.max.formats.contains(formats), "activations as {formats:?} in {self:?}");
        (self.tokens, self.layout) = (tokens, layout);
        (self.isa, self.arrangement) = (isa, Arrangement::of(isa, tokens));
        let float_lines = layout.float_lines();
        each_row(pool, &mut self.floats[..tokens * float_lines], float_lines, &|token, mut lines| {
            take_mut(&mut lines, cols).copy_from_slice(&x[token * cols..][..cols]);
        });
        match self.arrangement {
            Arrangement::Rows => {
                let lines = &mut self.quants[..tokens * layout.quant_lines()];
                each_row(pool, lines, layout.quant_lines(), &|token, lines| {
                    quantize_row(isa, &x[token * cols..][..cols], layout, lines);
                });
            }
            Arrangement::Tiles => with_gemm!(isa, level => {
                let lines = &mut self.quants[..tokens.div_ceil(TILE) * layout.tile_lines()];
                each_row(pool, lines, layout.tile_lines(), &|tile, lines| {
                    let x = &x[tile * TILE * cols..];
                    quantize_tile(level, &x[..x.len().min(TILE * cols)], layout, lines);
                });
            }, _ => unreachable!("tiles are for levels that have products of them")),
        }
    }

    /// The number of tokens prepared.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The elements of each.
    pub fn cols(&self) -> usize {
        self.layout.cols
    }

    /// The forms prepared.
    pub fn formats(&self) -> Formats {
        self.layout.formats
    }

    /// Whether kernels of level `isa` can read them: tiles are in the order of one level.
    pub(super) fn suit(&self, isa: Isa) -> bool {
        self.arrangement == Arrangement::Rows || self.isa == isa
    }

    /// How the quants lie.
    pub(super) fn arrangement(&self) -> Arrangement {
        self.arrangement
    }

    /// The quants of a token.
    ///
    /// # Panics
    ///
    /// They lie in tiles.
    fn token(&self, token: usize) -> &[Line] {
        assert_eq!(self.arrangement, Arrangement::Rows, "how the quants lie");
        &self.quants[token * self.layout.quant_lines()..][..self.layout.quant_lines()]
    }

    /// The quants of a tile.
    ///
    /// # Panics
    ///
    /// They lie in rows.
    fn tile(&self, tile: usize) -> &[Line] {
        assert_ne!(self.arrangement, Arrangement::Rows, "how the quants lie");
        &self.quants[tile * self.layout.tile_lines()..][..self.layout.tile_lines()]
    }

    /// The blocks of 32 of tile `tile`.
    pub(super) fn tile_32(&self, tile: usize) -> &[Tile32] {
        cast_slice(&self.tile(tile)[..self.layout.tile_32_lines()])
    }

    /// The blocks of 256 of tile `tile`.
    pub(super) fn tile_256(&self, tile: usize) -> &[Tile256] {
        cast_slice(&self.tile(tile)[self.layout.tile_32_lines()..])
    }

    pub(super) fn float(&self, token: usize) -> &[f32] {
        let mut lines = &self.floats[token * self.layout.float_lines()..];
        take(&mut lines, self.layout.cols)
    }

    pub(super) fn q8(&self, token: usize) -> Q8<'_> {
        let (mut lines, groups) = (self.token(token), self.layout.groups());
        Q8 {
            quants: cast_slice(take::<i8>(&mut lines, groups * 256)),
            scales: cast_slice(take::<f32>(&mut lines, groups * 8)),
            sums: cast_slice(take::<i32>(&mut lines, groups * 8)),
            scaled_sums: cast_slice(take::<f32>(&mut lines, groups * 8)),
        }
    }

    pub(super) fn q8k(&self, token: usize) -> Q8K<'_> {
        let (mut lines, blocks) = (&self.token(token)[self.layout.q8_lines()..], self.layout.blocks_k());
        Q8K {
            quants: cast_slice(take::<i8>(&mut lines, blocks * 256)),
            scales: cast_slice(take::<f32>(&mut lines, self.layout.scales_k())),
            sums16: cast_slice(take::<i16>(&mut lines, blocks * 16)),
            sums32: cast_slice(take::<i16>(&mut lines, blocks * 8)),
        }
    }
}

/// Quantizes the token `x` to the forms of `layout`.
fn quantize_row(isa: Isa, x: &[f32], layout: Layout, mut lines: &mut [Line]) {
    let (groups, blocks) = (layout.groups(), layout.blocks_k());
    if layout.formats.contains(Formats::Q8) {
        let row = RowQ8 {
            quants: take_mut(&mut lines, groups * 256),
            scales: take_mut(&mut lines, groups * 8),
            sums: take_mut(&mut lines, groups * 8),
            scaled_sums: take_mut(&mut lines, groups * 8),
        };
        quantize::row_q8(isa, x, row);
    }
    if layout.formats.contains(Formats::Q8K) {
        let row = RowQ8K {
            quants: take_mut(&mut lines, blocks * 256),
            scales: take_mut(&mut lines, layout.scales_k()),
            sums16: take_mut(&mut lines, blocks * 16),
            sums32: take_mut(&mut lines, blocks * 8),
        };
        quantize::row_q8k(isa, x, row);
    }
}

/// Quantizes the tokens `x` to a tile.
fn quantize_tile<L: Gemm>(level: L, x: &[f32], layout: Layout, lines: &mut [Line]) {
    let (lines_32, lines_256) = lines.split_at_mut(layout.tile_32_lines());
    if layout.formats.contains(Formats::Q8) {
        tile::pack_32(level, x, layout.cols, cast_slice_mut(lines_32));
    }
    if layout.formats.contains(Formats::Q8K) {
        tile::pack_256(level, x, layout.cols, cast_slice_mut(lines_256));
    }
}

impl fmt::Debug for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activations")
            .field("max_tokens", &self.max_tokens)
            .field("max_cols", &self.max.cols)
            .field("formats", &self.max.formats)
            .field("tokens", &self.tokens)
            .field("cols", &self.layout.cols)
            .finish_non_exhaustive()
    }
}

/// How many blocks of 32 are woven together: four elements of each, then the next four. So the lanes of an x86 vector are
/// blocks, and products add up to a vector of block sums without a horizontal step. NEON has pairwise additions that are
/// cheaper than unpacking weights to that order: there the order is that of the elements.
pub(super) const WEAVE: usize = if cfg!(target_arch = "x86_64") { 16 } else { 1 };

/// Where the four elements from `4 * k` on of block `b` are among the quants, counted in fours.
#[inline(always)]
pub(super) const fn woven(b: usize, k: usize) -> usize {
    let first = b / WEAVE * WEAVE;
    first * 8 + k * WEAVE + (b - first)
}

/// A token in 8-bit blocks of 32, by groups of 8 blocks; what the last group lacks is zero.
#[derive(Clone, Copy)]
pub(super) struct Q8<'a> {
    /// In the order that [`woven`] says.
    pub(super) quants: &'a [[i8; 256]],
    pub(super) scales: &'a [[f32; 8]],
    /// The sum of the quants of each block.
    #[cfg_attr(
        not(any(test, target_arch = "x86_64")),
        expect(dead_code, reason = "only kernels that make weights unsigned need them")
    )]
    pub(super) sums: &'a [[i32; 8]],
    /// The same times the scale: `s` of the specification.
    pub(super) scaled_sums: &'a [[f32; 8]],
}

impl Q8<'_> {
    /// The quants of block `b` in element order.
    #[inline]
    pub(super) fn block(&self, b: usize) -> [i8; 32] {
        let fours: &[[i8; 4]] = cast_slice(self.quants);
        bytemuck::cast(std::array::from_fn::<_, 8, _>(|k| fours[woven(b, k)]))
    }
}

/// A token in 8-bit blocks of 256.
#[derive(Clone, Copy)]
pub(super) struct Q8K<'a> {
    pub(super) quants: &'a [[i8; 256]],
    /// By groups of 8 blocks; what the last group lacks is zero.
    pub(super) scales: &'a [[f32; 8]],
    /// The sums of each 16 quants of a block.
    pub(super) sums16: &'a [[i16; 16]],
    /// The sums of each 32.
    #[cfg_attr(
        not(any(test, target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernels do not need them")
    )]
    pub(super) sums32: &'a [[i16; 8]],
}
