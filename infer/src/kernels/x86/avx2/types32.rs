//! How blocks of 32 unpack to vectors.

use std::arch::x86_64::*;

use super::block32::{Range, Vector32};
use super::vector::*;
use crate::kernels::blocks::{FP4_VALUES, IQ4_NL, IQ4_VALUES, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

/// Sixteen bytes of each of up to 8 blocks, transposed: vector `k` holds bytes `4 k` to `4 k + 3` of each block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn transposed<B>(blocks: &[&B], bytes: impl Fn(&B) -> &[u8; 16]) -> [__m256i; 4] {
    let load = |i: usize| match blocks.get(i) {
        Some(block) => load_half(bytes(block)),
        None => _mm_setzero_si128(),
    };
    let two = |i: usize| _mm256_set_m128i(load(i + 4), load(i));
    let (a, b, c, d) = (two(0), two(1), two(2), two(3));
    let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    [
        _mm256_unpacklo_epi64(ab_low, cd_low),
        _mm256_unpackhi_epi64(ab_low, cd_low),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Both nibbles of each byte: of four vectors the low ones, then the high ones.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn split(bytes: [__m256i; 4]) -> [__m256i; 8] {
    let [a, b, c, d] = bytes;
    let mask = _mm256_set1_epi8(15);
    let low = |x: __m256i| _mm256_and_si256(x, mask);
    let high = |x: __m256i| _mm256_and_si256(_mm256_srli_epi16::<4>(x), mask);
    [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
}

/// Adds 16 to element `i` of a block where bit `i` of `bits(block)` is set.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_fifth_bits<B>(nibbles: &mut [__m256i; 8], blocks: &[&B], bits: impl Fn(&B) -> [u8; 4]) {
    let bits = words(blocks, bits);
    let sixteen = _mm256_set1_epi8(16);
    for i in 0..4 {
        // Byte `i` of the bits is for the elements of two vectors.
        let byte = 0x0404_0404_0000_0000 + 0x0101_0101_0101_0101 * i as i64;
        let upper = 0x0808_0808_0808_0808;
        let spread = _mm256_setr_epi64x(byte, byte + upper, byte, byte + upper);
        let byte = _mm256_shuffle_epi8(bits, spread);
        for (nibbles, bit) in nibbles[2 * i..][..2].iter_mut().zip([0x0804_0201, 0x8040_2010_u32]) {
            let bit = _mm256_set1_epi32(bit as i32);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit);
            *nibbles = _mm256_or_si256(*nibbles, _mm256_and_si256(set, sixteen));
        }
    }
}

/// A 32-bit word of each of up to 8 blocks.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn words<B>(blocks: &[&B], word: impl Fn(&B) -> [u8; 4]) -> __m256i {
    let word = |i: usize| blocks.get(i).map_or(0, |block| i32::from_le_bytes(word(block)));
    _mm256_setr_epi32(word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7))
}

/// Two neighbouring half-precision numbers of each of up to 8 blocks, widened; zero where there is no block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pairs<B>(blocks: &[&B], pair: impl Fn(&B) -> [u8; 4]) -> (__m256, __m256) {
    let words = words(blocks, pair);
    let (first, second) = (_mm256_and_si256(words, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32::<16>(words));
    let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(first, second));
    (_mm256_cvtph_ps(_mm256_castsi256_si128(packed)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(packed)))
}

macro_rules! vector32 {
    ($name:ident, $range:expr, $blocks:ident => $bytes:expr, $scales:expr) => {
        impl Vector32 for $name {
            const RANGE: Range = $range;

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn bytes($blocks: &[&Self]) -> [__m256i; 8] {
                $bytes
            }

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn scales($blocks: &[&Self]) -> (__m256, __m256) {
                $scales
            }
        }
    };
}

vector32!(
    Q4_0, Range::Small { max: 15, offset: 8 },
    blocks => split(transposed(blocks, |block: &Self| &block.qs)),
    (halves(blocks, |block: &Self| block.d), _mm256_setzero_ps())
);
vector32!(
    Q4_1, Range::Small { max: 15, offset: 0 },
    blocks => split(transposed(blocks, |block: &Self| &block.qs)),
    pairs(blocks, |block: &Self| bytemuck::cast([block.d, block.m]))
);
vector32!(
    Q5_0, Range::Small { max: 31, offset: 16 },
    blocks => {
        let mut bytes = split(transposed(blocks, |block: &Self| &block.qs));
        add_fifth_bits(&mut bytes, blocks, |block: &Self| block.qh);
        bytes
    },
    (halves(blocks, |block: &Self| block.d), _mm256_setzero_ps())
);
vector32!(
    Q5_1, Range::Small { max: 31, offset: 0 },
    blocks => {
        let mut bytes = split(transposed(blocks, |block: &Self| &block.qs));
        add_fifth_bits(&mut bytes, blocks, |block: &Self| block.qh);
        bytes
    },
    pairs(blocks, |block: &Self| bytemuck::cast([block.d, block.m]))
);
vector32!(
    Q8_0, Range::Signed,
    blocks => {
        let half = |i: usize| transposed(blocks, |block: &Self| &bytemuck::cast_ref::<_, [[u8; 16]; 2]>(&block.qs)[i]);
        let ([a, b, c, d], [e, f, g, h]) = (half(0), half(1));
        [a, b, c, d, e, f, g, h]
    },
    (halves(blocks, |block: &Self| block.d), _mm256_setzero_ps())
);
vector32!(
    IQ4_NL, Range::Signed,
    blocks => {
        let mut bytes = split(transposed(blocks, |block: &Self| &block.qs));
        for bytes in &mut bytes {
            *bytes = look_up(&IQ4_VALUES, *bytes);
        }
        bytes
    },
    (halves(blocks, |block: &Self| block.d), _mm256_setzero_ps())
);
vector32!(
    MXFP4, Range::Small { max: 2 * FP4_OFFSET as i32, offset: FP4_OFFSET as i32 },
    blocks => {
        let mut bytes = split(transposed(blocks, |block: &Self| &block.qs));
        for bytes in &mut bytes {
            *bytes = look_up(&FP4_UNSIGNED, *bytes);
        }
        bytes
    },
    (powers(blocks), _mm256_setzero_ps())
);

/// The largest of [`FP4_VALUES`], which makes them unsigned.
const FP4_OFFSET: i8 = 12;
const FP4_UNSIGNED: [i8; 16] = {
    let mut values = FP4_VALUES;
    let mut i = 0;
    while i < 16 {
        values[i] += FP4_OFFSET;
        i += 1;
    }
    values
};

/// The scales that are powers of two; see `blocks::half_of_power`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn powers(blocks: &[&MXFP4]) -> __m256 {
    let (mut exponents, mut present) = (0u64, 0u64);
    for (i, block) in blocks.iter().enumerate().take(8) {
        exponents |= u64::from(block.e[0]) << (i * 8);
        present |= 0xff << (i * 8);
    }
    let e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(exponents as i64));
    // The exponents 0 and 1 make subnormal numbers.
    let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
    let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
    let scales = _mm256_blendv_epi8(normal, subnormal, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e));
    // An exponent of zero does not mean a scale of zero.
    _mm256_castsi256_ps(_mm256_and_si256(scales, _mm256_cvtepi8_epi32(_mm_cvtsi64_si128(present as i64))))
}
