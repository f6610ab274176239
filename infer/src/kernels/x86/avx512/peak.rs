//! How many products of bytes the CPU can do at most.

use std::arch::x86_64::*;

/// Chains of dependent instructions: more than the product of their latency and of how many begin in a cycle.
const CHAINS: usize = 16;

/// Does `rounds` rounds of nothing but `vpdpbusd` on registers; returns the products done.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn products(rounds: u64) -> u64 {
    let mut sums = [_mm512_setzero_si512(); CHAINS];
    // Values that the compiler cannot know, or it would do the sums itself.
    let (a, b) = (_mm512_set1_epi8(std::hint::black_box(1)), _mm512_set1_epi8(std::hint::black_box(1)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    let total = sums.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b));
    std::hint::black_box(_mm512_reduce_add_epi32(total));
    rounds * (CHAINS * 64) as u64
}
