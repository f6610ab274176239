//! Loads, stores and reductions.

use std::arch::x86_64::*;

use bytemuck::Pod;

/// Loads 32 bytes, whatever their alignment.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn load<T: Pod, const N: usize>(from: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 32) }
    // SAFETY: 32 bytes can be read there, and this load asks no alignment.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

/// Loads 16 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn load_half<T: Pod, const N: usize>(from: &[T; N]) -> __m128i {
    const { assert!(size_of::<[T; N]>() == 16) }
    // SAFETY: 16 bytes can be read there, and this load asks no alignment.
    unsafe { _mm_loadu_si128(from.as_ptr().cast()) }
}

/// How far before their use weights are asked for, at least. The hardware sees the stream of a matrix too, but stops at the
/// end of each 4 KiB page. So far ahead they are asked for into the second-level cache.
pub(in crate::kernels::x86) const AHEAD: usize = 16 << 10;

/// Asks for the memory that follows `from` by [`AHEAD`], as much of it as `from` is long.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn prefetch<T: ?Sized>(from: &T) {
    prefetch_bytes(std::ptr::from_ref(from).cast::<i8>().wrapping_add(AHEAD), size_of_val(from));
}

/// Asks for `len` bytes of memory from `start` on, whatever may be there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
#[allow(unused_unsafe)] // The intrinsic became safe after the oldest compiler that this builds with.
pub(in crate::kernels::x86) fn prefetch_bytes(start: *const i8, len: usize) {
    for line in (0..len).step_by(64) {
        // SAFETY: a prefetch is a hint; it accesses nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(line)) }
    }
}

/// See [`Level::expect_rows`](crate::kernels::level::Level::expect_rows). Kernels take up to eight rows at a time.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn expect_rows(rows: &[u8], row_bytes: usize) {
    prefetch_bytes(rows.as_ptr().cast(), rows.len().min(AHEAD.next_multiple_of(8 * row_bytes)));
}

/// Loads 8 floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn load_floats(from: &[f32; 8]) -> __m256 {
    // SAFETY: 32 bytes can be read there, and this load asks no alignment.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

/// Stores 8 floats.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn store_floats(to: &mut [f32; 8], from: __m256) {
    // SAFETY: 32 bytes can be written there, and this store asks no alignment.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), from) }
}

/// Stores 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn store<T: Pod, const N: usize>(to: &mut [T; N], from: __m256i) {
    const { assert!(size_of::<[T; N]>() == 32) }
    // SAFETY: 32 bytes can be written there, and this store asks no alignment.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), from) }
}

/// Stores 16 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn store_half<T: Pod, const N: usize>(to: &mut [T; N], from: __m128i) {
    const { assert!(size_of::<[T; N]>() == 16) }
    // SAFETY: 16 bytes can be written there, and this store asks no alignment.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), from) }
}

/// The 16 bytes in both halves.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn twice(x: __m128i) -> __m256i {
    _mm256_broadcastsi128_si256(x)
}

/// [`order::tree8`](crate::kernels::order::tree8).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn tree8(x: __m256) -> f32 {
    let pairs = _mm256_hadd_ps(x, x);
    let fours = _mm256_hadd_ps(pairs, pairs);
    _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(fours), _mm256_extractf128_ps::<1>(fours)))
}

/// The exact sum of the 8 integers of each of 8 vectors, in their order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn sums_of_8(x: &[__m256i; 8]) -> __m256i {
    let first = _mm256_hadd_epi32(_mm256_hadd_epi32(x[0], x[1]), _mm256_hadd_epi32(x[2], x[3]));
    let last = _mm256_hadd_epi32(_mm256_hadd_epi32(x[4], x[5]), _mm256_hadd_epi32(x[6], x[7]));
    add_halves(first, last)
}

/// The sums of the halves of two vectors of four integers each, one after the other.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn add_halves(first: __m256i, last: __m256i) -> __m256i {
    let low = _mm256_permute2x128_si256::<0x20>(first, last);
    let high = _mm256_permute2x128_si256::<0x31>(first, last);
    _mm256_add_epi32(low, high)
}

/// A half-precision number of each of up to 8 blocks, widened; zero where there is no block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn halves<B>(blocks: &[&B], half: impl Fn(&B) -> [u8; 2]) -> __m256 {
    let bits = |i: usize| blocks.get(i).map_or(0, |block| i16::from_le_bytes(half(block)));
    _mm256_cvtph_ps(_mm_setr_epi16(bits(0), bits(1), bits(2), bits(3), bits(4), bits(5), bits(6), bits(7)))
}

/// The entries of a table that the nibbles index.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(in crate::kernels::x86) fn look_up(table: &[i8; 16], nibbles: __m256i) -> __m256i {
    _mm256_shuffle_epi8(twice(load_half(table)), nibbles)
}
