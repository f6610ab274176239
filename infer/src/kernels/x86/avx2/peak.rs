//! How many products of bytes the CPU can do at most.

use std::arch::x86_64::*;

/// Chains of dependent instructions: more than the product of their latency and of how many begin in a cycle.
const CHAINS: usize = 12;

/// Does `rounds` rounds of nothing but `vpmaddubsw` on registers, each result added up in 16 bits; returns the products done.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn products(rounds: u64) -> u64 {
    let mut sums = [_mm256_setzero_si256(); CHAINS];
    let ones = _mm256_set1_epi8(std::hint::black_box(1));
    for _ in 0..rounds {
        for sum in &mut sums {
            // With the sum itself as an operand, or the compiler would multiply but once.
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(ones, *sum));
        }
    }
    let total = sums.into_iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi16(a, b));
    std::hint::black_box(_mm256_extract_epi16::<0>(total));
    rounds * (CHAINS * 32) as u64
}
