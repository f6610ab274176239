//! Dot products with blocks of 256: exact integer sums for each of four blocks and each token, then one vector of
//! terms.

use std::arch::aarch64::*;

use super::dot::Dot;
use super::vector::*;
use crate::kernels::activations::Q8K;
use crate::kernels::blocks::Block256;
use crate::kernels::matmul::Sink;

/// A block of 256 in vectors.
pub(in crate::kernels) trait Vector256: Block256 {
    /// Whether there are 16 sub-blocks of 16, and not 8 of 32.
    const SIXTEEN: bool;

    /// What [`Vector256::half`] is more than the quants. Taken back with the sums of the activations, which is exact.
    const OFFSET: i32 = 0;

    /// The first or the last 128 quants in element order, and [`Vector256::OFFSET`] more.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn half(&self, half: usize) -> [int8x16_t; 8];

    /// The sub-scales: 16, or 8 and zeros.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn scale_vectors(&self) -> [int16x8_t; 2];

    /// The sub-mins likewise, where the format has them.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn min_vectors(&self) -> [int16x8_t; 2] {
        // SAFETY: contract.
        unsafe { [vdupq_n_s16(0); 2] }
    }

    /// The bits of scale and min.
    fn halves(&self) -> [[u8; 2]; 2];
}

/// See [`portable::rows256`](crate::kernels::portable::rows256).
#[inline(never)] // So that profiles and listings show each kernel by its name.
#[target_feature(enable = "neon")]
pub(super) fn rows<D: Dot, B: Vector256>(dot: D, rows: &[B], per_row: usize, tokens: &[Q8K<'_>], sink: Sink<'_>) {
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
fn one_row<D: Dot, B: Vector256, const T: usize>(
    dot: D,
    blocks: &[B],
    tokens: &[Q8K<'_>; T],
    put: impl Fn(usize, f32),
) {
    let mut lanes = [[vdupq_n_f32(0.0); 2]; T];
    let (fours, rest) = blocks.as_chunks::<4>();
    for (four, blocks) in fours.iter().enumerate() {
        four_blocks::<D, B, T, true>(dot, blocks, 4, four, tokens, &mut lanes);
    }
    if let Some(blocks) = padded(rest) {
        four_blocks::<D, B, T, false>(dot, &blocks, rest.len(), fours.len(), tokens, &mut lanes);
    }
    for (t, lanes) in lanes.into_iter().enumerate() {
        put(t, tree8(lanes));
    }
}

/// Adds the terms of the first `count` of four blocks, which are number `four` of the row. `ALL` says that these are
/// all four, for the compiler.
#[inline]
#[target_feature(enable = "neon")]
fn four_blocks<D: Dot, B: Vector256, const T: usize, const ALL: bool>(
    dot: D,
    blocks: &[B; 4],
    count: usize,
    four: usize,
    tokens: &[Q8K<'_>; T],
    lanes: &mut [[float32x4_t; 2]; T],
) {
    let count = if ALL { 4 } else { count };
    let zero = vdupq_n_s32(0);
    let (mut sums, mut min_sums) = ([[zero; T]; 4], [[zero; T]; 4]);
    // All of one length, so that the loop below need not check.
    let operands = tokens.map(|token| Q8K {
        quants: &token.quants[four * 4..][..count],
        sums16: &token.sums16[four * 4..][..count],
        sums32: &token.sums32[four * 4..][..count],
        ..token
    });
    for (i, (block, (sums, min_sums))) in blocks.iter().zip(sums.iter_mut().zip(&mut min_sums)).enumerate().take(count)
    {
        (*sums, *min_sums) = one_block(dot, block, i, &operands);
    }
    let scales = widen_4(blocks.map(|block| block.halves()[0]));
    let mins = widen_4(blocks.map(|block| block.halves()[1]));
    for (t, token) in tokens.iter().enumerate() {
        let d = load_floats(&token.scales.as_flattened().as_chunks::<4>().0[four]);
        let lanes = &mut lanes[t][four % 2];
        let sum = |x: &[[int32x4_t; T]; 4]| vcvtq_f32_s32(sums_of_4([x[0][t], x[1][t], x[2][t], x[3][t]]));
        *lanes = vfmaq_f32(*lanes, sum(&sums), vmulq_f32(scales, d));
        if B::HAS_MIN {
            *lanes = vfmsq_f32(*lanes, sum(&min_sums), vmulq_f32(mins, d));
        }
    }
}

/// For each token, four integers whose sum is the sum over the sub-blocks of sub-scale times sum of products, and the
/// same for the mins.
#[inline]
#[target_feature(enable = "neon")]
fn one_block<D: Dot, B: Vector256, const T: usize>(
    dot: D,
    block: &B,
    b: usize,
    tokens: &[Q8K<'_>; T],
) -> ([int32x4_t; T], [int32x4_t; T]) {
    // SAFETY: this function is compiled for NEON.
    let (scales, mins) = unsafe { (block.scale_vectors(), block.min_vectors()) };
    let (mut acc, mut min_acc) = ([vdupq_n_s32(0); T], [vdupq_n_s32(0); T]);
    for half in 0..2 {
        // SAFETY: as above.
        let weights = unsafe { block.half(half) };
        for (acc, token) in acc.iter_mut().zip(tokens) {
            let quants: &[[[i8; 16]; 8]; 2] = bytemuck::cast_ref(&token.quants[b]);
            *acc = add_products::<D, B>(dot, *acc, half, weights, &quants[half], scales);
        }
    }
    for (t, token) in tokens.iter().enumerate() {
        if B::OFFSET != 0 {
            acc[t] = vmlsq_n_s32(acc[t], times_sums::<B>(scales, token, b), B::OFFSET);
        }
        if B::HAS_MIN {
            min_acc[t] = times_sums::<B>(mins, token, b);
        }
    }
    (acc, min_acc)
}

/// Adds the sums of products of half a block, each times its sub-scale.
#[inline]
#[target_feature(enable = "neon")]
fn add_products<D: Dot, B: Vector256>(
    dot: D,
    mut acc: int32x4_t,
    half: usize,
    weights: [int8x16_t; 8],
    quants: &[[i8; 16]; 8],
    scales: [int16x8_t; 2],
) -> int32x4_t {
    let (zero, mut sums) = (vdupq_n_s32(0), [vdupq_n_s32(0); 8]);
    for (i, sum) in sums.iter_mut().enumerate() {
        // SAFETY: this function is compiled for NEON.
        let with = |sum: int32x4_t, i: usize| unsafe { dot.dot(sum, weights[i], load_signed(&quants[i])) };
        *sum = match B::SIXTEEN {
            true => with(zero, i),
            false if i < 4 => with(with(zero, 2 * i), 2 * i + 1),
            false => zero,
        };
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let first = sums_of_4([a, b, c, d]);
    if B::SIXTEEN {
        acc = vmlaq_s32(acc, first, vmovl_s16(vget_low_s16(scales[half])));
        vmlaq_s32(acc, sums_of_4([e, f, g, h]), vmovl_high_s16(scales[half]))
    } else if half == 0 {
        vmlaq_s32(acc, first, vmovl_s16(vget_low_s16(scales[0])))
    } else {
        vmlaq_s32(acc, first, vmovl_high_s16(scales[0]))
    }
}

/// Four integers whose sum is that of `scales` times the sums of the activations of each sub-block.
#[inline]
#[target_feature(enable = "neon")]
fn times_sums<B: Vector256>(scales: [int16x8_t; 2], token: &Q8K<'_>, b: usize) -> int32x4_t {
    let add = |acc: int32x4_t, scales: int16x8_t, sums: &[i16; 8]| {
        let sums = load_shorts(sums);
        vmlal_high_s16(vmlal_s16(acc, vget_low_s16(scales), vget_low_s16(sums)), scales, sums)
    };
    let zero = vdupq_n_s32(0);
    if B::SIXTEEN {
        let [first, last]: &[[i16; 8]; 2] = bytemuck::cast_ref(&token.sums16[b]);
        add(add(zero, scales[0], first), scales[1], last)
    } else {
        add(zero, scales[0], &token.sums32[b])
    }
}
