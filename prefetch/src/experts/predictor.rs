//! What can be said about the use of an expert before its router has spoken.

use std::fmt;

use super::Routing;

/// What is expected of one expert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Probability of being chosen when its layer comes next.
    pub next: f32,
    /// Share of tokens that it will be chosen for in the longer run.
    pub rate: f32,
}

impl Estimate {
    /// Tokens until the next use, at least 1: one token if it is chosen then, else as often as a rate lets expect that lies
    /// between the two, for what is known of the next token says something about those after it.
    #[inline]
    pub fn tokens_to_use(self) -> f32 {
        use super::approx::{exp, ln};
        const LEAST: f32 = 1e-5;
        let next = self.next.clamp(LEAST, 1.0);
        let later = exp(0.85 * ln(next) + 0.15 * ln(self.rate.clamp(LEAST, 1.0)));
        1.0 + (1.0 - next) / later.max(LEAST)
    }
}

/// Learns from every routing, and estimates.
///
/// No method allocates.
pub trait Predictor: fmt::Debug {
    /// The router of a layer has spoken. Layers come in their order, pass after pass.
    fn observe(&mut self, routing: &Routing<'_>);

    /// What is expected of each expert of `layer`, as of the last visit of that layer: until the next one it stays the same.
    fn estimates(&self, layer: usize) -> &[Estimate];

    /// Writes for each expert of `layer` the probability that the present token will choose it, given what its earlier layers
    /// have chosen. `false`, with nothing written, where nothing is known beyond [`Predictor::estimates`].
    ///
    /// # Panics
    /// When `probabilities` is not as long as a layer has experts.
    fn ahead(&mut self, layer: usize, probabilities: &mut [f32]) -> bool;

    /// The same, given what the layer's router says of an earlier hidden state of the token: a score for each expert, of which
    /// the greatest would be chosen. `false` where scores are of no use.
    ///
    /// # Panics
    /// As [`Predictor::ahead`].
    fn foresee(&mut self, _layer: usize, _scores: &[f32], _probabilities: &mut [f32]) -> bool {
        false
    }
}
