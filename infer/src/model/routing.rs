//! Which tokens of a chunk go to which experts.

use std::ops::Range;

use forebay_prefetch::Chosen;

use super::decoder::Decoder;
use crate::kernels::Isa;
use crate::kernels::experts::{Rule, sigmoid};

/// The choices of a chunk's tokens, and the same by expert. All memory is had at construction.
#[derive(Debug)]
pub(super) struct Routing {
    /// The experts of each token, the greatest score first.
    chosen: Vec<u32>,
    /// The same, with their weights.
    choices: Vec<Chosen>,
    /// The weights of each token's summands: of its experts, then of the shared one.
    weights: Vec<f32>,
    /// As many numbers as there are experts.
    scratch: Vec<f32>,
    /// Where each expert's summands begin among `summands`, and where the last one's end.
    starts: Vec<u32>,
    /// The summands of each expert, one expert after the other, each in the order of the tokens.
    summands: Vec<u32>,
}

/// The weight of a shared expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SharedWeight {
    /// There is no such expert.
    Absent,
    One,
    /// The sigmoid of the number behind the router's outputs.
    Sigmoid,
}

/// What one token takes: an expert and a summand of it, and weights.
const BYTES_PER_CHOICE: usize = 24;
/// What one expert takes.
const BYTES_PER_EXPERT: usize = 8;

fn most(decoder: &Decoder) -> (usize, usize) {
    let summands = decoder.experts().map(|e| e.summands()).max().unwrap_or(0);
    (summands, decoder.experts().map(|e| e.count).max().unwrap_or(0))
}

impl Routing {
    /// Room for `chunk` tokens in any layer of `decoder`.
    pub(super) fn new(decoder: &Decoder, chunk: usize) -> Self {
        let (summands, experts) = most(decoder);
        Routing {
            chosen: Vec::with_capacity(chunk * summands),
            choices: Vec::with_capacity(chunk * summands),
            weights: Vec::with_capacity(chunk * summands),
            scratch: vec![0.0; experts],
            starts: Vec::with_capacity(experts + 1),
            summands: Vec::with_capacity(chunk * summands),
        }
    }

    /// Bytes that [`Routing::new`] takes: for each token, and besides.
    pub(super) fn bytes(decoder: &Decoder) -> (usize, usize) {
        let (summands, experts) = most(decoder);
        (summands * BYTES_PER_CHOICE, experts * BYTES_PER_EXPERT + 4)
    }

    /// Chooses `k` of `experts` experts for each row of `outputs`: the router's output for each expert, and what is
    /// behind them.
    pub(super) fn choose(
        &mut self,
        isa: Isa,
        rule: &Rule<'_>,
        [k, experts]: [usize; 2],
        outputs: &mut [f32],
        stride: usize,
        shared: SharedWeight,
    ) {
        let (tokens, summands) = (outputs.len() / stride, k + usize::from(shared != SharedWeight::Absent));
        self.chosen.clear();
        self.chosen.resize(tokens * k, 0);
        self.weights.clear();
        self.weights.resize(tokens * summands, 0.0);
        for (token, row) in outputs.chunks_exact_mut(stride).enumerate() {
            let chosen = &mut self.chosen[token * k..][..k];
            let weights = &mut self.weights[token * summands..][..summands];
            match shared {
                SharedWeight::Absent => {}
                SharedWeight::One => weights[k] = 1.0,
                SharedWeight::Sigmoid => weights[k] = sigmoid(row[experts]),
            }
            rule.choose(isa, &mut row[..experts], &mut self.scratch, chosen, &mut weights[..k]);
        }
        self.choices.clear();
        self.choices.extend(self.chosen.iter().enumerate().map(|(i, &expert)| {
            let (token, rank) = (i / k, i % k);
            Chosen { token: token as u32, expert, weight: self.weights[token * summands + rank] }
        }));
        self.sort_by_expert(k, experts, summands);
    }

    /// A counting sort: one pass to count, one to place.
    fn sort_by_expert(&mut self, k: usize, experts: usize, summands: usize) {
        let Self { chosen, starts, summands: sorted, .. } = self;
        starts.clear();
        starts.resize(experts + 1, 0);
        for &expert in &*chosen {
            starts[expert as usize] += 1;
        }
        let mut total = 0;
        for start in starts.iter_mut() {
            let tokens = std::mem::replace(start, total);
            total += tokens;
        }
        sorted.clear();
        sorted.resize(chosen.len(), 0);
        for (i, &expert) in chosen.iter().enumerate() {
            let start = &mut starts[expert as usize];
            sorted[*start as usize] = (i / k * summands + i % k) as u32;
            *start += 1;
        }
        // Each start has gone to its end, which is where the next one began.
        starts.copy_within(..experts, 1);
        starts[0] = 0;
    }

    /// What each token chose, token after token.
    pub(super) fn choices(&self) -> &[Chosen] {
        &self.choices
    }

    /// The summands that an expert makes, in the order of the tokens: token x summands of a token + rank.
    pub(super) fn summands_of(&self, expert: u32) -> &[u32] {
        let Range { start, end } = self.starts[expert as usize]..self.starts[expert as usize + 1];
        &self.summands[start as usize..end as usize]
    }

    /// The weights of all summands.
    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::experts::Scoring;

    #[test]
    fn summands_by_expert_are_those_by_token() {
        let rule = Rule {
            scoring: Scoring::SoftmaxOfChosen,
            bias: None,
            correction: None,
            groups: None,
            normalise: false,
            scale: 1.0,
        };
        let (tokens, k, experts) = (7, 2, 5);
        let mut routing = Routing {
            chosen: Vec::new(),
            choices: Vec::new(),
            weights: Vec::new(),
            scratch: vec![0.0; experts],
            starts: Vec::new(),
            summands: Vec::new(),
        };
        let mut outputs: Vec<f32> = (0..tokens * (experts + 1)).map(|i| ((i * 7) % 11) as f32).collect();
        routing.choose(Isa::Portable, &rule, [k, experts], &mut outputs, experts + 1, SharedWeight::Sigmoid);
        let mut seen = Vec::new();
        for expert in 0..experts as u32 {
            let summands = routing.summands_of(expert);
            assert!(summands.is_sorted());
            assert_eq!(summands.len(), routing.choices().iter().filter(|c| c.expert == expert).count());
            for &summand in summands {
                let (token, rank) = (summand as usize / (k + 1), summand as usize % (k + 1));
                assert_eq!(routing.chosen[token * k + rank], expert);
                seen.push(summand);
            }
        }
        assert_eq!(seen.len(), tokens * k);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), tokens * k, "each summand once");
        for (i, choice) in routing.choices().iter().enumerate() {
            assert_eq!((choice.token as usize, choice.expert), (i / k, routing.chosen[i]));
            assert_eq!(choice.weight, routing.weights[i / k * (k + 1) + i % k]);
        }
        for (token, weights) in routing.weights().chunks_exact(k + 1).enumerate() {
            assert_eq!(weights[k], sigmoid(((token * (experts + 1) + experts) * 7 % 11) as f32));
            assert!((weights[0] + weights[1] - 1.0).abs() < 1e-6);
        }
    }
}
