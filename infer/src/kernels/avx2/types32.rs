//! How blocks of 32 unpack to vectors.

use std::arch::x86_64::*;

use super::block32::{Range, Vector32};
use super::vector::*;
use crate::kernels::blocks::{FP4_VALUES, IQ4_NL, IQ4_VALUES, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

/// Both nibbles of each byte, the low ones first.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn nibbles(qs: &[u8; 16]) -> __m256i {
    let low = load_half(qs);
    let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), _mm_srli_epi16::<4>(low));
    _mm256_and_si256(both, _mm256_set1_epi8(15))
}

/// Nibbles with a fifth bit each.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn five_bits(qs: &[u8; 16], qh: [u8; 4]) -> __m256i {
    // Each byte of the bits goes to the 8 elements it is for, each of which tests its bit.
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(qh)), spread);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bits, bit), bit);
    _mm256_or_si256(nibbles(qs), _mm256_and_si256(set, _mm256_set1_epi8(16)))
}

/// The entries of a table that the nibbles index.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn look_up(table: &[i8; 16], nibbles: __m256i) -> __m256i {
    _mm256_shuffle_epi8(twice(load_half(table)), nibbles)
}

macro_rules! vector32 {
    ($name:ident, $range:expr, $self:ident => $bytes:expr $(, $min:ident)?) => {
        impl Vector32 for $name {
            const RANGE: Range = $range;

            #[inline]
            #[target_feature(enable = "avx2,f16c")]
            unsafe fn bytes(&$self) -> __m256i {
                $bytes
            }

            #[inline]
            #[target_feature(enable = "avx2,f16c")]
            unsafe fn scales(blocks: &[Self]) -> __m256 {
                match blocks.first_chunk() {
                    Some(blocks) => halves_of_8(blocks, |block| block.d),
                    None => halves(blocks, |block| block.d),
                }
            }

            $(
                #[inline]
                #[target_feature(enable = "avx2,f16c")]
                unsafe fn mins(blocks: &[Self]) -> __m256 {
                    match blocks.first_chunk() {
                        Some(blocks) => halves_of_8(blocks, |block| block.$min),
                        None => halves(blocks, |block| block.$min),
                    }
                }
            )?
        }
    };
}

vector32!(Q4_0, Range::Small { offset: 8 }, self => nibbles(&self.qs));
vector32!(Q4_1, Range::Small { offset: 0 }, self => nibbles(&self.qs), m);
vector32!(Q5_0, Range::Small { offset: 16 }, self => five_bits(&self.qs, self.qh));
vector32!(Q5_1, Range::Small { offset: 0 }, self => five_bits(&self.qs, self.qh), m);
vector32!(Q8_0, Range::Signed, self => load(&self.qs));
vector32!(IQ4_NL, Range::Signed, self => look_up(&IQ4_VALUES, nibbles(&self.qs)));

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

impl Vector32 for MXFP4 {
    const RANGE: Range = Range::Small { offset: FP4_OFFSET as i32 };

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn bytes(&self) -> __m256i {
        look_up(&FP4_UNSIGNED, nibbles(&self.qs))
    }

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn scales(blocks: &[Self]) -> __m256 {
        let (mut exponents, mut present) = (0u64, 0u64);
        for (i, block) in blocks.iter().enumerate().take(8) {
            exponents |= u64::from(block.e[0]) << (i * 8);
            present |= 0xff << (i * 8);
        }
        let e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(exponents as i64));
        // See `half_of_power`: the exponents 0 and 1 make subnormal numbers.
        let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
        let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
        let scales = _mm256_blendv_epi8(normal, subnormal, _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e));
        // An exponent of zero does not mean a scale of zero.
        _mm256_castsi256_ps(_mm256_and_si256(scales, _mm256_cvtepi8_epi32(_mm_cvtsi64_si128(present as i64))))
    }
}
