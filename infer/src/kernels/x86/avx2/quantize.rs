//! Activations to 8-bit blocks.

use std::arch::x86_64::*;

use super::vector::*;
use crate::kernels::quantize::{MAGNITUDE, RowQ8, RowQ8K, Scale};

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn blocks_of_32(blocks: &[[f32; 32]], row: &mut RowQ8<'_>) {
    for (b, x) in blocks.iter().enumerate() {
        let Scale { inverse, scale } = Scale::of_32(largest(x));
        let rounded = round(x, inverse);
        let sum = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), rounded), _mm256_set1_epi16(1));
        let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
        let sum = _mm_hadd_epi32(sum, sum);
        let sum = _mm_cvtsi128_si32(_mm_hadd_epi32(sum, sum));
        // Both numbers through half precision.
        let pair = _mm_setr_ps(scale, scale * sum as f32, 0.0, 0.0);
        let pair = _mm_cvtph_ps(_mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(pair));
        let mut quants = [0; 32];
        store(&mut quants, rounded);
        row.put_quants(b, &quants);
        row.scales[b] = _mm_cvtss_f32(pair);
        row.scaled_sums[b] = _mm_cvtss_f32(_mm_movehdup_ps(pair));
        row.sums[b] = sum;
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn blocks_of_256(blocks: &[[f32; 256]], row: &mut RowQ8K<'_>) {
    let quants = row.quants.as_chunks_mut::<256>().0;
    let (sums16, sums32) = (row.sums16.as_chunks_mut::<16>().0, row.sums32.as_chunks_mut::<8>().0);
    let ones = _mm256_set1_epi8(1);
    for (b, (x, quants)) in blocks.iter().zip(quants).enumerate() {
        let amax = largest(x);
        let Scale { inverse, scale } = Scale::of_256(first_of(x, amax));
        let mut pairs = [_mm256_setzero_si256(); 8];
        let parts = x.as_chunks::<32>().0.iter().zip(quants.as_chunks_mut::<32>().0);
        for ((x, quants), pairs) in parts.zip(&mut pairs) {
            let rounded = round(x, inverse);
            store(quants, rounded);
            *pairs = _mm256_maddubs_epi16(ones, rounded);
        }
        // Three steps of neighbours: the sum of the first 16 of each 32 in the lower half, of the last 16 in the upper.
        let first = _mm256_hadd_epi16(_mm256_hadd_epi16(pairs[0], pairs[1]), _mm256_hadd_epi16(pairs[2], pairs[3]));
        let last = _mm256_hadd_epi16(_mm256_hadd_epi16(pairs[4], pairs[5]), _mm256_hadd_epi16(pairs[6], pairs[7]));
        let sums = _mm256_hadd_epi16(first, last);
        let (even, odd) = (_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
        store(&mut sums16[b], _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd)));
        store_half(&mut sums32[b], _mm_add_epi16(even, odd));
        row.scales[b] = scale;
    }
}

/// The bits of the largest magnitude.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn largest<const N: usize>(x: &[f32; N]) -> u32 {
    let mask = _mm256_set1_epi32(MAGNITUDE as i32);
    let mut max = _mm256_setzero_si256();
    for x in x.as_chunks::<8>().0 {
        max = _mm256_max_epi32(max, _mm256_and_si256(load(x), mask));
    }
    let max = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256::<1>(max));
    let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b01_00_11_10>(max));
    let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b10_11_00_01>(max));
    _mm_cvtsi128_si32(max) as u32
}

/// The first element with these bits but the sign.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn first_of(x: &[f32; 256], magnitude: u32) -> f32 {
    let (mask, wanted) = (_mm256_set1_epi32(MAGNITUDE as i32), _mm256_set1_epi32(magnitude as i32));
    for x in x.as_chunks::<8>().0 {
        let equal = _mm256_cmpeq_epi32(_mm256_and_si256(load(x), mask), wanted);
        let equal = _mm256_movemask_ps(_mm256_castsi256_ps(equal));
        if equal != 0 {
            return x[equal.trailing_zeros() as usize % 8];
        }
    }
    0.0
}

/// Each `x * inverse` to the nearest integer, ties to even; all zero where `inverse` is.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn round(x: &[f32; 32], inverse: f32) -> __m256i {
    if inverse == 0.0 {
        return _mm256_setzero_si256();
    }
    let inverse = _mm256_set1_ps(inverse);
    let x = x.as_chunks::<8>().0;
    let round = |i: usize| _mm256_cvtps_epi32(_mm256_mul_ps(load_floats(&x[i]), inverse));
    let words = (_mm256_packs_epi32(round(0), round(1)), _mm256_packs_epi32(round(2), round(3)));
    // Packing works on halves, and leaves the groups of 4 in the order 0 2 4 6 1 3 5 7.
    let bytes = _mm256_packs_epi16(words.0, words.1);
    _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
}
