//! How blocks of 32 unpack to long vectors.

use std::arch::x86_64::*;

use super::block32::Wide32;
use super::vector::*;
use crate::kernels::activations::WEAVE;
use crate::kernels::blocks::{FP4_VALUES, IQ4_NL, IQ4_VALUES, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};
use crate::kernels::x86::avx2::Vector32;
use crate::kernels::x86::avx2::vector::load_half;

/// Sixteen bytes of each block, transposed: vector `k` holds bytes `4 k` to `4 k + 3` of each block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn transposed<B>(blocks: &[&B; WEAVE], bytes: impl Fn(&B) -> &[u8; 16]) -> [__m512i; 4] {
    // The transposition is one within each quarter of the vectors, so a vector begins as every fourth block.
    let every_4th = |i: usize| join([i, i + 4, i + 8, i + 12].map(|i| load_half(bytes(blocks[i]))));
    let (a, b, c, d) = (every_4th(0), every_4th(1), every_4th(2), every_4th(3));
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Both nibbles of each byte: of four vectors the low ones, then the high ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn split(bytes: [__m512i; 4]) -> [__m512i; 8] {
    let [a, b, c, d] = bytes;
    let mask = _mm512_set1_epi8(15);
    let low = |x: __m512i| _mm512_and_si512(x, mask);
    let high = |x: __m512i| _mm512_and_si512(_mm512_srli_epi16::<4>(x), mask);
    [low(a), low(b), low(c), low(d), high(a), high(b), high(c), high(d)]
}

/// Adds 16 to element `i` of a block where bit `i` of `bits(block)` is set.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_fifth_bits<B>(nibbles: &mut [__m512i; 8], blocks: &[&B; WEAVE], bits: impl Fn(&B) -> [u8; 4]) {
    let words: [i32; WEAVE] = std::array::from_fn(|i| i32::from_le_bytes(bits(blocks[i])));
    let (bits, sixteen) = (load(&words), _mm512_set1_epi8(16));
    for (i, pair) in nibbles.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        // Byte `i` of the bits is for the elements of two vectors.
        let spread = _mm512_broadcast_i32x4(_mm_add_epi8(
            _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12),
            _mm_set1_epi8(i as i8),
        ));
        let byte = _mm512_shuffle_epi8(bits, spread);
        for (nibbles, bit) in pair.iter_mut().zip([0x0804_0201, 0x8040_2010_u32]) {
            let set = _mm512_test_epi8_mask(byte, _mm512_set1_epi32(bit as i32));
            *nibbles = _mm512_mask_add_epi8(*nibbles, set, *nibbles, sixteen);
        }
    }
}

/// The entries of a table that the nibbles index.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn look_up(table: &[u8; 16], nibbles: [__m512i; 8]) -> [__m512i; 8] {
    let table = _mm512_broadcast_i32x4(load_half(table));
    let mut values = nibbles;
    for value in &mut values {
        *value = _mm512_shuffle_epi8(table, *value);
    }
    values
}

/// A table of signed values, plus an offset that makes all of them fit a byte without sign.
const fn unsigned(values: [i8; 16], offset: u8) -> [u8; 16] {
    let mut unsigned = [0; 16];
    let mut i = 0;
    while i < 16 {
        let value = values[i] as i16 + offset as i16;
        assert!(value >= 0 && value <= 255);
        unsigned[i] = value as u8;
        i += 1;
    }
    unsigned
}

/// The first 32 bits of each block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn heads<B>(blocks: &[B; WEAVE]) -> __m512i {
    const { assert!(size_of::<B>() >= 4) }
    let numbers = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let offsets = _mm512_mullo_epi32(numbers, _mm512_set1_epi32(size_of::<B>() as i32));
    // SAFETY: the offsets are those of the blocks, none of which is shorter than 4 bytes.
    unsafe { _mm512_i32gather_epi32::<1>(offsets, blocks.as_ptr().cast()) }
}

/// The scales that blocks begin with, and no mins.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn first_halves<B>(blocks: &[B; WEAVE]) -> (__m512, __m512) {
    (_mm512_cvtph_ps(_mm512_cvtepi32_epi16(heads(blocks))), _mm512_setzero_ps())
}

/// The scales and mins that blocks begin with.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn pairs_of_halves<B>(blocks: &[B; WEAVE]) -> (__m512, __m512) {
    let heads = heads(blocks);
    let widened = |halves: __m512i| _mm512_cvtph_ps(_mm512_cvtepi32_epi16(halves));
    (widened(heads), widened(_mm512_srli_epi32::<16>(heads)))
}

/// The scales of the first eight blocks and of the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn twice_eight<B: Vector32>(blocks: &[B; WEAVE]) -> (__m512, __m512) {
    let blocks = blocks.each_ref();
    // SAFETY: this function is compiled for the features.
    let ((first, first_mins), (last, last_mins)) = unsafe { (B::scales(&blocks[..8]), B::scales(&blocks[8..])) };
    (join_floats(first, last), join_floats(first_mins, last_mins))
}

macro_rules! wide32 {
    ($name:ident, offset: $offset:expr, scales: $scales:ident, $blocks:ident => $bytes:expr) => {
        impl Wide32 for $name {
            const OFFSET: u8 = $offset;

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            unsafe fn bytes_16($blocks: &[&Self; WEAVE]) -> [__m512i; 8] {
                $bytes
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            unsafe fn scales_16(blocks: &[Self; WEAVE]) -> (__m512, __m512) {
                $scales(blocks)
            }
        }
    };
}

wide32!(Q4_0, offset: 8, scales: first_halves, blocks => split(transposed(blocks, |block: &Self| &block.qs)));
wide32!(Q4_1, offset: 0, scales: pairs_of_halves, blocks => split(transposed(blocks, |block: &Self| &block.qs)));
wide32!(Q5_0, offset: 16, scales: first_halves, blocks => {
    let mut bytes = split(transposed(blocks, |block: &Self| &block.qs));
    add_fifth_bits(&mut bytes, blocks, |block: &Self| block.qh);
    bytes
});
wide32!(Q5_1, offset: 0, scales: pairs_of_halves, blocks => {
    let mut bytes = split(transposed(blocks, |block: &Self| &block.qs));
    add_fifth_bits(&mut bytes, blocks, |block: &Self| block.qh);
    bytes
});
wide32!(Q8_0, offset: 128, scales: first_halves, blocks => {
    let half = |i: usize| transposed(blocks, |block: &Self| &bytemuck::cast_ref::<_, [[u8; 16]; 2]>(&block.qs)[i]);
    let ([a, b, c, d], [e, f, g, h]) = (half(0), half(1));
    let mut bytes = [a, b, c, d, e, f, g, h];
    for bytes in &mut bytes {
        *bytes = _mm512_xor_si512(*bytes, _mm512_set1_epi8(-128));
    }
    bytes
});
wide32!(IQ4_NL, offset: 128, scales: first_halves, blocks => {
    const VALUES: [u8; 16] = unsigned(IQ4_VALUES, 128);
    look_up(&VALUES, split(transposed(blocks, |block: &Self| &block.qs)))
});
wide32!(MXFP4, offset: 16, scales: twice_eight, blocks => {
    const VALUES: [u8; 16] = unsigned(FP4_VALUES, 16);
    look_up(&VALUES, split(transposed(blocks, |block: &Self| &block.qs)))
});
