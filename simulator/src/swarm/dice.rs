//! What everything in a scenario is drawn with.

use std::ops::RangeInclusive;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};

/// A stream of draws, the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Dice(Xoshiro256PlusPlus);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// A number for another stream.
    pub(super) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 to below 1.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.uniform() < probability
    }

    pub(super) fn within(&mut self, range: RangeInclusive<usize>) -> usize {
        let count = (range.end() - range.start() + 1) as u128;
        range.start() + ((u128::from(self.0.next_u64()) * count) >> 64) as usize
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.uniform() * (high - low)
    }

    /// Every order of magnitude is as likely as the others.
    pub(super) fn scale(&mut self, low: f64, high: f64) -> f64 {
        libm::exp(self.between(libm::log(low), libm::log(high)))
    }

    pub(super) fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.within(0..=things.len() - 1)]
    }

    /// `value` with a probability, else 0.
    pub(super) fn maybe(&mut self, probability: f64, value: impl FnOnce(&mut Self) -> f64) -> f64 {
        if self.happens(probability) { value(self) } else { 0.0 }
    }
}
