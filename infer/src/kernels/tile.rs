//! The activations of eight tokens, interleaved for products with [panels](super::panel).

use bytemuck::{Pod, Zeroable};

use super::activations::{WEAVE, woven};
use super::gemm::Gemm;
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
    /// The largest sum of the squares of 16 neighbouring quants, and of 32, where the level's product looks at them.
    pub(super) squares: [u32; 2],
    unused: [u32; 6],
}

/// The quants of a block of 32 of each of [`WEAVE`] blocks, as [`Level::row_q8`] leaves them.
pub(super) type Woven32 = [[i8; 4]; 8 * WEAVE];

/// Interleaves the quants of up to [`WEAVE`] blocks of 32 of each token.
pub(super) fn interleave_32(tokens: &[Woven32; TILE], tiles: &mut [Tile32], order: Order) {
    for (b, tile) in tiles.iter_mut().enumerate() {
        for (t, quants) in tokens.iter().enumerate() {
            let block: [[i8; 4]; 8] = std::array::from_fn(|k| quants[woven(b, k)]);
            put(&mut tile.quants, &block, t, order);
        }
    }
}

/// Interleaves the quants of a block of 256 of each token.
pub(super) fn interleave_256(tokens: &[[i8; 256]; TILE], tile: &mut Tile256, order: Order) {
    for (t, quants) in tokens.iter().enumerate() {
        put(&mut tile.quants, bytemuck::cast_ref::<_, [[i8; 4]; 64]>(quants), t, order);
    }
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

/// Where the elements of a tile's tokens come from.
pub(super) trait Elements {
    /// How many tokens there are, [`TILE`] at most.
    fn tokens(&self) -> usize;

    /// The elements of token `t` from number `first` on, as many as `room` has; they may be worked out there.
    fn of<'a>(&'a self, t: usize, first: usize, room: &'a mut [f32]) -> &'a [f32];
}

impl Elements for &[&[f32]] {
    fn tokens(&self) -> usize {
        self.len()
    }

    fn of<'a>(&'a self, t: usize, first: usize, room: &'a mut [f32]) -> &'a [f32] {
        &self[t][first..first + room.len()]
    }
}

/// The tile of up to [`TILE`] tokens in blocks of 32. Tokens that are missing are zero.
pub(super) fn pack_32<L: Gemm>(level: L, elements: &impl Elements, tile: &mut [Tile32]) {
    let mut room = [0.0; WEAVE * 32];
    let mut quants: [Woven32; TILE] = Zeroable::zeroed();
    let (mut scales, mut sums, mut scaled_sums) = ([0.0; WEAVE], [0; WEAVE], [0.0; WEAVE]);
    let missing = elements.tokens()..TILE;
    for (w, tile) in tile.chunks_mut(WEAVE).enumerate() {
        for (t, quants) in quants.iter_mut().enumerate().take(missing.start) {
            let elements = elements.of(t, w * WEAVE * 32, &mut room[..tile.len() * 32]);
            level.row_q8(
                elements.as_chunks().0,
                &mut RowQ8 {
                    quants: bytemuck::cast_slice_mut(quants),
                    scales: &mut scales,
                    sums: &mut sums,
                    scaled_sums: &mut scaled_sums,
                },
            );
            for (b, tile) in tile.iter_mut().enumerate() {
                (tile.scales[t], tile.scaled_sums[t]) = (scales[b], scaled_sums[b]);
            }
        }
        level.interleave_32(&quants, tile);
        for tile in tile {
            tile.scales[missing.clone()].fill(0.0);
            tile.scaled_sums[missing.clone()].fill(0.0);
        }
    }
}

/// The same in blocks of 256.
pub(super) fn pack_256<L: Gemm>(level: L, elements: &impl Elements, tile: &mut [Tile256]) {
    let mut room = [0.0; 256];
    let mut quants = [[0i8; 256]; TILE];
    let (mut scale, mut sums16, mut sums32) = ([0.0], [0; 16], [0; 8]);
    let missing = elements.tokens()..TILE;
    for (b, tile) in tile.iter_mut().enumerate() {
        for (t, quants) in quants.iter_mut().enumerate().take(missing.start) {
            level.row_q8k(
                elements.of(t, b * 256, &mut room).as_chunks().0,
                &mut RowQ8K { quants, scales: &mut scale, sums16: &mut sums16, sums32: &mut sums32 },
            );
            for (to, pair) in tile.sums16.iter_mut().zip(bytemuck::cast_ref::<_, [[i16; 2]; 8]>(&sums16)) {
                to[t] = *pair;
            }
            for (to, pair) in tile.sums32.iter_mut().zip(bytemuck::cast_ref::<_, [[i16; 2]; 4]>(&sums32)) {
                to[t] = *pair;
            }
            tile.scales[t] = scale[0];
        }
        level.interleave_256(&quants, tile);
        tile.scales[missing.clone()].fill(0.0);
        for to in &mut tile.sums16 {
            to[missing.clone()].fill([0; 2]);
        }
        for to in &mut tile.sums32 {
            to[missing.clone()].fill([0; 2]);
        }
    }
}
