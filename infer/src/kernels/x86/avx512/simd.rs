//! [`Simd`] in 512-bit vectors.

use std::arch::x86_64::*;

use crate::kernels::blocks::F16;
use crate::kernels::isa::Avx512Vnni;
use crate::kernels::simd::{Simd, Work};

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl")]
fn run<W: Work>(simd: Avx512Vnni, work: W) -> W::Output {
    work.run(simd)
}

impl Simd for Avx512Vnni {
    type V = __m512;
    const PAIRS: bool = true;
    const ROWS: usize = 12;

    fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: the token proves the features.
        unsafe { run(self, work) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> __m512 {
        // SAFETY: the token proves the features; there are 16 floats, and this load asks no alignment.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32; 16]) {
        // SAFETY: the token proves the features; there is room for 16 floats, and this store asks no alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn largest(self, x: __m512) -> f32 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_reduce_max_ps(x) }
    }

    #[inline(always)]
    fn widen(self, from: &[F16; 16]) -> __m512 {
        // Without the suppression of exceptions that the plain intrinsic asks for: so it can read from memory.
        // SAFETY: the token proves the features; there are 32 bytes, and this load asks no alignment.
        unsafe { _mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn convert(self, from: &[i8; 16]) -> __m512 {
        // SAFETY: the token proves the features; there are 16 bytes, and this load asks no alignment.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn narrow(self, from: &[f32; 16], to: &mut [F16; 16]) {
        // SAFETY: the token proves the features; there is room for 32 bytes, and this store asks no alignment.
        unsafe {
            let half = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_loadu_ps(from.as_ptr()));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), half);
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        self.avx2().prefetch(at);
    }
}
