//! [`Simd`] in pairs of 256-bit vectors.

use std::arch::x86_64::*;

use bytemuck::{cast_mut, cast_ref};

use crate::kernels::blocks::F16;
use crate::kernels::isa::Avx2;
use crate::kernels::simd::{Simd, Work};

#[target_feature(enable = "avx2,fma,f16c")]
fn run<W: Work>(simd: Avx2, work: W) -> W::Output {
    work.run(simd)
}

impl Simd for Avx2 {
    type V = [__m256; 2];
    const PAIRS: bool = false;
    const ROWS: usize = 6;

    fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: the token proves the features.
        unsafe { run(self, work) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves the features.
        [unsafe { _mm256_set1_ps(x) }; 2]
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> Self::V {
        let [a, b]: &[[f32; 8]; 2] = cast_ref(from);
        // SAFETY: the token proves the features; there are 8 floats at each place, and this load asks no alignment.
        unsafe { [_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr())] }
    }

    #[inline(always)]
    fn store(self, x: Self::V, to: &mut [f32; 16]) {
        let [a, b]: &mut [[f32; 8]; 2] = cast_mut(to);
        // SAFETY: the token proves the features; there is room for 8 floats each, and these stores ask no alignment.
        unsafe {
            _mm256_storeu_ps(a.as_mut_ptr(), x[0]);
            _mm256_storeu_ps(b.as_mut_ptr(), x[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the features.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the features.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: the token proves the features.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: the token proves the features.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn largest(self, x: Self::V) -> f32 {
        // SAFETY: the token proves the features.
        unsafe {
            let eight = _mm256_max_ps(x[0], x[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn widen(self, from: &[F16; 16]) -> Self::V {
        let [a, b]: &[[F16; 8]; 2] = cast_ref(from);
        // SAFETY: the token proves the features; there are 16 bytes at each place, and this load asks no alignment.
        unsafe {
            [_mm256_cvtph_ps(_mm_loadu_si128(a.as_ptr().cast())), _mm256_cvtph_ps(_mm_loadu_si128(b.as_ptr().cast()))]
        }
    }

    #[inline(always)]
    fn convert(self, from: &[i8; 16]) -> Self::V {
        let [a, b]: &[[i8; 8]; 2] = cast_ref(from);
        // SAFETY: the token proves the features; there are 8 bytes at each place, and this load asks no alignment.
        unsafe {
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(a.as_ptr().cast()))),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(b.as_ptr().cast()))),
            ]
        }
    }

    #[inline(always)]
    fn narrow(self, from: &[f32; 16], to: &mut [F16; 16]) {
        let (x, [a, b]) = (self.load(from), cast_mut::<_, [[F16; 8]; 2]>(to));
        // SAFETY: the token proves the features; there is room for 16 bytes each, and these stores ask no alignment.
        unsafe {
            _mm_storeu_si128(a.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]));
            _mm_storeu_si128(b.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]));
        }
    }

    #[inline(always)]
    #[allow(unused_unsafe)] // The intrinsic became safe after the oldest compiler that this builds with.
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: a prefetch is a hint; it accesses nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
