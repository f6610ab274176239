//! Dot products with blocks of 256: exact integer sums for each of up to 8 blocks and each token, then one vector of terms.

use std::arch::x86_64::*;

use super::vector::*;
use crate::kernels::activations::Q8K;
use crate::kernels::blocks::Block256;
use crate::kernels::matmul::Sink;

/// The part of a token that meets one block.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Operand<'a> {
    pub(in crate::kernels::x86) quants: &'a [[i8; 32]; 8],
    pub(in crate::kernels::x86) sums16: &'a [i16; 16],
    pub(in crate::kernels::x86) sums32: &'a [i16; 8],
}

impl<'a> Operand<'a> {
    /// Block `b` of a token.
    #[inline(always)]
    pub(in crate::kernels::x86) fn of(token: &Q8K<'a>, b: usize) -> Self {
        Self { quants: bytemuck::cast_ref(&token.quants[b]), sums16: &token.sums16[b], sums32: &token.sums32[b] }
    }
}

/// A block of 256 in vectors.
pub(in crate::kernels) trait Vector256: Block256 {
    /// For each token, 8 integers whose sum is the sum over the sub-blocks of sub-scale times sum of products.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX2, FMA and F16C.
    unsafe fn products<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T];

    /// The same for the mins, where the format has them.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX2, FMA and F16C.
    unsafe fn mins<const T: usize>(&self, _: &[Operand<'_>; T]) -> [__m256i; T] {
        // SAFETY: contract.
        unsafe { [_mm256_setzero_si256(); T] }
    }

    /// The bits of scale and min.
    fn halves(&self) -> ([u8; 2], [u8; 2]);
}

/// See [`portable::rows256`](crate::kernels::portable::rows256).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rows<B: Vector256>(rows: &[B], per_row: usize, tokens: &[Q8K<'_>], sink: Sink<'_>) {
    // Four tokens are what the registers have room for.
    let (fours, rest) = tokens.as_chunks::<4>();
    for (row, blocks) in rows.chunks_exact(per_row).enumerate() {
        for (i, tokens) in fours.iter().enumerate() {
            one_row(blocks, tokens, |t, value| sink.put(row, i * 4 + t, value));
        }
        for (t, token) in rest.iter().enumerate() {
            one_row(blocks, &[*token], |_, value| sink.put(row, fours.len() * 4 + t, value));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn one_row<B: Vector256, const T: usize>(blocks: &[B], tokens: &[Q8K<'_>; T], put: impl Fn(usize, f32)) {
    let zero = _mm256_setzero_si256();
    let mut lanes = [_mm256_setzero_ps(); T];
    for (g, blocks) in blocks.chunks(8).enumerate() {
        // Where a block is missing the term is zero times zero; see `block32::group`.
        let (mut sums, mut min_sums) = ([[zero; 8]; T], [[zero; 8]; T]);
        for (j, block) in blocks.iter().enumerate() {
            let b = g * 8 + j;
            prefetch(block);
            let mut operands = [OPERAND; T];
            for (operand, token) in operands.iter_mut().zip(tokens) {
                *operand = Operand::of(token, b);
            }
            // SAFETY: this function is compiled for the features.
            let (products, mins) = unsafe { (block.products(&operands), block.mins(&operands)) };
            for t in 0..T {
                sums[t][j & 7] = products[t];
                min_sums[t][j & 7] = mins[t];
            }
        }
        let mut refs = [&blocks[0]; 8];
        refs.iter_mut().zip(blocks).for_each(|(to, block)| *to = block);
        let scales = halves(&refs[..blocks.len()], |block| block.halves().0);
        let mins = halves(&refs[..blocks.len()], |block| block.halves().1);
        for t in 0..T {
            let d = load_floats(&tokens[t].scales[g]);
            let sums = _mm256_cvtepi32_ps(sums_of_8(&sums[t]));
            lanes[t] = _mm256_fmadd_ps(sums, _mm256_mul_ps(scales, d), lanes[t]);
            if B::HAS_MIN {
                let min_sums = _mm256_cvtepi32_ps(sums_of_8(&min_sums[t]));
                lanes[t] = _mm256_fnmadd_ps(min_sums, _mm256_mul_ps(mins, d), lanes[t]);
            }
        }
    }
    for (t, lanes) in lanes.iter().enumerate() {
        put(t, tree8(*lanes));
    }
}

/// To begin an array with.
pub(in crate::kernels::x86) const OPERAND: Operand<'_> =
    Operand { quants: &[[0; 32]; 8], sums16: &[0; 16], sums32: &[0; 8] };
