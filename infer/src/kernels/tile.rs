//! The activations of eight tokens, interleaved for products with [panels](super::panel).

use bytemuck::{Pod, Zeroable};

use super::activations::{WEAVE, woven};
use super::level::Level;
use super::panel::Order;
use super::quantize::{RowQ8, RowQ8K};

/// Tokens of a tile.
pub(super) const TILE: usize = 8;

/// A value for each token.
pub(super) type Tokens<T> = [T; TILE];

/// One block of 32 of each token.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Tile32 {
    /// Interleaved by [`Order::group`], with [`Order::offset`] added.
    pub(super) quants: [[u8; 32]; 8],
    pub(super) scales: Tokens<f32>,
    /// `s` of the specification.
    pub(super) scaled_sums: Tokens<f32>,
}

/// One block of 256 of each token.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct Tile256 {
    /// Interleaved by [`Order::group`], with [`Order::offset`] added.
    pub(super) quants: [[u8; 32]; 64],
    /// The sums of 16 quants, two neighbours together.
    pub(super) sums16: [Tokens<[i16; 2]>; 8],
    /// The sums of 32, likewise.
    pub(super) sums32: [Tokens<[i16; 2]>; 4],
    pub(super) scales: Tokens<f32>,
    unused: [u32; 8],
}

/// Stores `quants` (of one block) as those of token `t`.
#[inline]
fn put<const N: usize>(to: &mut [[u8; 32]], quants: &[[i8; 4]; N], t: usize, order: Order) {
    let to: &mut [[u8; 4]] = bytemuck::cast_slice_mut(to);
    let fours = order.group / 4;
    for (k, four) in quants.iter().enumerate() {
        to[(k / fours * TILE + t) * fours + k % fours] = four.map(|q| (q as u8).wrapping_add(order.offset));
    }
}

/// The tile of up to [`TILE`] tokens, whose elements are in `rows` of `cols`, in blocks of 32. Tokens that are missing are
/// zero.
pub(super) fn pack_32<L: Level>(level: L, rows: &[f32], cols: usize, tile: &mut [Tile32], order: Order) {
    let mut quants = [[0i8; 4]; 8 * WEAVE];
    let (mut scales, mut sums, mut scaled_sums) = ([0.0; WEAVE], [0; WEAVE], [0.0; WEAVE]);
    tile.fill(Tile32::zeroed());
    for (t, row) in rows.chunks_exact(cols).enumerate() {
        for (blocks, tile) in row.as_chunks::<32>().0.chunks(WEAVE).zip(tile.chunks_mut(WEAVE)) {
            level.row_q8(
                blocks,
                &mut RowQ8 {
                    quants: bytemuck::cast_slice_mut(&mut quants),
                    scales: &mut scales,
                    sums: &mut sums,
                    scaled_sums: &mut scaled_sums,
                },
            );
            for (b, tile) in tile.iter_mut().enumerate() {
                let block: [[i8; 4]; 8] = std::array::from_fn(|k| quants[woven(b, k)]);
                put(&mut tile.quants, &block, t, order);
                tile.scales[t] = scales[b];
                tile.scaled_sums[t] = scaled_sums[b];
            }
        }
    }
}

/// The same in blocks of 256.
pub(super) fn pack_256<L: Level>(level: L, rows: &[f32], cols: usize, tile: &mut [Tile256], order: Order) {
    let mut quants = [0i8; 256];
    let (mut scale, mut sums16, mut sums32) = ([0.0], [0; 16], [0; 8]);
    tile.fill(Tile256::zeroed());
    for (t, row) in rows.chunks_exact(cols).enumerate() {
        for (block, tile) in row.as_chunks::<256>().0.iter().zip(&mut *tile) {
            level.row_q8k(
                std::slice::from_ref(block),
                &mut RowQ8K { quants: &mut quants, scales: &mut scale, sums16: &mut sums16, sums32: &mut sums32 },
            );
            put(&mut tile.quants, bytemuck::cast_ref::<_, [[i8; 4]; 64]>(&quants), t, order);
            for (to, pair) in tile.sums16.iter_mut().zip(bytemuck::cast_ref::<_, [[i16; 2]; 8]>(&sums16)) {
                to[t] = *pair;
            }
            for (to, pair) in tile.sums32.iter_mut().zip(bytemuck::cast_ref::<_, [[i16; 2]; 4]>(&sums32)) {
                to[t] = *pair;
            }
            tile.scales[t] = scale[0];
        }
    }
}
