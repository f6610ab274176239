//! Loads, and what the other files of this level share.

use std::arch::x86_64::*;

use bytemuck::Pod;

/// Loads 64 bytes, whatever their alignment.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load<T: Pod, const N: usize>(from: &[T; N]) -> __m512i {
    const { assert!(size_of::<[T; N]>() == 64) }
    // SAFETY: 64 bytes can be read there, and this load asks no alignment.
    unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
}

/// Loads 16 floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn load_floats(from: &[f32; 16]) -> __m512 {
    _mm512_castsi512_ps(load(from))
}

/// Four vectors of 16 bytes as one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn join(quarters: [__m128i; 4]) -> __m512i {
    let [a, b, c, d] = quarters;
    let low = _mm512_castsi256_si512(_mm256_set_m128i(b, a));
    _mm512_inserti64x4::<1>(low, _mm256_set_m128i(d, c))
}

/// The 32 bytes in both halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn twice(from: &[u8; 32]) -> __m512i {
    _mm512_broadcast_i64x4(crate::kernels::x86::avx2::vector::load(from))
}

/// `value` in the lower half, `upper` in the upper, in 16 bits each: counts to shift by.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn halves_of(lower: i16, upper: i16) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_set1_epi16(lower), _mm256_set1_epi16(upper))
}

/// Two vectors of 8 floats as one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn join_floats(lower: __m256, upper: __m256) -> __m512 {
    let lower = _mm512_castsi256_si512(_mm256_castps_si256(lower));
    _mm512_castsi512_ps(_mm512_inserti64x4::<1>(lower, _mm256_castps_si256(upper)))
}

/// The lower and the upper half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn split_floats(x: __m512) -> [__m256; 2] {
    let upper = _mm512_extracti64x4_epi64::<1>(_mm512_castps_si512(x));
    [_mm512_castps512_ps256(x), _mm256_castsi256_ps(upper)]
}

/// The upper and the lower half added, in 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn fold(x: __m512i) -> __m256i {
    _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64::<1>(x))
}

/// The sum of each vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn sums_of_16(x: &[__m512i; 8]) -> __m256i {
    let twos = |a: __m512i, b: __m512i| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let fours = |a: __m512i, b: __m512i| _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    // In each quarter the sums of its own numbers, of four vectors.
    let first = fours(twos(x[0], x[1]), twos(x[2], x[3]));
    let last = fours(twos(x[4], x[5]), twos(x[6], x[7]));
    let halves = _mm512_add_epi32(
        _mm512_shuffle_i32x4::<0b01_00_01_00>(first, last),
        _mm512_shuffle_i32x4::<0b11_10_11_10>(first, last),
    );
    let even = _mm512_castsi512_si256(_mm512_shuffle_i32x4::<0b10_00_10_00>(halves, halves));
    let odd = _mm512_castsi512_si256(_mm512_shuffle_i32x4::<0b11_01_11_01>(halves, halves));
    _mm256_add_epi32(even, odd)
}

/// Stores 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn store<T: Pod, const N: usize>(to: &mut [T; N], from: __m512i) {
    const { assert!(size_of::<[T; N]>() == 64) }
    // SAFETY: 64 bytes can be written there, and this store asks no alignment.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), from) }
}

/// Stores 16 floats.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn store_floats(to: &mut [f32; 16], from: __m512) {
    // SAFETY: 64 bytes can be written there, and this store asks no alignment.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), from) }
}

/// Adds, to each 32 bits of `acc`, the squares of four bytes, none of which is -128.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn add_squares(acc: __m512i, bytes: __m512i) -> __m512i {
    let magnitudes = _mm512_abs_epi8(bytes);
    _mm512_dpbusd_epi32(acc, magnitudes, magnitudes)
}

/// Adds, to each 32 bits of `acc`, the products of both 16-bit halves of `a` with those of `b`.
///
/// The intrinsic means the same, but the compiler takes it apart into a multiplication and an addition, to shorten chains
/// that are not waited for here. Where the products keep both vector ports busy that is a tenth of the time.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn dpwssd(mut acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: this function is compiled for the feature; the instruction touches nothing but the registers.
    unsafe {
        std::arch::asm!("vpdpwssd {0}, {1}, {2}", inout(zmm_reg) acc, in(zmm_reg) a, in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    acc
}
