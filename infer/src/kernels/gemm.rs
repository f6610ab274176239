//! Products with many tokens: [panels](super::panel) of rows with [tiles](super::tile) of tokens.
//!
//! Panels are made in pairs, as many as fit the scratch memory of a thread, and then all tiles go by. So a row is
//! unpacked once per call, its panel stays in the second-level cache, and the price of a block's scale is shared by the
//! lanes of a vector. The sums are those of the [specification](super), block by block in the same order.

use bytemuck::{AnyBitPattern, Pod, Zeroable, cast_slice_mut};

use super::activations::Activations;
use super::formats::{Format32, Format256};
use super::level::Level;
use super::matmul::{Gathered, Sink};
use super::panel::{Line, Order, PANEL, Panel32, Panel256, Plane};
use super::tile::{self, TILE, Tile32, Tile256, Woven32};

/// Rows of a pair of panels.
pub(super) const PAIR: usize = 2 * PANEL;

/// A value for each row of a pair of panels and each token of a tile.
pub(super) type Values = [[Plane<f32>; TILE]; 2];

/// Where a pair of panels and a tile are multiplied.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Product {
    /// The accumulators of the specification. Block `b` needs those of number `b mod 8` only, and registers are better
    /// used for integers. What is in them before the first eight blocks does not matter.
    pub(super) lanes: [Values; 8],
    /// The results.
    pub(super) out: Values,
}

/// A level that has products of panels and tiles.
pub(super) trait Gemm: Level {
    /// How it wants its operands.
    const ORDER: Order;

    /// See [`tile::interleave_32`].
    fn interleave_32(self, tokens: &[Woven32; TILE], tiles: &mut [Tile32]) {
        tile::interleave_32(tokens, tiles, Self::ORDER);
    }
    /// See [`tile::interleave_256`].
    fn interleave_256(self, tokens: &[[i8; 256]; TILE], tile: &mut Tile256) {
        tile::interleave_256(tokens, tile, Self::ORDER);
    }

    /// Asks for memory that will be written to soon; whether there is any is not looked at.
    fn expect_write(self, _at: *const f32) {}

    /// Makes a panel of rows of blocks.
    fn panel_32<B: Format32>(self, rows: [&[B]; PANEL], panel: &mut [Panel32]);
    /// Makes a panel of rows of blocks.
    fn panel_256<B: Format256>(self, rows: [&[B]; PANEL], panel: &mut [Panel256]);
    /// Multiplies a pair of panels with a tile. `B` is what the panels were made of.
    fn product_32<B: Format32>(self, panels: [&[Panel32]; 2], tile: &[Tile32], out: &mut Product);
    /// Multiplies a pair of panels with a tile. `B` is what the panels were made of.
    fn product_256<B: Format256>(self, panels: [&[Panel256]; 2], tile: &[Tile256], out: &mut Product);
}

/// Multiplies `rows` of blocks of 32 with head `head` of all tokens; `scratch` has room for a pair of panels.
pub(super) fn rows_32<L: Gemm, B: Format32>(
    level: L,
    rows: &Gathered<'_>,
    acts: &Activations,
    head: usize,
    scratch: &mut [Line],
    sink: Sink<'_>,
) {
    let first = acts.first_tile(head);
    let make = |rows: [&[B]; PANEL], panel: &mut [Panel32]| level.panel_32(rows, panel);
    let product = |panels: [&[Panel32]; 2], tile: usize, out: &mut Product| {
        level.product_32::<B>(panels, acts.tile_32(first + tile), out);
    };
    all_rows(level, rows, acts.tokens(), scratch, sink, make, product);
}

/// The same with blocks of 256.
pub(super) fn rows_256<L: Gemm, B: Format256>(
    level: L,
    rows: &Gathered<'_>,
    acts: &Activations,
    head: usize,
    scratch: &mut [Line],
    sink: Sink<'_>,
) {
    let first = acts.first_tile(head);
    let make = |rows: [&[B]; PANEL], panel: &mut [Panel256]| level.panel_256(rows, panel);
    let product = |panels: [&[Panel256]; 2], tile: usize, out: &mut Product| {
        level.product_256::<B>(panels, acts.tile_256(first + tile), out);
    };
    all_rows(level, rows, acts.tokens(), scratch, sink, make, product);
}

/// As many panels as fit the scratch memory, then all tiles with them; then the next rows.
fn all_rows<L: Gemm, B: AnyBitPattern, P: Pod>(
    level: L,
    rows: &Gathered<'_>,
    tokens: usize,
    scratch: &mut [Line],
    sink: Sink<'_>,
    make: impl Fn([&[B]; PANEL], &mut [P]),
    product: impl Fn([&[P]; 2], usize, &mut Product),
) {
    let (count, per_row) = (rows.rows, rows.per_row);
    let lines = size_of::<P>() / size_of::<Line>();
    let whole = scratch.len() / lines * lines;
    let panels: &mut [P] = cast_slice_mut(&mut scratch[..whole]);
    let most_pairs = panels.len() / (2 * per_row);
    assert!(most_pairs > 0, "scratch memory for {} blocks, two panels have {}", panels.len(), 2 * per_row);
    let mut work = Product::zeroed();
    for first in (0..count).step_by(most_pairs * PAIR) {
        let pairs = (count - first).div_ceil(PAIR).min(most_pairs);
        let panels = &mut panels[..pairs * 2 * per_row];
        for (p, panel) in panels.chunks_exact_mut(per_row).enumerate() {
            // Beyond the last row stands the last row again; its results are not kept.
            make(std::array::from_fn(|i| rows.row((first + p * PANEL + i).min(count - 1))), panel);
        }
        for tile in 0..tokens.div_ceil(TILE) {
            for (p, pair) in panels.chunks_exact(2 * per_row).enumerate() {
                let (one, other) = pair.split_at(per_row);
                expect(level, first + p * PAIR, tile * TILE, sink);
                product([one, other], tile, &mut work);
                keep(&work.out, first + p * PAIR, count, tile * TILE, tokens, sink);
            }
        }
    }
}

/// Asks for the lines that the results of a pair of panels and a tile will be written to. They are a row of outputs apart,
/// and waiting for each would cost more than the products can hide.
fn expect<L: Gemm>(level: L, row: usize, token: usize, sink: Sink<'_>) {
    for t in token..token + TILE {
        for panel in 0..2 {
            level.expect_write(sink.address(row + panel * PANEL, t));
        }
    }
}

/// Writes the results of the rows from `row` on and the tokens from `token` on, as far as they exist.
fn keep(out: &Values, row: usize, rows: usize, token: usize, tokens: usize, sink: Sink<'_>) {
    for (row, panel) in (row..rows).step_by(PANEL).zip(out) {
        for (t, values) in panel.iter().enumerate().take(tokens - token) {
            sink.put_rows(row, token + t, values);
        }
    }
}

/// Evaluates one expression with `$level` as the [`Gemm`] level that an [`Isa`](super::Isa) is, or else another.
macro_rules! with_gemm {
    ($isa:expr, $level:ident => $body:expr, _ => $other:expr) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::Isa::Avx2($level) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::Isa::Avx512Vnni($level) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::kernels::Isa::Dotprod($level) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::kernels::Isa::I8mm($level) => $body,
            _ => $other,
        }
    };
}
pub(super) use with_gemm;
