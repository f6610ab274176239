//! Eight rows of `Q4_K` or `Q5_K` and one token. What belongs to eight blocks, their scales and mins of six bits and the sums
//! at the end, is worked out for several blocks in a vector; only the products are left to each row by itself.

use std::arch::x86_64::*;

use super::block256::{Ahead, Wide256, split_eight, trees};
use super::vector::*;
use crate::kernels::activations::Q8K;
use crate::kernels::blocks::{Q4_K, Q5_K};
use crate::kernels::x86::avx2::vector::load_half;

/// A block that begins with a scale, a scale of mins, and eight pairs of a sub-scale and a sub-min in six bits each.
pub(super) trait SixBit: Wide256 {
    /// These.
    fn head(&self) -> &[u8; 16];
}

impl SixBit for Q4_K {
    fn head(&self) -> &[u8; 16] {
        bytemuck::bytes_of(self).first_chunk().expect("a block is longer")
    }
}

impl SixBit for Q5_K {
    fn head(&self) -> &[u8; 16] {
        bytemuck::bytes_of(self).first_chunk().expect("a block is longer")
    }
}

/// See [`block256::eight_rows`](super::block256::eight_rows).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn eight_rows<B: SixBit>(rows: &[B], per_row: usize, token: &Q8K<'_>, ahead: Ahead) -> [f32; 8] {
    let rows = split_eight(rows, per_row);
    let mut acc = [_mm256_setzero_ps(); 8];
    for b in 0..per_row {
        let blocks = rows.map(|row| &row[b]);
        let heads = [heads(&blocks[..4]), heads(&blocks[4..])];
        let factors = heads.map(|heads| sub_scales_and_mins(heads));
        let sums = products(&blocks, &factors, &token.quants[b], ahead);
        let min_sums = min_sums(&factors, &token.sums32[b]);
        let d = _mm256_set1_ps(token.scales.as_flattened()[b]);
        let (scales, mins) = scales(&heads);
        let sum = &mut acc[b % 8];
        *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(scales, d), *sum);
        *sum = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(min_sums), _mm256_mul_ps(mins, d), *sum);
    }
    trees(&acc)
}

/// The heads of four blocks, each in a quarter of the vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn heads<B: SixBit>(blocks: &[&B]) -> __m512i {
    join([0, 1, 2, 3].map(|r| load_half(blocks[r].head())))
}

/// The scales of the eight blocks and of their mins.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn scales(heads: &[__m512i; 2]) -> (__m256, __m256) {
    let first_of_quarters = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0);
    let pairs = _mm512_castsi512_si256(_mm512_permutex2var_epi32(heads[0], first_of_quarters, heads[1]));
    let widened = |pairs: __m256i| _mm256_cvtph_ps(_mm256_cvtepi32_epi16(pairs));
    (widened(pairs), widened(_mm256_srli_epi32::<16>(pairs)))
}

/// Of each block its eight sub-scales, then its eight sub-mins, as bytes; see
/// [`six_bit_pairs`](crate::kernels::x86::avx2::types256::six_bit_pairs).
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sub_scales_and_mins(heads: __m512i) -> __m512i {
    const LOW_6: i32 = 0x3f3f_3f3f;
    const LOW_4: i32 = 0x0f0f_0f0f;
    const UPPER_2: i32 = 0x3030_3030;
    const OR_AND: i32 = 0b1111_1000;
    // After the two scales: the first four sub-scales, the first four sub-mins, and the low bits of the others.
    let low = _mm512_shuffle_epi32::<0b11_10_11_01>(heads);
    let low = _mm512_srlv_epi32(low, _mm512_set4_epi32(4, 0, 0, 0));
    let low = _mm512_and_si512(low, _mm512_set4_epi32(LOW_4, LOW_6, LOW_4, LOW_6));
    let upper = _mm512_srli_epi32::<2>(_mm512_shuffle_epi32::<0b10_10_01_01>(heads));
    _mm512_ternarylogic_epi32::<OR_AND>(low, upper, _mm512_set4_epi32(UPPER_2, 0, UPPER_2, 0))
}

/// For each block the sum over the sub-blocks of sub-scale times sum of products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn products<B: SixBit>(blocks: &[&B; 8], factors: &[__m512i; 2], quants: &[i8; 256], ahead: Ahead) -> __m256i {
    let [a, b, c, d, e, f, g, h] = *blocks;
    let [first, last] = *factors;
    // Block by block: in a loop the compiler leaves the sums in memory and looks up which quarter is next.
    sums_of_16(&[
        product::<B, 0b00_00_00_00>(a, first, quants, ahead),
        product::<B, 0b01_01_01_01>(b, first, quants, ahead),
        product::<B, 0b10_10_10_10>(c, first, quants, ahead),
        product::<B, 0b11_11_11_11>(d, first, quants, ahead),
        product::<B, 0b00_00_00_00>(e, last, quants, ahead),
        product::<B, 0b01_01_01_01>(f, last, quants, ahead),
        product::<B, 0b10_10_10_10>(g, last, quants, ahead),
        product::<B, 0b11_11_11_11>(h, last, quants, ahead),
    ])
}

/// 16 integers whose sum is that of one block, whose sub-scales are in the quarter of `factors` that `QUARTER` names four times.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn product<B: SixBit, const QUARTER: i32>(block: &B, factors: __m512i, quants: &[i8; 256], ahead: Ahead) -> __m512i {
    ahead.of_block(block);
    let factors = _mm512_shuffle_i32x4::<QUARTER>(factors, factors);
    let activations: &[[i8; 64]; 4] = bytemuck::cast_ref(quants);
    // SAFETY: this function is compiled for the features.
    let quarters = unsafe { block.quarters() };
    let four = |i: usize| _mm512_dpbusd_epi32(_mm512_setzero_si512(), quarters[i], load(&activations[i]));
    let mut sum = _mm512_setzero_si512();
    for (i, order) in SCALES_OF_PAIRS.iter().enumerate() {
        // Sums of four products fit 16 bits, so two quarters are scaled at once.
        let pair = _mm512_packs_epi32(four(2 * i), four(2 * i + 1));
        sum = dpwssd(sum, pair, _mm512_shuffle_epi8(factors, load(order)));
    }
    sum
}

/// For each pair of quarters, packed to 16 bits: which of the eight sub-scales each number is multiplied by. A quarter is two
/// sub-blocks, and of the quarters of the packed vector each has four numbers of the first and four of the second.
const SCALES_OF_PAIRS: [[[u8; 2]; 32]; 2] = {
    const ZERO: u8 = 0x80;
    let mut out = [[[ZERO; 2]; 32]; 2];
    let mut i = 0;
    while i < 64 {
        let (pair, number) = (i / 32, i % 32);
        let (quarter, second) = (number / 8, number % 8 / 4);
        out[pair][number][0] = (4 * pair + 2 * second + quarter / 2) as u8;
        i += 1;
    }
    out
};

/// For each block the sum over the sub-blocks of sub-min times sum of activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn min_sums(factors: &[__m512i; 2], sums32: &[i16; 8]) -> __m256i {
    let widened = _mm512_set4_epi32(
        i32::from_le_bytes([14, 0x80, 15, 0x80]),
        i32::from_le_bytes([12, 0x80, 13, 0x80]),
        i32::from_le_bytes([10, 0x80, 11, 0x80]),
        i32::from_le_bytes([8, 0x80, 9, 0x80]),
    );
    let activations = _mm512_broadcast_i32x4(load_half(sums32));
    let products = factors.map(|factors| _mm512_madd_epi16(_mm512_shuffle_epi8(factors, widened), activations));
    let pairs = _mm512_add_epi32(
        _mm512_unpacklo_epi64(products[0], products[1]),
        _mm512_unpackhi_epi64(products[0], products[1]),
    );
    let sums = _mm512_add_epi32(pairs, _mm512_shuffle_epi32::<0b10_11_00_01>(pairs));
    let in_order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm512_castsi512_si256(_mm512_permutexvar_epi32(in_order, sums))
}
