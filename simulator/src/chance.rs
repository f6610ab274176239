//! Chance that is the same on every machine: the streams of numbers from which the flash and the routing are drawn.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};
use std::sync::LazyLock;

const STEPS: usize = 1024;

/// A seeded stream of draws.
#[derive(Debug, Clone)]
pub(crate) struct Chance {
    generator: Xoshiro256PlusPlus,
}

impl Chance {
    /// Streams of one seed differ by `stream`.
    pub(crate) fn new(seed: u64, stream: u64) -> Chance {
        Chance { generator: Xoshiro256PlusPlus::seed_from_u64(mix(seed ^ mix(stream))) }
    }

    /// Streams of one seed for everything that has numbers: they differ where one of these does.
    pub(crate) fn of(seed: u64, numbers: [u64; 3]) -> Chance {
        let mix = |state: u64, value: u64| (state ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        Chance { generator: Xoshiro256PlusPlus::seed_from_u64(numbers.into_iter().fold(mix(1, seed), mix)) }
    }

    /// From 0 to below 1, 53 bits of it.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with a probability.
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.uniform() < probability
    }

    /// From a normal distribution of mean 0, nearly: the sum of the eight bytes of a number, which is quick and the same on every
    /// machine. `out` is filled, with `size` for the standard deviation.
    pub(crate) fn normals(&mut self, size: f32, out: &mut [f32]) {
        // A byte has the variance (256^2 - 1) / 12.
        const VARIANCE: f32 = 8.0 * 65_535.0 / 12.0;
        let scale = size / VARIANCE.sqrt();
        for x in out {
            *x = (byte_sum(self.generator.next_u64()) as f32 - 8.0 * 127.5) * scale;
        }
    }

    /// From the exponential distribution of mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
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

/// The sum of the eight bytes of `x`: all at once, in lanes of 16 bits that do not overflow.
#[inline]
fn byte_sum(x: u64) -> u32 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let pairs = (x & EVEN) + (x >> 8 & EVEN);
    (pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48) as u32
}

/// SplitMix64's finaliser: every bit of the result depends on every bit of `x`.
pub(crate) fn mix(x: u64) -> u64 {
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
    fn bytes_are_summed() {
        for x in [0, 1, u64::MAX, 0x8000_0000_0000_0001, 0x0102_0304_0506_0708, mix(5)] {
            assert_eq!(byte_sum(x), x.to_le_bytes().into_iter().map(u32::from).sum::<u32>(), "{x:x}");
        }
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |seed, stream| Chance::new(seed, stream).uniform();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
        let draw = |seed, numbers| Chance::of(seed, numbers).uniform();
        assert_eq!(draw(1, [2, 3, 4]), draw(1, [2, 3, 4]));
        for other in [[0, 3, 4], [2, 0, 4], [2, 3, 0]] {
            assert_ne!(draw(1, [2, 3, 4]), draw(1, other));
        }
    }
}
