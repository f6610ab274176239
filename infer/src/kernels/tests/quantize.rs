//! Activations in 8-bit blocks.

use half::f16;

use super::*;
use crate::kernels::{Activations, Formats, Width};

/// All numbers of a token in both forms.
#[derive(Debug, PartialEq)]
struct Token {
    q8: (Vec<i8>, Vec<u32>, Vec<i32>, Vec<u32>),
    q8k: (Vec<i8>, Vec<u32>, Vec<i16>, Vec<i16>),
}

fn quantize(isa: Isa, x: &[f32]) -> Token {
    let mut acts = Activations::new(1, &[Width::one(x.len())], Formats::Q8 | Formats::Q8K);
    acts.prepare(&pool(1), isa, x, x.len(), Formats::Q8 | Formats::Q8K);
    let (q8, q8k) = (acts.q8(0), acts.q8k(0));
    Token {
        q8: (
            (0..q8.quants.len() * 8).flat_map(|b| q8.block(b)).collect(),
            bits(q8.scales.as_flattened()),
            q8.sums.as_flattened().to_vec(),
            bits(q8.scaled_sums.as_flattened()),
        ),
        q8k: (
            q8k.quants.as_flattened().to_vec(),
            bits(q8k.scales.as_flattened()),
            q8k.sums16.as_flattened().to_vec(),
            q8k.sums32.as_flattened().to_vec(),
        ),
    }
}

/// Activations that go to the edges of what the blocks can hold.
fn inputs() -> Vec<Vec<f32>> {
    let mut random = Random(7);
    let mut inputs: Vec<_> = [32, 256, 512, 1000, 2048, 2080].map(|len| random.floats(len)).into();
    // Values half way between two quants, where the rounding rule shows.
    inputs.push((0..256).map(|i| if i % 32 == 0 { 127.0 } else { (i % 64) as f32 - 31.5 }).collect());
    // The largest magnitude comes with both signs.
    inputs.push((0..256).map(|i| if i % 2 == 0 { 3.0 } else { -3.0 }).collect());
    inputs.push((0..256).map(|i| if i % 2 == 0 { -3.0 } else { 3.0 }).collect());
    for value in [0.0, -0.0, 1e-45, 1e-38, 3e-37, 4e-37, 1e-30, 6e-8, 1e30, f32::MAX, f32::INFINITY, f32::NAN] {
        let mut x = random.floats(512);
        x[300] = value;
        inputs.push(x.clone());
        x.iter_mut().for_each(|x| *x *= value);
        inputs.push(x);
        inputs.push(vec![value; 288]);
    }
    inputs
}

#[test]
fn every_level_quantizes_to_the_same_bits() {
    for x in inputs() {
        let portable = quantize(Isa::Portable, &x);
        for isa in vector_levels() {
            assert_eq!(quantize(isa, &x), portable, "{isa}: {x:?}");
        }
    }
}

#[test]
fn blocks_hold_what_the_specification_says() {
    let token = quantize(Isa::Portable, &{
        let mut x = vec![0.0; 64];
        x[..4].copy_from_slice(&[2.5, -127.0, 3.5, -0.5]);
        x
    });
    // Ties to even; scale one.
    assert_eq!(token.q8.0[..4], [2, -127, 4, 0]);
    assert_eq!(token.q8.1[..2], bits(&[1.0, 0.0]));
    assert_eq!((token.q8.2[..2].to_vec(), token.q8.3[..2].to_vec()), (vec![-121, 0], bits(&[-121.0, 0.0])));
    // The largest magnitude becomes -127: the scale takes its sign.
    assert_eq!(token.q8k.0[..4], [2, -127, 4, 0]);
    assert_eq!(token.q8k.1[0], 1.0f32.to_bits());
    assert_eq!((token.q8k.2[0], token.q8k.2[1], token.q8k.3[0]), (-121, 0, -121));
    let flipped = quantize(Isa::Portable, &[127.0, -2.0]);
    assert_eq!((&flipped.q8k.0[..2], flipped.q8k.1[0]), (&[-127i8, 2][..], (-1.0f32).to_bits()));
}

#[test]
fn what_comes_back_is_near() {
    for x in inputs().into_iter().filter(|x| x.iter().all(|x| x.abs() < 1e4)) {
        let token = quantize(Isa::Portable, &x);
        for (i, &x_i) in x.iter().enumerate() {
            let block = &x[i / 32 * 32..x.len().min(i / 32 * 32 + 32)];
            let amax = block.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            let back = f32::from(token.q8.0[i]) * f32::from_bits(token.q8.1[i / 32]);
            // Half a step, and the rounding of the scale: relative 2^-11, or the spacing of subnormal halves.
            let tolerance = amax / 127.0 * 0.501 + amax / 2000.0 + 127.0 * f16::MIN_POSITIVE_SUBNORMAL.to_f32();
            assert!((back - x_i).abs() <= tolerance, "{x_i} came back as {back}");

            let block = &x[i / 256 * 256..x.len().min(i / 256 * 256 + 256)];
            let amax = block.iter().fold(0.0f32, |max, x| max.max(x.abs()));
            let back = f32::from(token.q8k.0[i]) * f32::from_bits(token.q8k.1[i / 256]);
            assert!((back - x_i).abs() <= amax / 127.0 * 0.501 + 3e-37, "{x_i} came back as {back}");
        }
    }
}

#[test]
fn nothing_is_left_of_earlier_activations() {
    let pool = pool(1);
    let formats = Formats::FLOAT | Formats::Q8 | Formats::Q8K;
    for isa in Isa::available() {
        let mut acts = Activations::new(3, &[Width::one(4096)], formats);
        acts.prepare(&pool, isa, &vec![1.0; 3 * 4096], 4096, formats);
        acts.prepare(&pool, isa, &[1.0; 2 * 40], 40, formats);
        assert_eq!((acts.tokens(), acts.cols(), acts.formats()), (2, 40, formats));
        for token in 0..2 {
            let (q8, q8k) = (acts.q8(token), acts.q8k(token));
            assert_eq!(acts.float(token), [1.0; 40]);
            assert_eq!(q8.quants.as_flattened().iter().map(|&q| i32::from(q)).sum::<i32>(), 40 * 127);
            assert_eq!(q8.sums[0], [32 * 127, 8 * 127, 0, 0, 0, 0, 0, 0]);
            assert!(q8.sums[1..].as_flattened().iter().all(|&sum| sum == 0));
            assert_eq!(q8.scales[0][2..], [0.0; 6]);
            assert_eq!(q8k.sums32, [[-32 * 127, -8 * 127, 0, 0, 0, 0, 0, 0]]);
            assert_eq!(q8k.scales[0][1..], [0.0; 7]);
        }
    }
    assert_eq!(Activations::bytes(0, &[Width::one(4096)], formats), 0);
    assert!(Activations::bytes(3, &[Width::one(4096)], formats) > 3 * 4096 * 6);
}
