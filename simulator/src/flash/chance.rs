//! Chance that is the same on every machine.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};
use std::sync::LazyLock;

const STEPS: usize = 1024;

/// A seeded stream of draws.
#[derive(Debug, Clone)]
pub(super) struct Chance {
    generator: Xoshiro256PlusPlus,
}

impl Chance {
    /// Streams of one seed differ by `stream`.
    pub(super) fn new(seed: u64, stream: u64) -> Chance {
        Chance { generator: Xoshiro256PlusPlus::seed_from_u64(mix(seed ^ mix(stream))) }
    }

    /// From 0 to below 1, 53 bits of it.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with a probability.
    pub(super) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.uniform() < probability
    }

    /// From the exponential distribution of mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        EXPONENTIAL[(self.generator.next_u64() >> 54) as usize]
    }
}

/// The exponential distribution of mean 1 in equally likely steps, so that a draw needs no logarithm.
static EXPONENTIAL: LazyLock<[f64; STEPS]> = LazyLock::new(|| {
    let mut values = std::array::from_fn(|i| -libm::log((i as f64 + 0.5) / STEPS as f64));
    let mean = values.iter().sum::<f64>() / STEPS as f64;
    values.iter_mut().for_each(|v| *v /= mean);
    values
});

/// SplitMix64's finaliser: every bit of the result depends on every bit of `x`.
pub(super) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_steps_have_mean_one_and_a_tail() {
        let mean = EXPONENTIAL.iter().sum::<f64>() / STEPS as f64;
        assert!((mean - 1.0).abs() < 1e-12);
        assert!(EXPONENTIAL[0] > 7.0 && EXPONENTIAL[STEPS - 1] < 0.001);
        let variance = EXPONENTIAL.iter().map(|v| (v - 1.0) * (v - 1.0)).sum::<f64>() / STEPS as f64;
        assert!((variance - 1.0).abs() < 0.01, "{variance}");
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, stream| Chance::new(seed, stream).uniform();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }
}
