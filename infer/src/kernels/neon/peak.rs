//! How many products of bytes the CPU can do at most.

use std::arch::aarch64::*;

use super::shims;
use crate::kernels::isa::{Dotprod, I8mm};

/// Chains of dependent instructions: more than the product of their latency and of how many begin in a cycle.
const CHAINS: usize = 16;

/// Does `rounds` rounds of nothing but `sdot` on registers; returns the products done.
pub(super) fn sdot(level: Dotprod, rounds: u64) -> Option<u64> {
    // SAFETY: the token proves the features.
    Some(unsafe { products(rounds, 16, |sum, a, b| shims::sdot(level, sum, a, b)) })
}

/// Does `rounds` rounds of nothing but `smmla` on registers; returns the products done.
pub(super) fn smmla(level: I8mm, rounds: u64) -> Option<u64> {
    // SAFETY: the token proves the features.
    Some(unsafe { products(rounds, 32, |sum, a, b| shims::smmla(level, sum, a, b)) })
}

/// Rounds of an instruction that does `each` products.
#[inline]
#[target_feature(enable = "neon")]
fn products(rounds: u64, each: u64, instruction: impl Fn(int32x4_t, int8x16_t, int8x16_t) -> int32x4_t) -> u64 {
    let mut sums = [vdupq_n_s32(0); CHAINS];
    let (a, b) = (vdupq_n_s8(1), vdupq_n_s8(1));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = instruction(*sum, a, b);
        }
    }
    let total = sums.into_iter().fold(vdupq_n_s32(0), |a, b| vaddq_s32(a, b));
    std::hint::black_box(vaddvq_s32(total));
    rounds * CHAINS as u64 * each
}
