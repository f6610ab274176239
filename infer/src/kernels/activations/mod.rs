//! The activations of a matrix product, in every form that the weights at hand ask for.

mod layout;
mod views;

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use bytemuck::{Zeroable, cast_slice, cast_slice_mut};

use self::layout::{Layout, take, take_mut};
pub(super) use self::views::{Q8, Q8K, WEAVE, woven};
use super::gemm::with_gemm;
use super::panel::Line;
use super::quantize::{self, RowQ8, RowQ8K};
use super::shared::each_row;
use super::steps::Gate;
use super::tile::{self, Elements, TILE, Tile32, Tile256};
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

/// What a token gives to a product: one input, or one for each of several heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Width {
    /// Heads; 1 where the token is one input.
    pub heads: usize,
    /// Elements of an input.
    pub cols: usize,
}

impl Width {
    /// One input.
    pub const fn one(cols: usize) -> Self {
        Self { heads: 1, cols }
    }
}

/// Where the inputs of some tokens lie.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The tokens, in rows of `stride` elements.
    pub x: &'a [f32],
    /// From a token's first input to the next token's.
    pub stride: usize,
    /// From a head's input to the next head's.
    pub head_stride: usize,
    /// What a token has.
    pub width: Width,
}

impl<'a> Inputs<'a> {
    /// Tokens of `cols` elements, one after the other.
    pub fn rows(x: &'a [f32], cols: usize) -> Self {
        Self { x, stride: cols, head_stride: cols, width: Width::one(cols) }
    }

    fn tokens(&self) -> usize {
        self.x.len() / self.stride
    }

    fn row(&self, head: usize, token: usize) -> &'a [f32] {
        &self.x[token * self.stride + head * self.head_stride..][..self.width.cols]
    }
}

/// The activations of up to a number of tokens, in the forms that the weights at hand ask for. Where tokens have heads, all
/// tokens of the first head come first, then those of the next.
///
/// All memory is had at construction. The blocks of a token are padded with zeros to whole groups of 8, so that vector
/// kernels need no special case for the activations of a last, incomplete group.
pub struct Activations {
    max_tokens: usize,
    max_formats: Formats,
    tokens: usize,
    heads: usize,
    layout: Layout,
    isa: Isa,
    arrangement: Arrangement,
    /// Input after input.
    floats: Vec<Line>,
    quants: Vec<Line>,
}

/// Lines of the floats and of the quants of up to `tokens` tokens, for the widest of `widths`.
fn most_lines(tokens: usize, widths: &[Width], formats: Formats) -> [usize; 2] {
    widths.iter().fold([0; 2], |[floats, quants], &Width { heads, cols }| {
        let layout = Layout { cols, formats };
        [floats.max(heads * tokens * layout.float_lines()), quants.max(heads * layout.most_quant_lines(tokens))]
    })
}

impl Activations {
    /// Room for `max_tokens` tokens of any of `widths`, or of fewer elements, in each of the forms `formats`.
    pub fn new(max_tokens: usize, widths: &[Width], formats: Formats) -> Self {
        let [floats, quants] = most_lines(max_tokens, widths, formats).map(|count| vec![Line::zeroed(); count]);
        Self {
            max_tokens,
            max_formats: formats,
            tokens: 0,
            heads: 1,
            layout: Layout { cols: 0, formats: Formats::NONE },
            isa: Isa::Portable,
            arrangement: Arrangement::Rows,
            floats,
            quants,
        }
    }

    /// The bytes that [`Activations::new`] takes from memory.
    pub fn bytes(max_tokens: usize, widths: &[Width], formats: Formats) -> usize {
        most_lines(max_tokens, widths, formats).iter().sum::<usize>() * size_of::<Line>()
    }

    /// Takes the tokens `x`, rows of `cols` elements, in the forms `formats`.
    ///
    /// # Panics
    ///
    /// As of [`Activations::prepare_inputs`].
    pub fn prepare(&mut self, pool: &Pool, isa: Isa, x: &[f32], cols: usize, formats: Formats) {
        self.prepare_inputs(pool, isa, &Inputs::rows(x, cols), formats);
    }

    /// Takes tokens, wherever their inputs lie, in the forms `formats`.
    ///
    /// # Panics
    ///
    /// The inputs are not whole rows, or there is no room for the tokens, what they have, or a form.
    pub fn prepare_inputs(&mut self, pool: &Pool, isa: Isa, inputs: &Inputs<'_>, formats: Formats) {
        let Inputs { x, stride, head_stride, width } = *inputs;
        let Width { heads, cols } = width;
        assert!(
            cols > 0 && stride > 0 && x.len().is_multiple_of(stride),
            "{} activations in rows of {stride}",
            x.len()
        );
        assert!(heads > 0 && (heads - 1) * head_stride + cols <= stride, "{width:?} in rows of {stride}");
        let tokens = inputs.tokens();
        let layout = self.begin(isa, tokens, width, formats);
        let floats = heads * tokens * layout.float_lines();
        each_row(pool, &mut self.floats[..floats], layout.float_lines(), &|input, mut lines| {
            take_mut(&mut lines, cols).copy_from_slice(inputs.row(input / tokens, input % tokens));
        });
        match self.arrangement {
            Arrangement::Rows => {
                let lines = &mut self.quants[..heads * tokens * layout.quant_lines()];
                each_row(pool, lines, layout.quant_lines(), &|input, lines| {
                    quantize_row(isa, inputs.row(input / tokens, input % tokens), layout, lines);
                });
            }
            Arrangement::Tiles => self.fill_tiles(pool, |tile, lines| {
                let tiles = tokens.div_ceil(TILE);
                let (head, first) = (tile / tiles, tile % tiles * TILE);
                let rows: [&[f32]; TILE] = std::array::from_fn(|t| inputs.row(head, (first + t).min(tokens - 1)));
                quantize_tile(isa, &&rows[..TILE.min(tokens - first)], layout, lines);
            }),
        }
    }

    /// Takes what a gate makes of the rows of `from`, in the forms `formats`. In tiles it is quantized as it is made;
    /// otherwise it is made in `room` first.
    ///
    /// # Panics
    ///
    /// As of [`Gate::apply`] and [`Activations::prepare`].
    pub fn prepare_gated(
        &mut self,
        pool: &Pool,
        isa: Isa,
        gate: &Gate<'_>,
        from: &[f32],
        room: &mut [f32],
        formats: Formats,
    ) {
        let (row, tokens) = (2 * gate.row, room.len() / gate.row);
        if formats.contains(Formats::FLOAT) || Arrangement::of(isa, tokens) == Arrangement::Rows {
            gate.apply(pool, isa, from, room);
            return self.prepare(pool, isa, room, gate.row, formats);
        }
        assert!(tokens * row == from.len(), "{} to {tokens} rows of {}", from.len(), gate.row);
        let layout = self.begin(isa, tokens, Width::one(gate.row), formats);
        self.fill_tiles(pool, |tile, lines| {
            let rows = &from[tile * TILE * row..];
            let gated = Gated { gate, isa, rows: &rows[..rows.len().min(TILE * row)] };
            quantize_tile(isa, &gated, layout, lines);
        });
    }

    /// Begins to take so many tokens.
    fn begin(&mut self, isa: Isa, tokens: usize, width: Width, formats: Formats) -> Layout {
        let [floats, quants] = most_lines(tokens, &[width], formats);
        let room = tokens <= self.max_tokens && floats <= self.floats.len() && quants <= self.quants.len();
        assert!(room, "{tokens} x {width:?} activations in {self:?}");
        assert!(self.max_formats.contains(formats), "activations as {formats:?} in {self:?}");
        (self.tokens, self.heads, self.layout) = (tokens, width.heads, Layout { cols: width.cols, formats });
        (self.isa, self.arrangement) = (isa, Arrangement::of(isa, tokens));
        self.layout
    }

    /// Fills the lines of each tile.
    fn fill_tiles(&mut self, pool: &Pool, fill: impl Fn(usize, &mut [Line]) + Sync) {
        let (tiles, len) = (self.heads * self.tokens.div_ceil(TILE), self.layout.tile_lines());
        each_row(pool, &mut self.quants[..tiles * len], len, &fill);
    }

    /// The number of tokens prepared.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The heads of each, every one of which is an input of its own.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// The elements of an input.
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

    /// The number of a head's first input.
    pub(super) fn first_input(&self, head: usize) -> usize {
        head * self.tokens
    }

    /// The number of a head's first tile.
    pub(super) fn first_tile(&self, head: usize) -> usize {
        head * self.tokens.div_ceil(TILE)
    }

    /// The quants of an input.
    ///
    /// # Panics
    ///
    /// They lie in tiles.
    fn input(&self, input: usize) -> &[Line] {
        assert_eq!(self.arrangement, Arrangement::Rows, "how the quants lie");
        &self.quants[input * self.layout.quant_lines()..][..self.layout.quant_lines()]
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

    /// Input `input` as it is.
    pub(super) fn float(&self, input: usize) -> &[f32] {
        let mut lines = &self.floats[input * self.layout.float_lines()..];
        take(&mut lines, self.layout.cols)
    }

    /// Input `input` in blocks of 32.
    pub(super) fn q8(&self, input: usize) -> Q8<'_> {
        let (mut lines, groups) = (self.input(input), self.layout.groups());
        Q8 {
            quants: cast_slice(take::<i8>(&mut lines, groups * 256)),
            scales: cast_slice(take::<f32>(&mut lines, groups * 8)),
            sums: cast_slice(take::<i32>(&mut lines, groups * 8)),
            scaled_sums: cast_slice(take::<f32>(&mut lines, groups * 8)),
        }
    }

    /// Input `input` in blocks of 256.
    pub(super) fn q8k(&self, input: usize) -> Q8K<'_> {
        let (mut lines, blocks) = (&self.input(input)[self.layout.q8_lines()..], self.layout.blocks_k());
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

/// Quantizes tokens to a tile.
fn quantize_tile(isa: Isa, elements: &impl Elements, layout: Layout, lines: &mut [Line]) {
    let (lines_32, lines_256) = lines.split_at_mut(layout.tile_32_lines());
    with_gemm!(isa, level => {
        if layout.formats.contains(Formats::Q8) {
            tile::pack_32(level, elements, cast_slice_mut(lines_32));
        }
        if layout.formats.contains(Formats::Q8K) {
            tile::pack_256(level, elements, cast_slice_mut(lines_256));
        }
    }, _ => unreachable!("tiles are for levels that have products of them"))
}

/// What a gate makes of some rows.
struct Gated<'a> {
    gate: &'a Gate<'a>,
    isa: Isa,
    rows: &'a [f32],
}

impl Elements for Gated<'_> {
    fn tokens(&self) -> usize {
        self.rows.len() / (2 * self.gate.row)
    }

    fn of<'a>(&'a self, t: usize, first: usize, room: &'a mut [f32]) -> &'a [f32] {
        let row = 2 * self.gate.row;
        self.gate.columns(self.isa, &self.rows[t * row..][..row], first, room);
        room
    }
}

impl fmt::Debug for Activations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activations")
            .field("max_tokens", &self.max_tokens)
            .field("lines", &[self.floats.len(), self.quants.len()])
            .field("formats", &self.max_formats)
            .field("tokens", &self.tokens)
            .field("heads", &self.heads)
            .field("cols", &self.layout.cols)
            .finish_non_exhaustive()
    }
}
