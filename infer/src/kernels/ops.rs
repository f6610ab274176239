//! Elementwise operations, norms and softmax, on slices.
//!
//! Plain loops: inlined into functions that are compiled for a level ([`super::steps`]) they become its vectors.
//! Sums run in 8 lanes, element `i` in lane `i mod 8`, and end in the tree of [`order::tree8`](super::order::tree8).

use super::math;
use super::order::tree8;

/// `out = x / sqrt(mean(x * x) + eps) * weight`, for each `weight.len()` elements of `x`.
///
/// Each square is rounded to `f32` and the sum taken in `f64`, as ggml does: so nothing but the order of the sum differs,
/// and of that next to nothing is left when the mean is rounded.
///
/// # Panics
///
/// The lengths differ, or are not whole rows.
#[inline(always)]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len().is_multiple_of(weight.len()) && x.len() == out.len(), "a norm of {} to {}", x.len(), out.len());
    let len = weight.len().max(1);
    for (x, out) in x.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
        let scale = rms_scale(x, eps);
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }
}

/// [`rms_norm`] in place.
///
/// # Panics
///
/// `x` is not whole rows.
#[inline(always)]
pub fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) {
    assert!(x.len().is_multiple_of(weight.len()), "{} elements in rows of {}", x.len(), weight.len());
    for row in x.chunks_exact_mut(weight.len().max(1)) {
        let scale = rms_scale(row, eps);
        for (x, weight) in row.iter_mut().zip(weight) {
            *x = *x * scale * weight;
        }
    }
}

#[inline(always)]
fn rms_scale(x: &[f32], eps: f32) -> f32 {
    let mut lanes = [0.0f64; 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(x * x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(x * x);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let mean = (((a + b) + (c + d)) + ((e + f) + (g + h))) / x.len() as f64;
    1.0 / (mean as f32 + eps).sqrt()
}

/// `x += y`.
///
/// # Panics
///
/// The lengths differ.
#[inline(always)]
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "lengths of a sum");
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `x *= by`.
#[inline(always)]
pub fn scale(x: &mut [f32], by: f32) {
    for x in x {
        *x *= by;
    }
}

/// `x / (1 + exp(-x))`.
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + math::exp(-x))
}

/// GELU, approximated by a hyperbolic tangent.
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    /// The square root of two over pi.
    const C: f32 = 0.797_884_6;
    0.5 * x * (1.0 + math::tanh(C * x * (1.0 + 0.044_715 * x * x)))
}

/// `x = cap * tanh(x / cap)`.
#[inline(always)]
pub fn softcap(x: &mut [f32], cap: f32) {
    let inverse = 1.0 / cap;
    for x in x {
        *x = cap * math::tanh(*x * inverse);
    }
}

/// `x = exp(x - max(x)) / sum(exp(x - max(x)))`.
#[inline(always)]
pub fn softmax(x: &mut [f32]) {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    let mut lanes = [0.0f32; 8];
    for x in x.iter_mut() {
        *x = math::exp(*x - max);
    }
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    let sum = tree8(lanes);
    for x in x {
        *x /= sum;
    }
}

/// The index of the largest element, the first of several; NaNs are not looked at. Zero where there is none.
pub fn argmax(x: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &x) in x.iter().enumerate() {
        if x > best.1 {
            best = (i, x);
        }
    }
    best.0
}
