//! Dot products with blocks of 32, by four blocks: they are unpacked once and meet each token of the tile.
//!
//! The products of a block add up to the four lanes of a vector. Additions of neighbours then turn the vectors of four
//! blocks into one of four block sums, a half of the eight accumulators of the specification.

use std::arch::aarch64::*;

use super::dot::Dot;
use super::vector::*;
use crate::kernels::activations::Q8;
use crate::kernels::blocks::Block32;
use crate::kernels::matmul::Sink;

/// A block of 32 in vectors.
pub(in crate::kernels) trait Vector32: Block32 {
    /// What [`Vector32::vectors`] are more than the quants. Taken back as `OFFSET * sum(activations)`, which is exact.
    const OFFSET: i32 = 0;

    /// The quants in element order, and [`Vector32::OFFSET`] more.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn vectors(&self) -> [int8x16_t; 2];

    /// The scales of four blocks.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn scales(blocks: &[Self; 4]) -> float32x4_t;

    /// The mins of four blocks, where the format has them.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn mins(_: &[Self; 4]) -> float32x4_t {
        // SAFETY: contract.
        unsafe { vdupq_n_f32(0.0) }
    }
}

/// See [`portable::rows32`](crate::kernels::portable::rows32).
#[target_feature(enable = "neon")]
pub(super) fn rows<D: Dot, B: Vector32>(dot: D, rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    // Four tokens are what the registers have room for.
    let (fours, rest) = tokens.as_chunks::<4>();
    for (row, blocks) in rows.chunks_exact(per_row).enumerate() {
        for (i, tokens) in fours.iter().enumerate() {
            one_row(dot, blocks, tokens, |t, value| sink.put(row, i * 4 + t, value));
        }
        for (t, token) in rest.iter().enumerate() {
            one_row(dot, blocks, &[*token], |_, value| sink.put(row, fours.len() * 4 + t, value));
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn one_row<D: Dot, B: Vector32, const T: usize>(dot: D, blocks: &[B], tokens: &[Q8<'_>; T], put: impl Fn(usize, f32)) {
    let mut lanes = [[vdupq_n_f32(0.0); 2]; T];
    let (groups, rest) = blocks.as_chunks::<8>();
    // All of one length, so that the loop below need not check.
    let whole = tokens.map(|token| Q8 {
        quants: &token.quants[..groups.len()],
        scales: &token.scales[..groups.len()],
        sums: &token.sums[..groups.len()],
        scaled_sums: &token.scaled_sums[..groups.len()],
    });
    for (g, blocks) in groups.iter().enumerate() {
        group(dot, blocks, g, &whole, &mut lanes);
    }
    if !rest.is_empty() {
        // The activations of missing blocks are zero, and so are their scales: the terms are zero times zero, and adding
        // that changes no accumulator, for they begin as `+0.0` and so never become `-0.0`.
        let mut blocks = [B::zeroed(); 8];
        blocks[..rest.len()].copy_from_slice(rest);
        group(dot, &blocks, groups.len(), tokens, &mut lanes);
    }
    for (t, lanes) in lanes.into_iter().enumerate() {
        put(t, tree8(lanes));
    }
}

/// Adds the terms of the 8 blocks of group `g`.
#[inline]
#[target_feature(enable = "neon")]
fn group<D: Dot, B: Vector32, const T: usize>(
    dot: D,
    blocks: &[B; 8],
    g: usize,
    tokens: &[Q8<'_>; T],
    lanes: &mut [[float32x4_t; 2]; T],
) {
    for (half, blocks) in blocks.as_chunks::<4>().0.iter().enumerate() {
        // SAFETY: this function is compiled for NEON.
        let (scales, mins) = unsafe { (B::scales(blocks), B::mins(blocks)) };
        let mut weights = [[vdupq_n_s8(0); 2]; 4];
        for (weights, block) in weights.iter_mut().zip(blocks) {
            // SAFETY: as above.
            *weights = unsafe { block.vectors() };
        }
        for (lanes, token) in lanes.iter_mut().zip(tokens) {
            let lanes = &mut lanes[half];
            let quants: &[[[i8; 16]; 2]; 8] = bytemuck::cast_ref(&token.quants[g]);
            let mut sums = [vdupq_n_s32(0); 4];
            for (i, sum) in sums.iter_mut().enumerate() {
                for (weights, quants) in weights[i].into_iter().zip(&quants[half * 4 + i]) {
                    // SAFETY: as above.
                    *sum = unsafe { dot.dot(*sum, weights, load_signed(quants)) };
                }
            }
            let mut sums = sums_of_4(sums);
            if B::OFFSET != 0 {
                sums = vmlsq_n_s32(sums, load_ints(half_of(&token.sums[g], half)), B::OFFSET);
            }
            let scales = vmulq_f32(scales, load_floats(half_of(&token.scales[g], half)));
            *lanes = vfmaq_f32(*lanes, vcvtq_f32_s32(sums), scales);
            if B::HAS_MIN {
                *lanes = vfmaq_f32(*lanes, mins, load_floats(half_of(&token.scaled_sums[g], half)));
            }
        }
    }
}

/// The first or the last four.
#[inline]
fn half_of<T>(x: &[T; 8], half: usize) -> &[T; 4] {
    &x.as_chunks::<4>().0[half]
}
