//! Dot products of floats: 32 accumulators in eight vectors.

use std::arch::aarch64::*;

use super::vector::*;
use crate::kernels::blocks::{BF16, Element, F16, F32};
use crate::kernels::matmul::Sink;
use crate::kernels::order;

/// A float in vectors.
pub(in crate::kernels) trait VectorElement: Element {
    /// 8 of them, widened.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn widen_8(from: &[Self; 8]) -> [float32x4_t; 2];
}

impl VectorElement for F32 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen_8(from: &[Self; 8]) -> [float32x4_t; 2] {
        let [first, last]: &[[u8; 16]; 2] = bytemuck::cast_ref(from);
        [vreinterpretq_f32_u8(load(first)), vreinterpretq_f32_u8(load(last))]
    }
}

impl VectorElement for F16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen_8(from: &[Self; 8]) -> [float32x4_t; 2] {
        widen_8(vreinterpretq_u16_u8(load(from)))
    }
}

impl VectorElement for BF16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn widen_8(from: &[Self; 8]) -> [float32x4_t; 2] {
        let halves = vreinterpretq_u16_u8(load(from));
        let (first, last) = (vshll_n_u16::<16>(vget_low_u16(halves)), vshll_high_n_u16::<16>(halves));
        [vreinterpretq_f32_u32(first), vreinterpretq_f32_u32(last)]
    }
}

/// See [`portable::rows_of_floats`](crate::kernels::portable::rows_of_floats).
#[inline(never)] // So that profiles and listings show each kernel by its name.
#[target_feature(enable = "neon")]
pub(super) fn rows<E: VectorElement>(rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
    let (twos, rest) = tokens.as_chunks::<2>();
    for (row, elements) in rows.chunks_exact(cols).enumerate() {
        for (i, tokens) in twos.iter().enumerate() {
            let [first, last] = dots(elements, tokens);
            sink.put(row, i * 2, first);
            sink.put(row, i * 2 + 1, last);
        }
        for token in rest {
            let [only] = dots(elements, &[*token]);
            sink.put(row, twos.len() * 2, only);
        }
    }
}

/// See [`portable::dot_floats`](crate::kernels::portable::dot_floats); the same elements with each of some tokens.
#[inline]
#[target_feature(enable = "neon")]
fn dots<E: VectorElement, const T: usize>(elements: &[E], tokens: &[&[f32]; T]) -> [f32; T] {
    let mut lanes = [[[vdupq_n_f32(0.0); 2]; 4]; T];
    let (stripes, rest) = elements.as_chunks::<32>();
    let whole = tokens.map(|token| &token.as_chunks::<32>().0[..stripes.len()]);
    for (s, stripe) in stripes.iter().enumerate() {
        for (i, eight) in stripe.as_chunks::<8>().0.iter().enumerate() {
            // SAFETY: this function is compiled for NEON.
            let weights = unsafe { E::widen_8(eight) };
            for (lanes, token) in lanes.iter_mut().zip(whole) {
                let token = &token[s].as_chunks::<4>().0[2 * i..][..2];
                for (lanes, (weights, token)) in lanes[i].iter_mut().zip(weights.into_iter().zip(token)) {
                    *lanes = vfmaq_f32(*lanes, weights, load_floats(token));
                }
            }
        }
    }
    let mut out = [0.0; T];
    for (t, out) in out.iter_mut().enumerate() {
        *out = with_rest(lanes[t], rest, &tokens[t][stripes.len() * 32..]);
    }
    out
}

/// Adds the products of the last, fewer than 32 elements, and sums all.
#[inline]
#[target_feature(enable = "neon")]
fn with_rest<E: VectorElement>(lanes: [[float32x4_t; 2]; 4], rest: &[E], token: &[f32]) -> f32 {
    if rest.is_empty() {
        let fold = |i: usize| vaddq_f32(vaddq_f32(lanes[0][i], lanes[1][i]), vaddq_f32(lanes[2][i], lanes[3][i]));
        return tree8([fold(0), fold(1)]);
    }
    let mut all = [0.0; 32];
    for (all, lanes) in all.as_chunks_mut::<4>().0.iter_mut().zip(lanes.as_flattened()) {
        store_floats(all, *lanes);
    }
    for (lane, (weight, x)) in all.iter_mut().zip(rest.iter().zip(token)) {
        *lane = weight.widen().mul_add(*x, *lane);
    }
    order::tree8(order::fold32(&all))
}
