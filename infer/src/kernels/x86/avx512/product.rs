//! Products of panels and tiles. The lanes of a vector are the sixteen rows of a panel; four bytes of a token meet four bytes
//! of each row in one instruction.

use std::arch::x86_64::*;

use super::block32::Wide32;
use super::block256::Wide256;
use super::vector::*;
use crate::kernels::gemm::{Product, Values};
use crate::kernels::panel::{Panel32, Panel256, Plane};
use crate::kernels::tile::{TILE, Tile32, Tile256};
use crate::kernels::x86::avx2::vector::prefetch_bytes;

/// A pair of panels of blocks of 32 with a tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn blocks_32<B: Wide32>(panels: [&[Panel32]; 2], tile: &[Tile32], work: &mut Product) {
    let ([first, second], blocks) = (panels, tile.len());
    for (b, ((first, second), tile)) in first.iter().zip(second).zip(tile).enumerate() {
        let panels = [first, second];
        expect_next(tile, blocks, [0, 1]);
        let sums = sums_32(panels, tile);
        let lanes = &mut work.lanes[b % 8];
        for p in 0..2 {
            let (scales, mins) = (load_floats(&panels[p].scales), load_floats(&panels[p].mins));
            for t in 0..TILE {
                let scales = _mm512_mul_ps(scales, _mm512_set1_ps(tile.scales[t]));
                let mut acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[p][t]), scales, so_far(&lanes[p][t], b));
                if B::HAS_MIN {
                    acc = _mm512_fmadd_ps(mins, _mm512_set1_ps(tile.scaled_sums[t]), acc);
                }
                store_floats(&mut lanes[p][t], acc);
            }
        }
    }
    finish(work, tile.len());
}

/// The sums of products of one block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sums_32(panels: [&Panel32; 2], tile: &Tile32) -> [[__m512i; TILE]; 2] {
    let mut sums = [[load(&panels[0].bias); TILE], [load(&panels[1].bias); TILE]];
    for k in 0..8 {
        let weights = [load(&panels[0].quants[k]), load(&panels[1].quants[k])];
        let fours = tile.quants[k].as_chunks::<4>().0;
        for t in 0..TILE {
            let four = _mm512_set1_epi32(i32::from_le_bytes(fours[t]));
            for p in 0..2 {
                sums[p][t] = _mm512_dpbusd_epi32(sums[p][t], four, weights[p]);
            }
        }
    }
    sums
}

/// A pair of panels of blocks of 256 with a tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn blocks_256<B: Wide256>(panels: [&[Panel256]; 2], tile: &[Tile256], work: &mut Product) {
    let ([first, second], blocks) = (panels, tile.len());
    for (b, ((first, second), tile)) in first.iter().zip(second).zip(tile).enumerate() {
        block_256::<B>([first, second], tile, [b, blocks], &mut work.lanes[b % 8]);
    }
    finish(work, tile.len());
}

/// Adds the terms of block `b` of `blocks`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn block_256<B: Wide256>(panels: [&Panel256; 2], tile: &Tile256, [b, blocks]: [usize; 2], lanes: &mut Values) {
    let totals = if fit_16_bits::<B>(panels, tile) {
        scaled_sums::<B, true>(panels, tile, blocks)
    } else {
        scaled_sums::<B, false>(panels, tile, blocks)
    };
    for p in 0..2 {
        let (scales, mins) = (load_floats(&panels[p].scales), load_floats(&panels[p].mins));
        for t in 0..TILE {
            let d = _mm512_set1_ps(tile.scales[t]);
            let sums = _mm512_cvtepi32_ps(totals[p][t]);
            let mut acc = _mm512_fmadd_ps(sums, _mm512_mul_ps(scales, d), so_far(&lanes[p][t], b));
            if B::HAS_MIN {
                let min_sums = _mm512_cvtepi32_ps(min_sums::<B>(panels[p], tile, t));
                acc = _mm512_fnmadd_ps(min_sums, _mm512_mul_ps(mins, d), acc);
            }
            store_floats(&mut lanes[p][t], acc);
        }
    }
}

/// Asks for part `part` of `parts` of the same block of the next tile, which follows this one `blocks` blocks further on. All
/// tiles go by for each few panels, so they come from the third-level cache, and it takes that long until they are here. All
/// of a block at once would be more than the processor can wait for.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn expect_next<T>(tile: &T, blocks: usize, [part, parts]: [usize; 2]) {
    let len = size_of::<T>().div_ceil(64 * parts) * 64;
    let next = std::ptr::from_ref(tile).wrapping_add(blocks).cast::<i8>();
    prefetch_bytes(next.wrapping_add(part * len), len);
}

/// What an accumulator holds before block `b`: nothing before the first eight blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn so_far(lanes: &Plane<f32>, b: usize) -> __m512 {
    if b < 8 { _mm512_setzero_ps() } else { load_floats(lanes) }
}

/// Whether the sums of products of each sub-block fit 16 bits, where scaling is one instruction. The bound is that of Cauchy
/// and Schwarz, which nearly all blocks keep; those of equal numbers as large as they can be do not.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn fit_16_bits<B: Wide256>(panels: [&Panel256; 2], tile: &Tile256) -> bool {
    const LARGEST: u64 = i16::MAX as u64;
    let weights = panels[0].squares.max(panels[1].squares);
    let activations = tile.squares[usize::from(B::SUB_BLOCKS == 8)];
    B::RUN_FITS_16_BITS || u64::from(weights) * u64::from(activations) <= LARGEST * LARGEST
}

/// The sums over the sub-blocks of sub-scale times sum of products. `FIT`: see [`fit_16_bits`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn scaled_sums<B: Wide256, const FIT: bool>(
    panels: [&Panel256; 2],
    tile: &Tile256,
    blocks: usize,
) -> [[__m512i; TILE]; 2] {
    let mut totals = [[_mm512_setzero_si512(); TILE]; 2];
    for run in 0..B::SUB_BLOCKS {
        expect_next(tile, blocks, [run, B::SUB_BLOCKS]);
        let mut sums = [[load(&panels[0].bias[run]); TILE], [load(&panels[1].bias[run]); TILE]];
        for k in run * B::RUN / 4..(run + 1) * B::RUN / 4 {
            let weights = [load(&panels[0].quants[k]), load(&panels[1].quants[k])];
            let fours = tile.quants[k].as_chunks::<4>().0;
            for t in 0..TILE {
                let four = _mm512_set1_epi32(i32::from_le_bytes(fours[t]));
                for p in 0..2 {
                    sums[p][t] = _mm512_dpbusd_epi32(sums[p][t], four, weights[p]);
                }
            }
        }
        for p in 0..2 {
            let scales = load(&panels[p].sub_scales[run]);
            for t in 0..TILE {
                totals[p][t] = if FIT {
                    // Of each 32 bits the lower 16 times the scale, the upper times zero.
                    dpwssd(totals[p][t], sums[p][t], scales)
                } else {
                    let scales = _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(scales));
                    _mm512_add_epi32(totals[p][t], _mm512_mullo_epi32(sums[p][t], scales))
                };
            }
        }
    }
    totals
}

/// The sum over the sub-blocks of sub-min times sum of activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn min_sums<B: Wide256>(panel: &Panel256, tile: &Tile256, t: usize) -> __m512i {
    let mut sums = _mm512_setzero_si512();
    for pair in 0..B::SUB_BLOCKS / 2 {
        let activations = if B::SUB_BLOCKS == 16 { tile.sums16[pair][t] } else { tile.sums32[pair][t] };
        let activations = _mm512_set1_epi32(bytemuck::cast(activations));
        sums = dpwssd(sums, load(&panel.sub_mins[pair]), activations);
    }
    sums
}

/// The trees of the accumulators, of which as many were used as there are blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn finish(work: &mut Product, blocks: usize) {
    let Product { lanes, out } = work;
    for (p, out) in out.iter_mut().enumerate() {
        for (t, out) in out.iter_mut().enumerate() {
            let lane = |i: usize| if i < blocks { load_floats(&lanes[i][p][t]) } else { _mm512_setzero_ps() };
            let pair = |i: usize| _mm512_add_ps(lane(i), lane(i + 1));
            store_floats(out, _mm512_add_ps(_mm512_add_ps(pair(0), pair(2)), _mm512_add_ps(pair(4), pair(6))));
        }
    }
}
