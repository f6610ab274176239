//! Elementwise operations, norms and softmax.
//!
//! Plain loops that the compiler turns into vector code. Sums run in 8 lanes, element `i` in lane `i mod 8`, and end in the
//! tree of [`order::tree8`](super::order::tree8).

use super::math;
use super::order::tree8;

/// `out = x / sqrt(mean(x * x) + eps) * weight`.
///
/// Each square is rounded to `f32` and the sum taken in `f64`, as ggml does: so nothing but the order of the sum differs,
/// and of that next to nothing is left when the mean is rounded.
///
/// # Panics
///
/// The lengths differ.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert!(x.len() == weight.len() && x.len() == out.len(), "a norm of {} to {}", x.len(), out.len());
    let scale = rms_scale(x, eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

/// [`rms_norm`] of each `weight.len()` elements of `x`, in place: of each head.
///
/// # Panics
///
/// `x` is not whole heads.
pub fn rms_norm_heads(x: &mut [f32], weight: &[f32], eps: f32) {
    assert!(x.len().is_multiple_of(weight.len()), "{} elements in heads of {}", x.len(), weight.len());
    for head in x.chunks_exact_mut(weight.len()) {
        let scale = rms_scale(head, eps);
        for (x, weight) in head.iter_mut().zip(weight) {
            *x = *x * scale * weight;
        }
    }
}

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
pub fn add(x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len(), "lengths of a sum");
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `x += y` for each row `x` of `rows`: a bias.
///
/// # Panics
///
/// `rows` is not whole rows.
pub fn add_to_rows(rows: &mut [f32], y: &[f32]) {
    assert!(rows.len().is_multiple_of(y.len()), "{} elements in rows of {}", rows.len(), y.len());
    rows.chunks_exact_mut(y.len()).for_each(|x| add(x, y));
}

/// `x += weight * y`.
///
/// # Panics
///
/// The lengths differ.
pub fn add_scaled(x: &mut [f32], weight: f32, y: &[f32]) {
    assert_eq!(x.len(), y.len(), "lengths of a sum");
    for (x, y) in x.iter_mut().zip(y) {
        *x += weight * y;
    }
}

/// `x *= by`.
pub fn scale(x: &mut [f32], by: f32) {
    for x in x {
        *x *= by;
    }
}

/// `gate = silu(gate) * up`, where `silu(x) = x / (1 + exp(-x))`.
///
/// # Panics
///
/// The lengths differ.
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "lengths of a product");
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + math::exp(-*gate)) * up;
    }
}

/// `gate = gelu(gate) * up`, with the approximation of GELU by a hyperbolic tangent.
///
/// # Panics
///
/// The lengths differ.
pub fn gelu_tanh_mul(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "lengths of a product");
    /// The square root of two over pi.
    const C: f32 = 0.797_884_6;
    for (gate, up) in gate.iter_mut().zip(up) {
        let x = *gate;
        *gate = 0.5 * x * (1.0 + math::tanh(C * x * (1.0 + 0.044_715 * x * x))) * up;
    }
}

/// `x = cap * tanh(x / cap)`.
pub fn softcap(x: &mut [f32], cap: f32) {
    let inverse = 1.0 / cap;
    for x in x {
        *x = cap * math::tanh(*x * inverse);
    }
}

/// `x = exp(x - max(x))`, and the sum of these: [`softmax`] before the division.
pub(super) fn exp_of_difference_to_max(x: &mut [f32]) -> f32 {
    let max = x.iter().fold(f32::NEG_INFINITY, |max, &x| if x > max { x } else { max });
    for x in x.iter_mut() {
        *x = math::exp(*x - max);
    }
    let mut lanes = [0.0f32; 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    tree8(lanes)
}

/// `x = exp(x - max(x)) / sum(exp(x - max(x)))`.
pub fn softmax(x: &mut [f32]) {
    let sum = exp_of_difference_to_max(x);
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
