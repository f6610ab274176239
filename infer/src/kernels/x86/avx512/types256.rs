//! How blocks of 256 unpack to long vectors.

use std::arch::x86_64::*;

use bytemuck::cast_ref;

use super::block256::{Ahead, Wide256};
use super::vector::*;
use super::{q6_k, six_bit};
use crate::kernels::activations::Q8K;
use crate::kernels::blocks::{IQ4_VALUES, IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};
use crate::kernels::x86::avx2::types256::{iq4_xs_scales, q3_k_scales, six_bit_pairs};
use crate::kernels::x86::avx2::vector::load_half;

/// The 32 bytes shifted right by `lower` bits in the lower half of the vector and by `upper` in the upper, in 16 bits: what
/// comes from a neighbouring byte is for the caller to mask.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn shifted(bytes: __m512i, lower: i16, upper: i16) -> __m512i {
    _mm512_srlv_epi16(bytes, halves_of(lower, upper))
}

/// The bits of `bytes` from number `lower` on (`upper` in the upper half), moved to number `to` on; to be masked.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn moved(bytes: __m512i, lower: i16, upper: i16, to: i16) -> __m512i {
    if upper <= to {
        _mm512_sllv_epi16(bytes, halves_of(to - lower, to - upper))
    } else {
        _mm512_srlv_epi16(bytes, halves_of(lower - to, upper - to))
    }
}

/// `nibbles | (bits & mask)`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_bits(nibbles: __m512i, bits: __m512i, mask: i8) -> __m512i {
    const OR_AND: i32 = 0b1111_1000;
    _mm512_ternarylogic_epi32::<OR_AND>(nibbles, bits, _mm512_set1_epi8(mask))
}

/// The nibbles of `Q4_K` and `Q5_K`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn nibbles_of_32(qs: &[u8; 128]) -> [__m512i; 4] {
    let mut out = [_mm512_setzero_si512(); 4];
    for (out, qs) in out.iter_mut().zip(cast_ref::<_, [[u8; 32]; 4]>(qs)) {
        *out = _mm512_and_si512(shifted(twice(qs), 0, 4), _mm512_set1_epi8(15));
    }
    out
}

/// 8 factors of 16 bits, none negative, each for two groups of 16 elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn each_twice(factors: __m128i) -> __m512i {
    // A factor as it is, in 64 bits; then once more in their upper half.
    let wide = _mm512_cvtepu16_epi64(factors);
    _mm512_or_si512(wide, _mm512_slli_epi64::<32>(wide))
}

impl Wide256 for Q4_K {
    const SUB_BLOCKS: usize = 8;
    const MAX: u8 = 15;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn quarters(&self) -> [__m512i; 4] {
        nibbles_of_32(&self.qs)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn factors(&self) -> __m512i {
        each_twice(six_bit_pairs(&self.scales).0)
    }

    #[inline(always)]
    unsafe fn eight_rows(rows: &[Self], per_row: usize, token: &Q8K<'_>, ahead: Ahead) -> [f32; 8] {
        // SAFETY: contract.
        unsafe { six_bit::eight_rows(rows, per_row, token, ahead) }
    }
}

impl Wide256 for Q5_K {
    const SUB_BLOCKS: usize = 8;
    const MAX: u8 = 31;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn quarters(&self) -> [__m512i; 4] {
        let mut quarters = nibbles_of_32(&self.qs);
        let fifth = twice(&self.qh);
        for (i, quarter) in quarters.iter_mut().enumerate() {
            let first = 2 * i as i16;
            *quarter = add_bits(*quarter, moved(fifth, first, first + 1, 4), 16);
        }
        quarters
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn factors(&self) -> __m512i {
        each_twice(six_bit_pairs(&self.scales).0)
    }

    #[inline(always)]
    unsafe fn eight_rows(rows: &[Self], per_row: usize, token: &Q8K<'_>, ahead: Ahead) -> [f32; 8] {
        // SAFETY: contract.
        unsafe { six_bit::eight_rows(rows, per_row, token, ahead) }
    }
}

impl Wide256 for Q6_K {
    const SUB_BLOCKS: usize = 16;
    const MAX: u8 = 32;
    const OFFSET_BITS: Option<u32> = Some(5);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn quarters(&self) -> [__m512i; 4] {
        let (mut quarters, mask) = ([_mm512_setzero_si512(); 4], _mm512_set1_epi8(15));
        let (ql, qh) = (cast_ref::<_, [[u8; 64]; 2]>(&self.ql), cast_ref::<_, [[u8; 32]; 2]>(&self.qh));
        for (i, quarters) in quarters.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let (low, high) = (load(&ql[i]), twice(&qh[i]));
            quarters[0] = add_bits(_mm512_and_si512(low, mask), moved(high, 0, 2, 4), 0x30);
            quarters[1] = add_bits(_mm512_and_si512(_mm512_srli_epi16::<4>(low), mask), moved(high, 4, 6, 4), 0x30);
        }
        quarters
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn factors(&self) -> __m512i {
        lower_halves(_mm512_cvtepi8_epi32(load_half(&self.scales)))
    }

    #[inline(always)]
    unsafe fn eight_rows(rows: &[Self], per_row: usize, token: &Q8K<'_>, ahead: Ahead) -> [f32; 8] {
        // SAFETY: contract.
        unsafe { q6_k::eight_rows(rows, per_row, token, ahead) }
    }
}

/// The lower 16 of each 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn lower_halves(factors: __m512i) -> __m512i {
    _mm512_and_si512(factors, _mm512_set1_epi32(0xffff))
}

/// The pairs of bits of `Q2_K` and `Q3_K`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn pairs_of_bits(qs: &[u8; 64]) -> [__m512i; 4] {
    let (mut out, mask) = ([_mm512_setzero_si512(); 4], _mm512_set1_epi8(3));
    for (out, qs) in out.as_chunks_mut::<2>().0.iter_mut().zip(cast_ref::<_, [[u8; 32]; 2]>(qs)) {
        let bytes = twice(qs);
        *out = [_mm512_and_si512(shifted(bytes, 0, 2), mask), _mm512_and_si512(shifted(bytes, 4, 6), mask)];
    }
    out
}

impl Wide256 for Q2_K {
    const SUB_BLOCKS: usize = 16;
    const MAX: u8 = 3;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn quarters(&self) -> [__m512i; 4] {
        pairs_of_bits(&self.qs)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn factors(&self) -> __m512i {
        _mm512_cvtepu8_epi32(_mm_and_si128(load_half(&self.scales), _mm_set1_epi8(15)))
    }
}

impl Wide256 for Q3_K {
    const SUB_BLOCKS: usize = 16;
    const MAX: u8 = 4;
    const OFFSET_BITS: Option<u32> = Some(2);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn quarters(&self) -> [__m512i; 4] {
        let mut quarters = pairs_of_bits(&self.qs);
        let third = twice(&self.hmask);
        for (i, quarter) in quarters.iter_mut().enumerate() {
            let first = 2 * i as i16;
            *quarter = add_bits(*quarter, moved(third, first, first + 1, 2), 4);
        }
        quarters
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn factors(&self) -> __m512i {
        lower_halves(_mm512_cvtepi8_epi32(q3_k_scales(&self.scales)))
    }
}

impl Wide256 for IQ4_XS {
    const SUB_BLOCKS: usize = 8;
    const MAX: u8 = 127;
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn quarters(&self) -> [__m512i; 4] {
        let mut out = [_mm512_setzero_si512(); 4];
        let table = _mm512_broadcast_i32x4(load_half(&IQ4_VALUES));
        for (out, qs) in out.iter_mut().zip(cast_ref::<_, [[[u8; 16]; 2]; 4]>(&self.qs)) {
            let [first, second] = [load_half(&qs[0]), load_half(&qs[1])];
            // Low and high nibbles alternate by 16 elements.
            let bytes = join([first, first, second, second]);
            let counts = _mm512_setr_epi64(
                0,
                0,
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
                0,
                0,
                0x0004_0004_0004_0004,
                0x0004_0004_0004_0004,
            );
            let nibbles = _mm512_and_si512(_mm512_srlv_epi16(bytes, counts), _mm512_set1_epi8(15));
            *out = _mm512_shuffle_epi8(table, nibbles);
        }
        out
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn factors(&self) -> __m512i {
        // For both of a pair, twice.
        let wide = _mm512_cvtepu16_epi64(iq4_xs_scales(self));
        let pairs = _mm512_or_si512(wide, _mm512_slli_epi64::<16>(wide));
        _mm512_or_si512(pairs, _mm512_slli_epi64::<32>(pairs))
    }

    /// Signed values: their magnitudes with the signs moved over. Two products of at most 127 * 127 fit 16 bits, four do
    /// not.
    #[inline(always)]
    unsafe fn sums(quarter: __m512i, activations: __m512i) -> __m512i {
        // SAFETY: contract.
        unsafe {
            let negative = _mm512_movepi8_mask(quarter);
            let signed = _mm512_mask_sub_epi8(activations, negative, _mm512_setzero_si512(), activations);
            _mm512_maddubs_epi16(_mm512_abs_epi8(quarter), signed)
        }
    }
}
