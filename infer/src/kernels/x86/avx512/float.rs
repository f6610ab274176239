//! Dot products of floats: 32 accumulators in two vectors.

use std::arch::x86_64::*;

use super::vector::*;
use crate::kernels::blocks::{BF16, F16, F32};
use crate::kernels::matmul::Sink;
use crate::kernels::order::fold32;
use crate::kernels::x86::avx2::VectorElement;
use crate::kernels::x86::avx2::vector::{load as load_32, prefetch, tree8};

/// A float in long vectors.
pub(in crate::kernels) trait WideElement: VectorElement {
    /// 16 of them, widened.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX-512 F, BW, VL and VNNI.
    unsafe fn widen_16(from: &[Self; 16]) -> __m512;
}

impl WideElement for F32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn widen_16(from: &[Self; 16]) -> __m512 {
        _mm512_castsi512_ps(load(from))
    }
}

impl WideElement for F16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn widen_16(from: &[Self; 16]) -> __m512 {
        _mm512_cvtph_ps(load_32(from))
    }
}

impl WideElement for BF16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn widen_16(from: &[Self; 16]) -> __m512 {
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(load_32(from))))
    }
}

/// See [`portable::rows_of_floats`](crate::kernels::portable::rows_of_floats).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn rows<E: WideElement>(rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
    let (tiles, rest) = tokens.as_chunks::<8>();
    for (row, elements) in rows.chunks_exact(cols).enumerate() {
        for (i, tokens) in tiles.iter().enumerate() {
            dots(elements, tokens, |t, value| sink.put(row, i * 8 + t, value));
        }
        for (t, token) in rest.iter().enumerate() {
            dots(elements, &[*token], |_, value| sink.put(row, tiles.len() * 8 + t, value));
        }
    }
}

/// See [`portable::dot_floats`](crate::kernels::portable::dot_floats). The row is widened once for all tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dots<E: WideElement, const T: usize>(row: &[E], tokens: &[&[f32]; T], put: impl Fn(usize, f32)) {
    let mut lanes = [[_mm512_setzero_ps(); 2]; T];
    let (chunks, rest) = row.as_chunks::<32>();
    for (i, chunk) in chunks.iter().enumerate() {
        prefetch(chunk);
        let halves = chunk.as_chunks::<16>().0;
        // SAFETY: this function is compiled for the features.
        let weights = unsafe { [E::widen_16(&halves[0]), E::widen_16(&halves[1])] };
        for (lanes, token) in lanes.iter_mut().zip(tokens) {
            let token = token[i * 32..][..32].as_chunks::<16>().0;
            for h in 0..2 {
                lanes[h] = _mm512_fmadd_ps(weights[h], load_floats(&token[h]), lanes[h]);
            }
        }
    }
    for (t, ([low, high], token)) in lanes.into_iter().zip(tokens).enumerate() {
        if rest.is_empty() {
            let (low, high) = (halves_added(low), halves_added(high));
            put(t, tree8(_mm256_add_ps(low, high)));
            continue;
        }
        let mut all = [0.0f32; 32];
        for (all, lanes) in all.as_chunks_mut::<16>().0.iter_mut().zip([low, high]) {
            store_floats(all, lanes);
        }
        for (lane, (a, b)) in all.iter_mut().zip(rest.iter().zip(&token[chunks.len() * 32..])) {
            *lane = a.widen().mul_add(*b, *lane);
        }
        put(t, crate::kernels::order::tree8(fold32(&all)));
    }
}

/// The lower half plus the upper.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn halves_added(x: __m512) -> __m256 {
    let upper = _mm512_extracti64x4_epi64::<1>(_mm512_castps_si512(x));
    _mm256_add_ps(_mm512_castps512_ps256(x), _mm256_castsi256_ps(upper))
}
