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
    /// Whether [`Vector32::vectors`] are 16 times the quants. The sums are divided by that, which is exact.
    const SIXTEENFOLD: bool = false;

    /// The quants in element order, or 16 times them.
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
    unsafe fn scales(blocks: [&Self; 4]) -> float32x4_t;

    /// The mins of four blocks, where the format has them.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn mins(_: [&Self; 4]) -> float32x4_t {
        // SAFETY: contract.
        unsafe { vdupq_n_f32(0.0) }
    }
}

/// See [`portable::rows32`](crate::kernels::portable::rows32).
#[inline(never)] // So that profiles and listings show each kernel by its name.
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
    let last = padded(rest);
    // All of one length, so that the loop below need not check.
    let count = blocks.len().div_ceil(8);
    let tokens = tokens.map(|token| Q8 {
        quants: &token.quants[..count],
        scales: &token.scales[..count],
        scaled_sums: &token.scaled_sums[..count],
        ..token
    });
    for g in 0..count {
        // One call, so that the compiler inlines it.
        let Some(blocks) = groups.get(g).or(last.as_ref()) else { break };
        group(dot, blocks, g, &tokens, &mut lanes);
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
    four_blocks::<D, B, T, 0>(dot, blocks, g, tokens, lanes);
    four_blocks::<D, B, T, 1>(dot, blocks, g, tokens, lanes);
}

/// Adds the terms of the first or the last four.
#[inline]
#[target_feature(enable = "neon")]
fn four_blocks<D: Dot, B: Vector32, const T: usize, const HALF: usize>(
    dot: D,
    blocks: &[B; 8],
    g: usize,
    tokens: &[Q8<'_>; T],
    lanes: &mut [[float32x4_t; 2]; T],
) {
    let blocks @ [a, b, c, d] = half_of::<_, HALF>(blocks).each_ref();
    // SAFETY: this function is compiled for NEON.
    let (scales, mins) = unsafe { (B::scales(blocks), B::mins(blocks)) };
    // SAFETY: as above.
    let weights = unsafe { [a.vectors(), b.vectors(), c.vectors(), d.vectors()] };
    for (lanes, token) in lanes.iter_mut().zip(tokens) {
        let quants: &[[[i8; 16]; 2]; 8] = bytemuck::cast_ref(&token.quants[g]);
        let sum = |i: usize| {
            let ([a, b], [x, y]) = (weights[i], &quants[HALF * 4 + i]);
            // SAFETY: this function is compiled for NEON.
            unsafe { dot.dot(dot.dot(vdupq_n_s32(0), a, load_signed(x)), b, load_signed(y)) }
        };
        let sums = sums_of_4([sum(0), sum(1), sum(2), sum(3)]);
        let sums = if B::SIXTEENFOLD { vcvtq_n_f32_s32::<4>(sums) } else { vcvtq_f32_s32(sums) };
        let d = load_floats(half_of::<_, HALF>(&token.scales[g]));
        lanes[HALF] = vfmaq_f32(lanes[HALF], sums, vmulq_f32(scales, d));
        if B::HAS_MIN {
            let scaled_sums = load_floats(half_of::<_, HALF>(&token.scaled_sums[g]));
            lanes[HALF] = vfmaq_f32(lanes[HALF], mins, scaled_sums);
        }
    }
}

/// The first or the last four.
#[inline]
fn half_of<T, const HALF: usize>(x: &[T; 8]) -> &[T; 4] {
    &x.as_chunks::<4>().0[HALF]
}
