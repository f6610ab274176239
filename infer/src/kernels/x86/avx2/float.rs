//! Dot products of floats: 32 accumulators in four vectors.

use std::arch::x86_64::*;

use super::vector::*;
use crate::kernels::blocks::{BF16, Element, F16, F32};
use crate::kernels::matmul::Sink;
use crate::kernels::order::fold32;

/// A float in vectors.
pub(in crate::kernels) trait VectorElement: Element {
    /// 8 of them, widened.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX2, FMA and F16C.
    unsafe fn widen_8(from: &[Self; 8]) -> __m256;
}

impl VectorElement for F32 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen_8(from: &[Self; 8]) -> __m256 {
        _mm256_castsi256_ps(load(from))
    }
}

impl VectorElement for F16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen_8(from: &[Self; 8]) -> __m256 {
        _mm256_cvtph_ps(load_half(from))
    }
}

impl VectorElement for BF16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn widen_8(from: &[Self; 8]) -> __m256 {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(load_half(from))))
    }
}

/// See [`portable::rows_of_floats`](crate::kernels::portable::rows_of_floats).
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn rows<E: VectorElement>(rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
    for (row, elements) in rows.chunks_exact(cols).enumerate() {
        for (t, token) in tokens.iter().enumerate() {
            sink.put(row, t, dot(elements, token));
        }
    }
}

/// See [`portable::dot_floats`](crate::kernels::portable::dot_floats).
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dot<E: VectorElement>(a: &[E], b: &[f32]) -> f32 {
    let mut lanes = [_mm256_setzero_ps(); 4];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<32>(), b.as_chunks::<32>());
    for (a, b) in a.iter().zip(b) {
        prefetch(a);
        let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
        for i in 0..4 {
            // SAFETY: this function is compiled for the features.
            lanes[i] = _mm256_fmadd_ps(unsafe { E::widen_8(&a[i]) }, load_floats(&b[i]), lanes[i]);
        }
    }
    if a_rest.is_empty() {
        let pairs = (_mm256_add_ps(lanes[0], lanes[1]), _mm256_add_ps(lanes[2], lanes[3]));
        return tree8(_mm256_add_ps(pairs.0, pairs.1));
    }
    let mut all = [[0.0; 8]; 4];
    for (all, lanes) in all.iter_mut().zip(lanes) {
        store_floats(all, lanes);
    }
    let mut all: [f32; 32] = bytemuck::cast(all);
    for (lane, (a, b)) in all.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane = a.widen().mul_add(*b, *lane);
    }
    crate::kernels::order::tree8(fold32(&all))
}
