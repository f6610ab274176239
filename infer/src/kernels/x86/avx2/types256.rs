//! How blocks of 256 multiply.

use std::arch::x86_64::*;

use bytemuck::cast_ref;

use super::block256::{Operand, Vector256};
use super::vector::*;
use crate::kernels::blocks::{IQ4_VALUES, IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};

const THREES: u32 = 0x0303_0303;
const NIBBLES: u32 = 0x0f0f_0f0f;

/// `acc += scales * (bytes * quants)` for each token; `bytes` unsigned and at most 63, so that pairs of products fit 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<const T: usize>(
    acc: &mut [__m256i; T],
    bytes: __m256i,
    scales: __m256i,
    tokens: &[Operand<'_>; T],
    sub: usize,
) {
    for (acc, token) in acc.iter_mut().zip(tokens) {
        let pairs = _mm256_maddubs_epi16(bytes, load(&token.quants[sub]));
        *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(pairs, scales));
    }
}

/// Scale `index` of 8 (16 bits each, the same in both halves), everywhere.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scale_of_32(scales: __m256i, index: usize) -> __m256i {
    _mm256_shuffle_epi8(scales, _mm256_set1_epi16(0x0100 + 0x0202 * index as i16))
}

/// Scale `index` of 8 in the lower half, the next in the upper.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scales_of_16(scales: __m256i, index: usize) -> __m256i {
    let (low, high) = (0x0100 + 0x0202 * index as i16, 0x0302 + 0x0202 * index as i16);
    _mm256_shuffle_epi8(scales, _mm256_set_m128i(_mm_set1_epi16(high), _mm_set1_epi16(low)))
}

/// The 16 scales of a half each: the first 8 in both halves, the last 8 in both halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn spread_16(scales: __m256i) -> [__m256i; 2] {
    [_mm256_permute2x128_si256::<0x00>(scales, scales), _mm256_permute2x128_si256::<0x11>(scales, scales)]
}

/// `acc -= scales * sums << SHIFT`: takes back what making the bytes unsigned has added.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn take_back<const T: usize, const SHIFT: i32>(acc: &mut [__m256i; T], scales: __m256i, tokens: &[Operand<'_>; T]) {
    for (acc, token) in acc.iter_mut().zip(tokens) {
        let sums = _mm256_madd_epi16(scales, load(token.sums16));
        *acc = _mm256_sub_epi32(*acc, _mm256_slli_epi32::<SHIFT>(sums));
    }
}

/// The 8 scales and 8 mins of `Q4_K` and `Q5_K` in 16 bits; see `blocks::six_bit_pairs`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn six_bit_pairs(packed: &[u8; 12]) -> (__m128i, __m128i) {
    let [a, b, c] = cast_ref::<[u8; 12], [[u8; 4]; 3]>(packed).map(u32::from_le_bytes);
    let low = |x: u32| u64::from(x & (THREES << 4 | NIBBLES));
    let high = |low: u32, upper: u32| u64::from(low & NIBBLES | upper >> 2 & (THREES << 4)) << 32;
    let wide = |x: u64| _mm_cvtepu8_epi16(_mm_cvtsi64_si128(x as i64));
    (wide(low(a) | high(c, a)), wide(low(b) | high(c >> 4, b)))
}

/// The sums of the mins of 32.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn mins_of_32<const T: usize>(mins: __m128i, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
    let mut out = [_mm256_setzero_si256(); T];
    for (out, token) in out.iter_mut().zip(tokens) {
        *out = _mm256_zextsi128_si256(_mm_madd_epi16(mins, load_half(token.sums32)));
    }
    out
}

/// The 16 sub-scales of `Q3_K`, as bytes; see `blocks::six_bit_scales`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn q3_k_scales(packed: &[u8; 12]) -> __m128i {
    let [a, b, c] = cast_ref::<[u8; 12], [[u8; 4]; 3]>(packed).map(u32::from_le_bytes);
    let scale = |low: u32, high: u32| (low & NIBBLES | (high & THREES) << 4) as i32;
    let scales = _mm_setr_epi32(scale(a, c), scale(b, c >> 2), scale(a >> 4, c >> 4), scale(b >> 4, c >> 6));
    _mm_sub_epi8(scales, _mm_set1_epi8(32))
}

/// The 8 sub-scales of `IQ4_XS` in 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn iq4_xs_scales(block: &IQ4_XS) -> __m128i {
    // The low nibbles in order, and above each the two bits that a multiplication moves to the top of its 16.
    let low = _mm_cvtsi32_si128(i32::from_le_bytes(block.scales_l));
    let low = _mm_unpacklo_epi8(low, _mm_srli_epi16::<4>(low));
    let low = _mm_cvtepu8_epi16(_mm_and_si128(low, _mm_set1_epi8(15)));
    let places = _mm_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 1 << 6, 1 << 4, 1 << 2, 1);
    let high = _mm_mullo_epi16(_mm_set1_epi16(i16::from_le_bytes(block.scales_h)), places);
    let high = _mm_slli_epi16::<4>(_mm_srli_epi16::<14>(high));
    _mm_sub_epi16(_mm_or_si128(low, high), _mm_set1_epi16(32))
}

impl Vector256 for Q4_K {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn products<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        let (qs, mask) = (cast_ref::<_, [[u8; 32]; 4]>(&self.qs), _mm256_set1_epi8(15));
        let scales = twice(six_bit_pairs(&self.scales).0);
        let mut acc = [_mm256_setzero_si256(); T];
        for (i, bits) in qs.iter().enumerate() {
            let bits = load(bits);
            let (low, high) = (_mm256_and_si256(bits, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bits), mask));
            multiply(&mut acc, low, scale_of_32(scales, 2 * i), tokens, 2 * i);
            multiply(&mut acc, high, scale_of_32(scales, 2 * i + 1), tokens, 2 * i + 1);
        }
        acc
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mins<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        mins_of_32(six_bit_pairs(&self.scales).1, tokens)
    }

    #[inline]
    fn halves(&self) -> ([u8; 2], [u8; 2]) {
        (self.d, self.dmin)
    }
}

impl Vector256 for Q5_K {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn products<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        let (qs, mask, fifth) = (cast_ref::<_, [[u8; 32]; 4]>(&self.qs), _mm256_set1_epi8(15), _mm256_set1_epi8(16));
        let scales = twice(six_bit_pairs(&self.scales).0);
        let mut high_bits = load(&self.qh);
        let mut acc = [_mm256_setzero_si256(); T];
        for (i, bits) in qs.iter().enumerate() {
            let bits = load(bits);
            let (low, high) = (_mm256_and_si256(bits, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bits), mask));
            let low = _mm256_or_si256(low, _mm256_and_si256(_mm256_slli_epi16::<4>(high_bits), fifth));
            let high = _mm256_or_si256(high, _mm256_and_si256(_mm256_slli_epi16::<3>(high_bits), fifth));
            high_bits = _mm256_srli_epi16::<2>(high_bits);
            multiply(&mut acc, low, scale_of_32(scales, 2 * i), tokens, 2 * i);
            multiply(&mut acc, high, scale_of_32(scales, 2 * i + 1), tokens, 2 * i + 1);
        }
        acc
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mins<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        mins_of_32(six_bit_pairs(&self.scales).1, tokens)
    }

    #[inline]
    fn halves(&self) -> ([u8; 2], [u8; 2]) {
        (self.d, self.dmin)
    }
}

impl Vector256 for Q6_K {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn products<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        let (ql, qh) = (cast_ref::<_, [[u8; 32]; 4]>(&self.ql), cast_ref::<_, [[u8; 32]; 2]>(&self.qh));
        let (nibble, upper) = (_mm256_set1_epi8(15), _mm256_set1_epi8(48));
        let all_scales = _mm256_cvtepi8_epi16(load_half(&self.scales));
        let mut acc = [_mm256_setzero_si256(); T];
        for (n, scales) in spread_16(all_scales).into_iter().enumerate() {
            let (a, b, high) = (load(&ql[2 * n]), load(&ql[2 * n + 1]), load(&qh[n]));
            let lows = [a, b, _mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b)];
            let highs =
                [_mm256_slli_epi16::<4>(high), _mm256_slli_epi16::<2>(high), high, _mm256_srli_epi16::<2>(high)];
            for j in 0..4 {
                let bytes = _mm256_or_si256(_mm256_and_si256(lows[j], nibble), _mm256_and_si256(highs[j], upper));
                multiply(&mut acc, bytes, scales_of_16(scales, 2 * j), tokens, 4 * n + j);
            }
        }
        take_back::<T, 5>(&mut acc, all_scales, tokens);
        acc
    }

    #[inline]
    fn halves(&self) -> ([u8; 2], [u8; 2]) {
        (self.d, [0; 2])
    }
}

impl Vector256 for Q2_K {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn products<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        let (qs, mask) = (cast_ref::<_, [[u8; 32]; 2]>(&self.qs), _mm256_set1_epi8(3));
        let scales = _mm256_cvtepi8_epi16(_mm_and_si128(load_half(&self.scales), _mm_set1_epi8(15)));
        let mut acc = [_mm256_setzero_si256(); T];
        for (n, scales) in spread_16(scales).into_iter().enumerate() {
            let mut bits = load(&qs[n]);
            for j in 0..4 {
                multiply(&mut acc, _mm256_and_si256(bits, mask), scales_of_16(scales, 2 * j), tokens, 4 * n + j);
                bits = _mm256_srli_epi16::<2>(bits);
            }
        }
        acc
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn mins<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        let mins = _mm_and_si128(_mm_srli_epi16::<4>(load_half(&self.scales)), _mm_set1_epi8(15));
        let mins = _mm256_cvtepi8_epi16(mins);
        let mut out = [_mm256_setzero_si256(); T];
        for (out, token) in out.iter_mut().zip(tokens) {
            *out = _mm256_madd_epi16(mins, load(token.sums16));
        }
        out
    }

    #[inline]
    fn halves(&self) -> ([u8; 2], [u8; 2]) {
        (self.d, self.dmin)
    }
}

impl Vector256 for Q3_K {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn products<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        let (qs, two, third) = (cast_ref::<_, [[u8; 32]; 2]>(&self.qs), _mm256_set1_epi8(3), _mm256_set1_epi8(4));
        let all_scales = _mm256_cvtepi8_epi16(q3_k_scales(&self.scales));
        let mut high_bits = load(&self.hmask);
        let mut acc = [_mm256_setzero_si256(); T];
        for (n, scales) in spread_16(all_scales).into_iter().enumerate() {
            let mut bits = load(&qs[n]);
            for j in 0..4 {
                let high = _mm256_and_si256(_mm256_slli_epi16::<2>(high_bits), third);
                let bytes = _mm256_or_si256(_mm256_and_si256(bits, two), high);
                multiply(&mut acc, bytes, scales_of_16(scales, 2 * j), tokens, 4 * n + j);
                bits = _mm256_srli_epi16::<2>(bits);
                high_bits = _mm256_srli_epi16::<1>(high_bits);
            }
        }
        take_back::<T, 2>(&mut acc, all_scales, tokens);
        acc
    }

    #[inline]
    fn halves(&self) -> ([u8; 2], [u8; 2]) {
        (self.d, [0; 2])
    }
}

/// Both nibbles of each byte, the low ones first.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(qs: &[u8; 16]) -> __m256i {
    let both = _mm256_srlv_epi32(twice(load_half(qs)), _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

impl Vector256 for IQ4_XS {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn products<const T: usize>(&self, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
        let qs = cast_ref::<_, [[u8; 16]; 8]>(&self.qs);
        let scales = twice(iq4_xs_scales(self));
        let mut acc = [_mm256_setzero_si256(); T];
        for (i, qs) in qs.iter().enumerate() {
            let (values, scale) = (look_up(&IQ4_VALUES, nibbles(qs)), scale_of_32(scales, i));
            let magnitudes = _mm256_abs_epi8(values);
            for (acc, token) in acc.iter_mut().zip(tokens) {
                // Signed values: see `Range::Signed`.
                let pairs = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(load(&token.quants[i]), values));
                *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(pairs, scale));
            }
        }
        acc
    }

    #[inline]
    fn halves(&self) -> ([u8; 2], [u8; 2]) {
        (self.d, [0; 2])
    }
}
