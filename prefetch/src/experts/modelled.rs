//! A lookahead that a recorded trace cannot have, modelled by the recall that is stated for it.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};

use super::trace::Trace;
use super::{Estimate, Predictor, Routing};

/// Stands in for a live engine's lookahead (the next layer's router on the present hidden state), of which a trace has no record.
///
/// It peeks at the trace: of the experts that the next visit chooses it names each with the probability `recall`, and in place
/// of each that it leaves out it names a wrong one at random (a real one errs towards experts that are often chosen, and so
/// already in memory: it wastes fewer reads). So it shows what a lookahead of a stated quality would be worth, and says nothing
/// about whether there is one.
#[derive(Debug)]
pub struct ModelledLookahead<'a, P> {
    inner: P,
    trace: &'a Trace,
    recall: f32,
    /// The visit that comes next.
    next_visit: usize,
    random: Xoshiro256PlusPlus,
    named: Vec<bool>,
    chosen: Vec<bool>,
}

impl<'a, P: Predictor> ModelledLookahead<'a, P> {
    /// Over `trace`, whose visits must be observed in order from the first; same seed, same draws.
    pub fn new(inner: P, trace: &'a Trace, recall: f32, seed: u64) -> Self {
        let experts = trace.grid().experts;
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (named, chosen) = (vec![false; experts], vec![false; experts]);
        ModelledLookahead { inner, trace, recall, next_visit: 0, random, named, chosen }
    }

    /// One that is neither chosen nor named: from a random place on, the first.
    fn name_a_wrong_one(&mut self) {
        let experts = self.named.len();
        let start = (self.random.next_u64() % experts as u64) as usize;
        let wrong = (0..experts).map(|i| (start + i) % experts).find(|&e| !self.named[e] && !self.chosen[e]);
        if let Some(wrong) = wrong {
            self.named[wrong] = true;
        }
    }
}

impl<P: Predictor> Predictor for ModelledLookahead<'_, P> {
    fn observe(&mut self, routing: &Routing<'_>) {
        self.inner.observe(routing);
        self.next_visit += 1;
    }

    fn estimates(&self, layer: usize) -> &[Estimate] {
        self.inner.estimates(layer)
    }

    fn ahead(&mut self, layer: usize, probabilities: &mut [f32]) -> bool {
        let Some(next) = self.trace.visit(self.next_visit).filter(|v| v.layer == layer && v.tokens == 1) else {
            return self.inner.ahead(layer, probabilities);
        };
        self.named.fill(false);
        self.chosen.fill(false);
        next.choices.iter().for_each(|c| self.chosen[c.expert as usize] = true);
        for choice in next.choices {
            let draw = (self.random.next_u64() >> 40) as f32 / (1u64 << 24) as f32;
            if draw < self.recall {
                self.named[choice.expert as usize] = true;
            } else {
                self.name_a_wrong_one();
            }
        }
        let others = (self.named.len() - next.choices.len().min(self.named.len())).max(1);
        let missed = (1.0 - self.recall) * next.choices.len() as f32 / others as f32;
        for (probability, &named) in probabilities.iter_mut().zip(&self.named) {
            *probability = if named { self.recall } else { missed };
        }
        true
    }
}
