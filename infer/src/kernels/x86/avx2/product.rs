//! Products of panels and tiles. The lanes of a vector are eight rows of a panel; four bytes of a token meet four bytes of
//! each row, and as many products are added up in 16 bits as fit them whatever the operands are. Sixteen rows and four
//! tokens at a time are what the registers have room for.

use std::arch::x86_64::*;

use super::block32::{Range, Vector32};
use super::vector::*;
use crate::kernels::gemm::{Product, Values};
use crate::kernels::panel::{PANEL, Panel32, Panel256, Plane};
use crate::kernels::tile::{TILE, Tile32, Tile256, Tokens};
use crate::kernels::x86::avx512::Wide256;

/// Tokens of a tile that are multiplied at a time.
const SOME: usize = 4;

/// For the eight rows of each half of a panel and some tokens, a number for each row.
type Sums = [[__m256i; SOME]; 2];

/// A pair of panels of blocks of 32 with a tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn blocks_32<B: Vector32>(panels: [&[Panel32]; 2], tile: &[Tile32], work: &mut Product) {
    for (b, block) in tile.iter().enumerate() {
        expect_next(block, tile.len());
        let offsets = offsets::<B>(block);
        for (p, panel) in panels.iter().enumerate() {
            for first in (0..TILE).step_by(SOME) {
                let sums = sums_32::<B>(&panel[b], block, &offsets, first);
                let lanes = &mut work.lanes[b % 8][p][first..];
                add_32::<B>(&panel[b], block, &sums, first, lanes, b < 8);
            }
        }
    }
    finish(work, tile.len());
}

/// What the bytes' being more than the quants adds to the sums of each token.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn offsets<B: Vector32>(tile: &Tile32) -> Tokens<i32> {
    let mut offsets = [0; TILE];
    if let Range::Small { offset, .. } = B::RANGE
        && offset != 0
    {
        let mut pairs = _mm256_setzero_si256();
        for quants in &tile.quants {
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(_mm256_set1_epi8(1), load(quants)));
        }
        store(&mut offsets, _mm256_madd_epi16(pairs, _mm256_set1_epi16(offset as i16)));
    }
    offsets
}

/// The sums of products of one block with the tokens from `first` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sums_32<B: Vector32>(panel: &Panel32, tile: &Tile32, offsets: &Tokens<i32>, first: usize) -> Sums {
    let ones = [_mm256_set1_epi16(1); 2];
    let mut sums = [[_mm256_setzero_si256(); SOME]; 2];
    match B::RANGE {
        Range::Signed => {
            for k in 0..8 {
                add_scaled(&mut sums, ones, pairs::<1, true>(&panel.quants, &tile.quants, k, first));
            }
        }
        Range::Small { max, .. } if max <= largest_byte(8) => {
            add_scaled(&mut sums, ones, pairs::<8, false>(&panel.quants, &tile.quants, 0, first));
        }
        Range::Small { .. } => {
            for k in [0, 4] {
                add_scaled(&mut sums, ones, pairs::<4, false>(&panel.quants, &tile.quants, k, first));
            }
        }
    }
    for (t, offset) in offsets[first..][..SOME].iter().enumerate() {
        for sums in &mut sums {
            sums[t] = _mm256_sub_epi32(sums[t], _mm256_set1_epi32(*offset));
        }
    }
    sums
}

/// The largest byte of which the sums of `2 * groups` products fit 16 bits.
const fn largest_byte(groups: i32) -> i32 {
    i16::MAX as i32 / (2 * groups * 127)
}

/// For each row and token the products of `GROUPS` groups of four from group `k` on, added up to two numbers of 16 bits.
/// Where the weights are `SIGNED`, their magnitudes are multiplied by activations with the signs moved over.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pairs<const GROUPS: usize, const SIGNED: bool>(
    panel: &[[i8; 64]],
    tile: &[[u8; 32]],
    k: usize,
    first: usize,
) -> Sums {
    let mut pairs = [[_mm256_setzero_si256(); SOME]; 2];
    let (panel, tile) = (&panel[k..][..GROUPS], &tile[k..][..GROUPS]);
    for (weights, fours) in panel.iter().zip(tile) {
        let halves = weights.as_chunks::<32>().0;
        let weights = [load(&halves[0]), load(&halves[1])];
        let magnitudes = if SIGNED { weights.map(|weights| _mm256_abs_epi8(weights)) } else { weights };
        for (t, four) in fours.as_chunks::<4>().0[first..][..SOME].iter().enumerate() {
            let four = _mm256_set1_epi32(i32::from_le_bytes(*four));
            for half in 0..2 {
                let four = if SIGNED { _mm256_sign_epi8(four, weights[half]) } else { four };
                pairs[half][t] = _mm256_add_epi16(pairs[half][t], _mm256_maddubs_epi16(magnitudes[half], four));
            }
        }
    }
    pairs
}

/// Adds the pairs, each times the number of 16 bits that stands in its place in `scales`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_scaled(sums: &mut Sums, scales: [__m256i; 2], pairs: Sums) {
    for half in 0..2 {
        for t in 0..SOME {
            sums[half][t] = _mm256_add_epi32(sums[half][t], _mm256_madd_epi16(pairs[half][t], scales[half]));
        }
    }
}

/// Adds the terms of a block; before the `first_eight` nothing was added.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_32<B: Vector32>(
    panel: &Panel32,
    tile: &Tile32,
    sums: &Sums,
    first: usize,
    lanes: &mut [Plane<f32>],
    first_eight: bool,
) {
    for (half, sums) in sums.iter().enumerate() {
        let (scales, mins) = (half_of(&panel.scales, half), half_of(&panel.mins, half));
        for (t, sums) in sums.iter().enumerate() {
            let to = half_of_mut(&mut lanes[t], half);
            let scales = _mm256_mul_ps(scales, _mm256_set1_ps(tile.scales[first + t]));
            let mut acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(*sums), scales, so_far(to, first_eight));
            if B::HAS_MIN {
                acc = _mm256_fmadd_ps(mins, _mm256_set1_ps(tile.scaled_sums[first + t]), acc);
            }
            store_floats(to, acc);
        }
    }
}

/// A pair of panels of blocks of 256 with a tile.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn blocks_256<B: Wide256>(panels: [&[Panel256]; 2], tile: &[Tile256], work: &mut Product) {
    for (b, block) in tile.iter().enumerate() {
        expect_next(block, tile.len());
        for (p, panel) in panels.iter().enumerate() {
            for first in (0..TILE).step_by(SOME) {
                let lanes = &mut work.lanes[b % 8][p][first..];
                block_256::<B>(&panel[b], block, first, lanes, b < 8);
            }
        }
    }
    finish(work, tile.len());
}

/// Adds the terms of a block and the tokens from `first` on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn block_256<B: Wide256>(panel: &Panel256, tile: &Tile256, first: usize, lanes: &mut [Plane<f32>], first_eight: bool) {
    // The bytes are unsigned, or they are signed and take all eight bits.
    let largest = i32::from(B::MAX) + B::OFFSET_BITS.map_or(0, |bits| (1 << bits) - 1);
    let totals = if B::OFFSET_BITS.is_none() && largest == 127 {
        scaled_sums::<B, 1, true>(panel, tile, first)
    } else if largest <= largest_byte(8) && B::RUN == 32 {
        scaled_sums::<B, 8, false>(panel, tile, first)
    } else if largest <= largest_byte(4) {
        scaled_sums::<B, 4, false>(panel, tile, first)
    } else {
        const { assert!(63 <= largest_byte(2)) }
        scaled_sums::<B, 2, false>(panel, tile, first)
    };
    for (half, totals) in totals.iter().enumerate() {
        let (scales, mins) = (half_of(&panel.scales, half), half_of(&panel.mins, half));
        for (t, totals) in totals.iter().enumerate() {
            let to = half_of_mut(&mut lanes[t], half);
            let d = _mm256_set1_ps(tile.scales[first + t]);
            let so_far = so_far(to, first_eight);
            let scales = _mm256_mul_ps(scales, d);
            let acc = if B::OFFSET_BITS.is_some() {
                let sums = _mm256_sub_epi32(*totals, min_sums::<B>(panel, tile, half, first + t));
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scales, so_far)
            } else if B::HAS_MIN {
                let acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(*totals), scales, so_far);
                let min_sums = _mm256_cvtepi32_ps(min_sums::<B>(panel, tile, half, first + t));
                _mm256_fnmadd_ps(min_sums, _mm256_mul_ps(mins, d), acc)
            } else {
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(*totals), scales, so_far)
            };
            store_floats(to, acc);
        }
    }
}

/// The sums over the sub-blocks of sub-scale times sum of products, of which `GROUPS` groups of four fit 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled_sums<B: Wide256, const GROUPS: usize, const SIGNED: bool>(
    panel: &Panel256,
    tile: &Tile256,
    first: usize,
) -> Sums {
    let mut totals = [[_mm256_setzero_si256(); SOME]; 2];
    for (run, scales) in panel.sub_scales.iter().enumerate().take(B::SUB_BLOCKS) {
        let halves = scales.as_chunks::<8>().0;
        let scales = [load(&halves[0]), load(&halves[1])];
        for k in (run * B::RUN / 4..(run + 1) * B::RUN / 4).step_by(GROUPS) {
            add_scaled(&mut totals, scales, pairs::<GROUPS, SIGNED>(&panel.quants, &tile.quants, k, first));
        }
    }
    totals
}

/// The sum over the sub-blocks of sub-min times sum of activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn min_sums<B: Wide256>(panel: &Panel256, tile: &Tile256, half: usize, t: usize) -> __m256i {
    let mut sums = _mm256_setzero_si256();
    for (pair, mins) in panel.sub_mins.iter().enumerate().take(B::SUB_BLOCKS / 2) {
        let activations = if B::SUB_BLOCKS == 16 { tile.sums16[pair][t] } else { tile.sums32[pair][t] };
        let products =
            _mm256_madd_epi16(load(&mins.as_chunks::<8>().0[half]), _mm256_set1_epi32(bytemuck::cast(activations)));
        sums = _mm256_add_epi32(sums, products);
    }
    sums
}

/// Asks for the same block of the next tile, which follows this one `blocks` blocks further on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn expect_next<T>(tile: &T, blocks: usize) {
    prefetch_bytes(std::ptr::from_ref(tile).wrapping_add(blocks).cast(), size_of::<T>());
}

/// What an accumulator holds: nothing before the first eight blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn so_far(lanes: &[f32; 8], first_eight: bool) -> __m256 {
    if first_eight { _mm256_setzero_ps() } else { load_floats(lanes) }
}

/// Eight rows of a plane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn half_of(plane: &Plane<f32>, half: usize) -> __m256 {
    load_floats(&plane.as_chunks::<8>().0[half])
}

/// The same to write to.
#[inline]
fn half_of_mut(plane: &mut Plane<f32>, half: usize) -> &mut [f32; 8] {
    &mut plane.as_chunks_mut::<8>().0[half]
}

/// The trees of the accumulators, of which as many were used as there are blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish(work: &mut Product, blocks: usize) {
    let Product { lanes, out } = work;
    for (p, out) in out.iter_mut().enumerate() {
        for (t, out) in out.iter_mut().enumerate() {
            for half in 0..PANEL / 8 {
                let lane = |i: usize, lanes: &[Values; 8]| {
                    if i < blocks { half_of(&lanes[i][p][t], half) } else { _mm256_setzero_ps() }
                };
                let pair = |i: usize| _mm256_add_ps(lane(i, lanes), lane(i + 1, lanes));
                let tree = _mm256_add_ps(_mm256_add_ps(pair(0), pair(2)), _mm256_add_ps(pair(4), pair(6)));
                store_floats(half_of_mut(out, half), tree);
            }
        }
    }
}
