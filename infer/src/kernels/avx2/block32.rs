//! Dot products with blocks of 32, by groups of 8 blocks: the group is unpacked once and meets each token of the tile, and
//! the 8 block sums become one vector, which is the vector of the terms' accumulators.

use std::arch::x86_64::*;

use bytemuck::cast_ref;

use super::vector::*;
use crate::kernels::activations::Q8;
use crate::kernels::blocks::Block32;
use crate::kernels::matmul::{Sink, TILE};

/// A block of 32 in vectors.
pub(in crate::kernels) trait Vector32: Block32 {
    /// What [`Vector32::bytes`] are.
    const RANGE: Range;

    /// The quants in element order.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX2 and F16C.
    unsafe fn bytes(&self) -> __m256i;

    /// The scales of up to 8 blocks, zero where there is no block.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX2 and F16C.
    unsafe fn scales(blocks: &[Self]) -> __m256;

    /// The mins likewise.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX2 and F16C.
    unsafe fn mins(_: &[Self]) -> __m256 {
        // SAFETY: contract.
        unsafe { _mm256_setzero_ps() }
    }
}

/// The range of the bytes of a block, which says how to multiply them by activations (of at most 127).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::kernels) enum Range {
    /// Signed. Their magnitudes are multiplied by activations with the signs moved over.
    Signed,
    /// From 0 to at most 31, which is `offset` more than the quants. Sums of 8 products fit 16 bits.
    Small {
        /// Taken back as `offset * sum(activations)`, which is exact.
        offset: i32,
    },
}

/// See [`portable::rows32`](crate::kernels::portable::rows32).
#[target_feature(enable = "avx2,f16c")]
pub(super) fn rows<B: Vector32>(rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    match tokens {
        [token] => tile::<B, 1>(rows, per_row, std::array::from_ref(token), sink),
        _ => tile::<B, TILE>(rows, per_row, tokens, sink),
    }
}

/// Up to `T` tokens.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn tile<B: Vector32, const T: usize>(rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    for (row, blocks) in rows.chunks_exact(per_row).enumerate() {
        let mut lanes = [_mm256_setzero_ps(); T];
        let (groups, rest) = blocks.as_chunks::<8>();
        for (g, blocks) in groups.iter().enumerate() {
            group::<B, T>(blocks, g, tokens, &mut lanes);
        }
        if !rest.is_empty() {
            group::<B, T>(rest, groups.len(), tokens, &mut lanes);
        }
        for (t, lanes) in lanes.iter().enumerate().take(tokens.len()) {
            sink.put(row, t, tree8(*lanes));
        }
    }
}

/// Adds the terms of the up to 8 blocks of group `g`. Where a block is missing the term is zero times zero, and adding
/// that changes no accumulator: they begin as `+0.0` and so never become `-0.0`.
#[inline(always)]
fn group<B: Vector32, const T: usize>(blocks: &[B], g: usize, tokens: &[Q8<'_>], lanes: &mut [__m256; T]) {
    // SAFETY: inlined into `tile`, which is compiled for the features.
    unsafe {
        let mut bytes = [_mm256_setzero_si256(); 8];
        for (bytes, block) in bytes.iter_mut().zip(blocks) {
            *bytes = block.bytes();
        }
        let (scales, mins) = (B::scales(blocks), if B::HAS_MIN { B::mins(blocks) } else { _mm256_setzero_ps() });
        for (lanes, token) in lanes.iter_mut().zip(tokens) {
            let mut sums = sums::<B>(&bytes, &token.quants[g]);
            if let Range::Small { offset } = B::RANGE
                && offset != 0
            {
                sums = _mm256_sub_epi32(sums, _mm256_mullo_epi32(load(&token.sums[g]), _mm256_set1_epi32(offset)));
            }
            let scales = _mm256_mul_ps(scales, load_floats(&token.scales[g]));
            let mut terms = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), scales);
            if B::HAS_MIN {
                terms = _mm256_add_ps(terms, _mm256_mul_ps(mins, load_floats(&token.scaled_sums[g])));
            }
            *lanes = _mm256_add_ps(*lanes, terms);
        }
    }
}

/// The sums of products of 8 blocks.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn sums<B: Vector32>(bytes: &[__m256i; 8], quants: &[i8; 256]) -> __m256i {
    let quants: &[[i8; 32]; 8] = cast_ref(quants);
    let mut x = [_mm256_setzero_si256(); 8];
    let ones = _mm256_set1_epi16(1);
    if B::RANGE == Range::Signed {
        for j in 0..8 {
            // 128 * 127 * 2 still fits 16 bits.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(bytes[j]), _mm256_sign_epi8(load(&quants[j]), bytes[j]));
            x[j] = _mm256_madd_epi16(pairs, ones);
        }
        return sums_of_8(&x);
    }
    for j in 0..8 {
        x[j] = _mm256_maddubs_epi16(bytes[j], load(&quants[j]));
    }
    // Two steps in 16 bits leave sums of 8 products: at most 31 * 127 * 8 < 32768.
    let first = _mm256_hadd_epi16(_mm256_hadd_epi16(x[0], x[1]), _mm256_hadd_epi16(x[2], x[3]));
    let last = _mm256_hadd_epi16(_mm256_hadd_epi16(x[4], x[5]), _mm256_hadd_epi16(x[6], x[7]));
    add_halves(_mm256_madd_epi16(first, ones), _mm256_madd_epi16(last, ones))
}
