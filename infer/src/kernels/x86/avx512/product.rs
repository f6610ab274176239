//! Products of panels and tiles. The lanes of a vector are the sixteen rows of a panel; four bytes of a token meet four bytes
//! of each row in one instruction.

use std::arch::x86_64::*;

use super::block32::Wide32;
use super::block256::Wide256;
use super::vector::*;
use crate::kernels::gemm::Product;
use crate::kernels::panel::{Panel32, Panel256, Plane};
use crate::kernels::tile::{TILE, Tile32, Tile256};

/// The 8 accumulators of the specification, of each panel, token and row. Block `b` needs one eighth of them, and
/// registers are for the integers: they wait in the first-level cache.
type Accumulators = [[[__m512; TILE]; 2]; 8];

/// A pair of panels of blocks of 32 with a tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn blocks_32<B: Wide32>(panels: [&[Panel32]; 2], tile: &[Tile32], out: &mut Product) {
    let mut acc: Accumulators = [[[_mm512_setzero_ps(); TILE]; 2]; 8];
    let [first, second] = panels;
    for (b, ((first, second), tile)) in first.iter().zip(second).zip(tile).enumerate() {
        let panels = [first, second];
        let sums = sums_32(panels, tile);
        for (p, (panel, acc)) in panels.iter().zip(&mut acc[b % 8]).enumerate() {
            let (scales, mins) = (load_floats(&panel.scales), load_floats(&panel.mins));
            for (t, acc) in acc.iter_mut().enumerate() {
                let scales = _mm512_mul_ps(scales, _mm512_set1_ps(tile.scales[t]));
                *acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[p][t]), scales, *acc);
                if B::HAS_MIN {
                    *acc = _mm512_fmadd_ps(mins, _mm512_set1_ps(tile.scaled_sums[t]), *acc);
                }
            }
        }
    }
    finish(&acc, out);
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

/// Half the tokens of a tile: blocks of 256 have two levels of sums, and registers for four tokens of each.
const HALF: usize = TILE / 2;

/// A pair of panels of blocks of 256 with a tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn blocks_256<B: Wide256>(panels: [&[Panel256]; 2], tile: &[Tile256], out: &mut Product) {
    let mut acc: Accumulators = [[[_mm512_setzero_ps(); TILE]; 2]; 8];
    let [first, second] = panels;
    for (b, ((first, second), tile)) in first.iter().zip(second).zip(tile).enumerate() {
        for half in 0..2 {
            half_block::<B>([first, second], tile, half * HALF, &mut acc[b % 8]);
        }
    }
    finish(&acc, out);
}

/// Adds the terms of one block and the tokens from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn half_block<B: Wide256>(panels: [&Panel256; 2], tile: &Tile256, first: usize, acc: &mut [[__m512; TILE]; 2]) {
    let sums = if B::EXACT_IN_FLOAT {
        sums_in_float::<B>(panels, tile, first)
    } else {
        sums_in_integers::<B>(panels, tile, first)
    };
    for (p, panel) in panels.iter().enumerate() {
        let (scales, mins) = (load_floats(&panel.scales), load_floats(&panel.mins));
        for i in 0..HALF {
            let (t, acc) = (first + i, &mut acc[p][first + i]);
            let d = _mm512_set1_ps(tile.scales[t]);
            *acc = _mm512_fmadd_ps(sums[p][i], _mm512_mul_ps(scales, d), *acc);
            if B::HAS_MIN {
                let min_sums = _mm512_cvtepi32_ps(min_sums::<B>(panel, tile, t));
                *acc = _mm512_fnmadd_ps(min_sums, _mm512_mul_ps(mins, d), *acc);
            }
        }
    }
}

/// The sums over the sub-blocks of sub-scale times sum of products, rounded to floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sums_in_integers<B: Wide256>(panels: [&Panel256; 2], tile: &Tile256, first: usize) -> [[__m512; HALF]; 2] {
    let mut total = [[_mm512_setzero_si512(); HALF]; 2];
    for sub in 0..B::SUB_BLOCKS {
        let sums = sums_256::<B>(panels, tile, first, sub);
        for p in 0..2 {
            let scales = load(&panels[p].sub_scales[sub]);
            for i in 0..HALF {
                total[p][i] = _mm512_add_epi32(total[p][i], _mm512_mullo_epi32(sums[p][i], scales));
            }
        }
    }
    let mut out = [[_mm512_setzero_ps(); HALF]; 2];
    for p in 0..2 {
        for i in 0..HALF {
            out[p][i] = _mm512_cvtepi32_ps(total[p][i]);
        }
    }
    out
}

/// The same for formats in which each half of the sum is an integer below two to the power of 24: floats hold it exactly, and
/// the sum of the two halves is rounded as the integer would be.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sums_in_float<B: Wide256>(panels: [&Panel256; 2], tile: &Tile256, first: usize) -> [[__m512; HALF]; 2] {
    let mut halves = [[[_mm512_setzero_ps(); HALF]; 2]; 2];
    for (h, total) in halves.iter_mut().enumerate() {
        for sub in h * B::SUB_BLOCKS / 2..(h + 1) * B::SUB_BLOCKS / 2 {
            let sums = sums_256::<B>(panels, tile, first, sub);
            for p in 0..2 {
                let scales = _mm512_castsi512_ps(load(&panels[p].sub_scales[sub]));
                for i in 0..HALF {
                    total[p][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums[p][i]), scales, total[p][i]);
                }
            }
        }
    }
    let mut out = [[_mm512_setzero_ps(); HALF]; 2];
    for p in 0..2 {
        for i in 0..HALF {
            out[p][i] = _mm512_add_ps(halves[0][p][i], halves[1][p][i]);
        }
    }
    out
}

/// The sums of products of sub-block `sub`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sums_256<B: Wide256>(panels: [&Panel256; 2], tile: &Tile256, first: usize, sub: usize) -> [[__m512i; HALF]; 2] {
    let vectors = 64 / B::SUB_BLOCKS;
    let mut sums = [[load(&panels[0].bias[sub]); HALF], [load(&panels[1].bias[sub]); HALF]];
    for k in sub * vectors..(sub + 1) * vectors {
        let weights = [load(&panels[0].quants[k]), load(&panels[1].quants[k])];
        let fours = tile.quants[k].as_chunks::<4>().0;
        for i in 0..HALF {
            let four = _mm512_set1_epi32(i32::from_le_bytes(fours[first + i]));
            for p in 0..2 {
                sums[p][i] = _mm512_dpbusd_epi32(sums[p][i], four, weights[p]);
            }
        }
    }
    sums
}

/// The sum over the sub-blocks of sub-min times sum of activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn min_sums<B: Wide256>(panel: &Panel256, tile: &Tile256, t: usize) -> __m512i {
    let mut sums = _mm512_setzero_si512();
    for pair in 0..B::SUB_BLOCKS / 2 {
        let activations = if B::SUB_BLOCKS == 16 { tile.sums16[pair][t] } else { tile.sums32[pair][t] };
        let activations = _mm512_set1_epi32(bytemuck::cast(activations));
        sums = _mm512_dpwssd_epi32(sums, load(&panel.sub_mins[pair]), activations);
    }
    sums
}

/// The trees of the accumulators.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn finish(acc: &Accumulators, out: &mut Product) {
    for (p, out) in out.iter_mut().enumerate() {
        for (t, out) in out.iter_mut().enumerate() {
            let pair = |i: usize| _mm512_add_ps(acc[i][p][t], acc[i + 1][p][t]);
            let tree = _mm512_add_ps(_mm512_add_ps(pair(0), pair(2)), _mm512_add_ps(pair(4), pair(6)));
            let to: &mut Plane<f32> = out;
            store_floats(to, tree);
        }
    }
}
