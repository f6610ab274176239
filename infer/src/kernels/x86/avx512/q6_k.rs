//! Eight rows of `Q6_K` and one token. The quants are 32 less than their bits say; what that makes of four products is the same
//! for all rows, so the sums begin with it, and then fit 16 bits.

use std::arch::x86_64::*;

use super::block256::{Ahead, Wide256, split_eight, trees};
use super::vector::*;
use crate::kernels::activations::Q8K;
use crate::kernels::blocks::Q6_K;
use crate::kernels::x86::avx2::block256::Vector256;
use crate::kernels::x86::avx2::vector::{halves, load_half};

/// What the bits of a quant are more than the quant.
const OFFSET: i8 = 32;

/// See [`block256::eight_rows`](super::block256::eight_rows).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn eight_rows(rows: &[Q6_K], per_row: usize, token: &Q8K<'_>, ahead: Ahead) -> [f32; 8] {
    let rows = split_eight(rows, per_row);
    let mut acc = [_mm256_setzero_ps(); 8];
    for b in 0..per_row {
        let blocks = rows.map(|row| &row[b]);
        let operand = Operand::of(&token.quants[b]);
        // Block by block: in a loop the compiler leaves the sums in memory.
        let sums = sums_of_16(&[
            product(blocks[0], &operand, ahead),
            product(blocks[1], &operand, ahead),
            product(blocks[2], &operand, ahead),
            product(blocks[3], &operand, ahead),
            product(blocks[4], &operand, ahead),
            product(blocks[5], &operand, ahead),
            product(blocks[6], &operand, ahead),
            product(blocks[7], &operand, ahead),
        ]);
        let d = _mm256_set1_ps(token.scales.as_flattened()[b]);
        let scales = _mm256_mul_ps(halves(&blocks, |block| block.halves().0), d);
        let sum = &mut acc[b % 8];
        *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), scales, *sum);
    }
    trees(&acc)
}

/// The part of a token that meets one block of each row.
struct Operand {
    activations: [__m512i; 4],
    /// For each four activations, their sum times minus [`OFFSET`].
    biases: [__m512i; 4],
}

impl Operand {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn of(quants: &[i8; 256]) -> Self {
        let zero = _mm512_setzero_si512();
        let mut operand = Self { activations: [zero; 4], biases: [zero; 4] };
        for (i, quants) in quants.as_chunks::<64>().0.iter().enumerate() {
            let activations = load(quants);
            operand.activations[i] = activations;
            let sums = _mm512_dpbusd_epi32(zero, _mm512_set1_epi8(OFFSET), activations);
            operand.biases[i] = _mm512_sub_epi32(zero, sums);
        }
        operand
    }
}

/// 16 integers whose sum is the sum over the sub-blocks of sub-scale times sum of products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn product(block: &Q6_K, Operand { activations, biases }: &Operand, ahead: Ahead) -> __m512i {
    ahead.of_block(block);
    // SAFETY: this function is compiled for the features.
    let quarters = unsafe { block.quarters() };
    let four = |i: usize| _mm512_dpbusd_epi32(biases[i], quarters[i], activations[i]);
    let scales = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(load_half(&block.scales)));
    let mut sum = _mm512_setzero_si512();
    for (i, order) in SCALES_OF_PAIRS.iter().enumerate() {
        let pair = _mm512_packs_epi32(four(2 * i), four(2 * i + 1));
        sum = dpwssd(sum, pair, _mm512_permutexvar_epi16(load(order), scales));
    }
    sum
}

/// For each pair of quarters, packed to 16 bits: which of the sub-scales each number is multiplied by. A quarter is four
/// sub-blocks, and of the quarters of the packed vector each has four numbers of the first and four of the second.
const SCALES_OF_PAIRS: [[i16; 32]; 2] = {
    let mut out = [[0; 32]; 2];
    let mut i = 0;
    while i < 64 {
        let (pair, number) = (i / 32, i % 32);
        let (quarter, second) = (number / 8, number % 8 / 4);
        out[pair][number] = (8 * pair + 4 * second + quarter) as i16;
        i += 1;
    }
    out
};
