//! The inner loops of attention.

use std::arch::x86_64::*;

use super::float;
use super::vector::*;
use crate::kernels::blocks::F16;
use crate::kernels::portable;

/// The dot product of `query` with each row of `keys`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn dots(query: &[f32], keys: &[F16], scores: &mut [f32]) {
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(query.len())) {
        *score = float::dot(key, query);
    }
}

/// Elements that are summed at a time, in 8 registers.
const STRIPE: usize = 64;

/// Adds each row of `values` times its weight to `sums`, row by row.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn weighted_sum(weights: &[f32], values: &[F16], sums: &mut [f32]) {
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
                *lanes = _mm256_fmadd_ps(weight, _mm256_cvtph_ps(load_half(values)), *lanes);
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
