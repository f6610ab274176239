//! The inner loops of attention.

use std::arch::x86_64::*;

use super::float;
use super::vector::*;
use crate::kernels::blocks::F16;
use crate::kernels::{Avx2, ops, portable};

/// The dot product of `query` with each row of `keys`.
pub(in crate::kernels) fn dots(_: Avx2, query: &[f32], keys: &[F16], scores: &mut [f32]) {
    // SAFETY: the token proves the features.
    unsafe { all_dots(query, keys, scores) }
}

#[target_feature(enable = "avx2,f16c")]
fn all_dots(query: &[f32], keys: &[F16], scores: &mut [f32]) {
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(query.len())) {
        *score = float::dot(key, query);
    }
}

/// The same code as for the portable level, compiled for longer vectors.
pub(in crate::kernels) fn exp_of_difference_to_max(_: Avx2, scores: &mut [f32]) -> f32 {
    #[target_feature(enable = "avx2,f16c")]
    fn compiled(scores: &mut [f32]) -> f32 {
        ops::exp_of_difference_to_max(scores)
    }
    // SAFETY: the token proves the features.
    unsafe { compiled(scores) }
}

/// Adds each row of `values` times its weight to `sums`, row by row.
pub(in crate::kernels) fn weighted_sum(_: Avx2, weights: &[f32], values: &[F16], sums: &mut [f32]) {
    // SAFETY: the token proves the features.
    unsafe { sum_all(weights, values, sums) }
}

/// Elements that are summed at a time, in 8 registers.
const STRIPE: usize = 64;

#[target_feature(enable = "avx2,f16c")]
fn sum_all(weights: &[f32], values: &[F16], sums: &mut [f32]) {
    let dim = sums.len();
    let (stripes, rest) = sums.as_chunks_mut::<STRIPE>();
    for (s, stripe) in stripes.iter_mut().enumerate() {
        let mut lanes = [_mm256_setzero_ps(); STRIPE / 8];
        let stripe = stripe.as_chunks_mut::<8>().0;
        for (lanes, stripe) in lanes.iter_mut().zip(&*stripe) {
            *lanes = load_floats(stripe);
        }
        for (&weight, row) in weights.iter().zip(values.chunks_exact(dim)) {
            let weight = _mm256_set1_ps(weight);
            let Some(row) = row[s * STRIPE..].first_chunk::<STRIPE>() else { break };
            for (lanes, values) in lanes.iter_mut().zip(row.as_chunks::<8>().0) {
                *lanes = _mm256_add_ps(*lanes, _mm256_mul_ps(weight, _mm256_cvtph_ps(load_half(values))));
            }
        }
        for (lanes, stripe) in lanes.into_iter().zip(stripe) {
            store_floats(stripe, lanes);
        }
    }
    if !rest.is_empty() {
        for (&weight, row) in weights.iter().zip(values.chunks_exact(dim)) {
            portable::add_scaled(rest, weight, &row[dim - rest.len()..]);
        }
    }
}
