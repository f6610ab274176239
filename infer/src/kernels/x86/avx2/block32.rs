//! Dot products with blocks of 32, by groups of 8 blocks: the group is unpacked once and meets each token of the tile.
//!
//! The bytes of a group are unpacked to the order of the activations, in which the lanes of a vector are the 8 blocks. So
//! the products add up to one vector of block sums without a single horizontal step, and that vector is the one that the
//! accumulators of the specification ask for.

use std::arch::x86_64::*;

use bytemuck::cast_ref;

use super::vector::*;
use crate::kernels::activations::{Q8, WEAVE};
use crate::kernels::blocks::Block32;
use crate::kernels::matmul::{Sink, TILE};

/// Blocks of 32 in vectors.
pub(in crate::kernels) trait Vector32: Block32 {
    /// What [`Vector32::bytes`] are.
    const RANGE: Range;

    /// The quants of up to 8 blocks: vector `k` holds, for each block, elements `4 k` to `4 k + 3`. Where there is no block
    /// they are anything, for the activations there are zero.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX2, FMA and F16C.
    unsafe fn bytes(blocks: &[&Self]) -> [__m256i; 8];

    /// The scales and mins (zero where the format has none) of up to 8 blocks, zero where there is no block.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX2, FMA and F16C.
    unsafe fn scales(blocks: &[&Self]) -> (__m256, __m256);
}

/// The range of the bytes of a block, which says how to multiply them by activations (of at most 127).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Range {
    /// Signed. Their magnitudes are multiplied by activations with the signs moved over.
    Signed,
    /// From 0 to `max`, which is at most 31, and `offset` more than the quants.
    Small {
        /// Tells how many products fit 16 bits.
        max: i32,
        /// Taken back as `offset * sum(activations)`, which is exact.
        offset: i32,
    },
}

/// See [`portable::rows32`](crate::kernels::portable::rows32).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rows<B: Vector32>(rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    match tokens {
        [token] => tile::<B, 1>(rows, per_row, std::array::from_ref(token), sink),
        _ => tile::<B, TILE>(rows, per_row, tokens, sink),
    }
}

/// Up to `T` tokens.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<B: Vector32, const T: usize>(rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    for (row, blocks) in rows.chunks_exact(per_row).enumerate() {
        let mut lanes = [_mm256_setzero_ps(); T];
        let (groups, rest) = blocks.as_chunks::<8>();
        for (g, blocks) in groups.iter().enumerate() {
            prefetch(blocks);
            group::<B, T>(&blocks.each_ref(), g, tokens, &mut lanes);
        }
        if !rest.is_empty() {
            let mut blocks = [&rest[0]; 8];
            blocks.iter_mut().zip(rest).for_each(|(to, block)| *to = block);
            group::<B, T>(&blocks[..rest.len()], groups.len(), tokens, &mut lanes);
        }
        for (t, lanes) in lanes.iter().enumerate().take(tokens.len()) {
            sink.put(row, t, tree8(*lanes));
        }
    }
}

/// Adds the terms of the up to 8 blocks of group `g`. Where a block is missing the term is zero times zero, and adding
/// that changes no accumulator: they begin as `+0.0` and so never become `-0.0`.
#[inline(always)]
fn group<B: Vector32, const T: usize>(blocks: &[&B], g: usize, tokens: &[Q8<'_>], lanes: &mut [__m256; T]) {
    // SAFETY: inlined into `tile`, which is compiled for the features.
    unsafe {
        let (bytes, (scales, mins)) = (B::bytes(blocks), B::scales(blocks));
        for (lanes, token) in lanes.iter_mut().zip(tokens) {
            let mut sums = sums::<B>(&bytes, quants(token, g));
            if let Range::Small { offset, .. } = B::RANGE
                && offset != 0
            {
                sums = _mm256_sub_epi32(sums, _mm256_mullo_epi32(load(&token.sums[g]), _mm256_set1_epi32(offset)));
            }
            let scales = _mm256_mul_ps(scales, load_floats(&token.scales[g]));
            *lanes = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scales, *lanes);
            if B::HAS_MIN {
                *lanes = _mm256_fmadd_ps(mins, load_floats(&token.scaled_sums[g]), *lanes);
            }
        }
    }
}

/// The quants of group `g`: vector `k` holds, for each of its 8 blocks, elements `4 k` to `4 k + 3`.
#[inline(always)]
fn quants<'a>(token: &Q8<'a>, g: usize) -> [&'a [i8; 32]; 8] {
    let weave: &[[[i8; 32]; WEAVE / 8]; 8] = cast_ref(&token.quants.as_chunks::<{ WEAVE / 8 }>().0[g / (WEAVE / 8)]);
    weave.each_ref().map(|vectors| &vectors[g % (WEAVE / 8)])
}

/// The sums of products of 8 blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sums<B: Vector32>(bytes: &[__m256i; 8], quants: [&[i8; 32]; 8]) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    let mut sums = _mm256_setzero_si256();
    match B::RANGE {
        Range::Signed => {
            for k in 0..8 {
                // 128 * 127 * 2 still fits 16 bits.
                let quants = _mm256_sign_epi8(load(quants[k]), bytes[k]);
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(bytes[k]), quants);
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
            }
        }
        Range::Small { max, .. } => {
            // A maddubs adds two products, so eight or four of its results may be added in 16 bits.
            let run = if max * 127 * 2 * 8 <= 32767 { 8 } else { 4 };
            for first in (0..8).step_by(run) {
                let mut pairs = _mm256_maddubs_epi16(bytes[first], load(quants[first]));
                for k in first + 1..first + run {
                    pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(bytes[k], load(quants[k])));
                }
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    sums
}
