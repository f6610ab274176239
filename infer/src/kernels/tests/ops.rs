//! Elementwise operations and rotary embedding.

use super::*;
use crate::kernels::{RopeParams, RopeStyle, RopeTable, ops};

fn near(got: f32, exact: f64, tolerance: f64) {
    let error = (f64::from(got) - exact).abs();
    assert!(error <= tolerance * exact.abs().max(1e-3), "{got} and {exact}");
}

#[test]
fn norms() {
    let mut random = Random(1);
    for len in [1, 7, 64, 577] {
        let (x, weight) = (random.floats(len), random.floats(len));
        let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / len as f64;
        let mut out = vec![0.0; len];
        ops::rms_norm(&x, &weight, 1e-5, &mut out);
        for i in 0..len {
            near(out[i], f64::from(x[i]) / (mean + 1e-5).sqrt() * f64::from(weight[i]), 1e-6);
        }
        let mut heads = [&x[..], &x[..]].concat();
        ops::rms_norm_in_place(&mut heads, &weight, 1e-5);
        assert_eq!((bits(&heads[..len]), bits(&heads[len..])), (bits(&out), bits(&out)));
    }
}

#[test]
fn gates() {
    let mut random = Random(2);
    let gate = random.floats(500);
    let mut capped = gate.clone();
    ops::softcap(&mut capped, 3.0);
    for i in 0..500 {
        let x = f64::from(gate[i]);
        near(ops::silu(gate[i]), x / (1.0 + (-x).exp()), 1e-6);
        let inner = (2.0 / std::f64::consts::PI).sqrt() * x * (1.0 + 0.044_715 * x * x);
        // For negative `x` one is added to nearly minus one.
        near(ops::gelu_tanh(gate[i]), 0.5 * x * (1.0 + inner.tanh()), if x < 0.0 { 2e-3 } else { 1e-6 });
        near(capped[i], 3.0 * (x / 3.0).tanh(), 1e-6);
    }
}

#[test]
fn softmax_sums_to_one_and_argmax_takes_the_first() {
    let mut random = Random(3);
    for len in [1, 8, 31, 1000] {
        let x = random.floats(len);
        let sum: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
        let mut out = x.clone();
        ops::softmax(&mut out);
        out.iter().zip(&x).for_each(|(&out, &x)| near(out, f64::from(x).exp() / sum, 2e-6));
    }
    assert_eq!(ops::argmax(&[1.0, 3.0, f32::NAN, 3.0]), 1);
    assert_eq!([ops::argmax(&[]), ops::argmax(&[f32::NAN]), ops::argmax(&[f32::NEG_INFINITY])], [0; 3]);
    ops::softmax(&mut []);
}

#[test]
fn sums() {
    let mut x = [1.0, 2.0, 3.0, 4.0];
    ops::add(&mut x, &[1.0; 4]);
    ops::scale(&mut x, 2.0);
    assert_eq!(x, [4.0, 6.0, 8.0, 10.0]);
}

#[test]
fn rotations_of_both_styles() {
    let mut random = Random(4);
    let (dims, head_dim) = (16, 20);
    let x = random.floats(2 * head_dim);
    for style in [RopeStyle::Norm, RopeStyle::Neox] {
        let factors: Vec<f32> = (0..dims / 2).map(|i| 1.0 + i as f32).collect();
        let mut params = RopeParams::new(style, dims, 10_000.0);
        params.freq_scale = 0.25;
        let mut table = RopeTable::new(params, Some(&factors), 3);
        table.set_positions(40, 3);
        let mut got = x.clone();
        table.apply(2, &mut got, head_dim);
        for head in 0..2 {
            let (x, got) = (&x[head * head_dim..][..head_dim], &got[head * head_dim..][..head_dim]);
            for (i, &factor) in factors.iter().enumerate() {
                let (a, b) = if style == RopeStyle::Norm { (2 * i, 2 * i + 1) } else { (i, i + dims / 2) };
                let angle = 42.0 * 0.25 / f64::from(factor) * 10_000f64.powf(-2.0 * i as f64 / dims as f64);
                let (xa, xb) = (f64::from(x[a]), f64::from(x[b]));
                assert!((f64::from(got[a]) - (xa * angle.cos() - xb * angle.sin())).abs() < 1e-4);
                assert!((f64::from(got[b]) - (xa * angle.sin() + xb * angle.cos())).abs() < 1e-4);
            }
            assert_eq!(got[dims..], x[dims..], "dimensions beyond the rotated ones");
        }
    }
}

#[test]
fn yarn_keeps_fast_dimensions_and_scales_slow_ones() {
    let params = RopeParams {
        freq_scale: 0.25,
        ext_factor: 1.0,
        original_context: 4096,
        ..RopeParams::new(RopeStyle::Neox, 64, 10_000.0)
    };
    let mut table = RopeTable::new(params, None, 1);
    table.set_positions(1000, 1);
    let magnitude = 1.0 + 0.1 * 4f64.ln();
    let angle_of = |pair: usize| {
        let mut x = vec![0.0; 64];
        x[pair] = 1.0;
        table.apply(0, &mut x, 64);
        let (cos, sin) = (f64::from(x[pair]) / magnitude, f64::from(x[pair + 32]) / magnitude);
        assert!((cos.hypot(sin) - 1.0).abs() < 1e-5);
        sin.atan2(cos)
    };
    let unscaled = |pair: usize| 1000.0 * 10_000f64.powf(-(pair as f64) / 32.0);
    let same = |a: f64, b: f64| {
        ((a - b + std::f64::consts::PI).rem_euclid(std::f64::consts::TAU) - std::f64::consts::PI).abs()
    };
    assert!(same(angle_of(0), unscaled(0)) < 1e-3, "fast");
    assert!(same(angle_of(31), unscaled(31) * 0.25) < 1e-3, "slow");
}
