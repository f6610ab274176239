//! The routing of the last tokens, and which of them the present token is like.
//!
//! Tokens that chose alike in the layers so far choose alike in the layers to come; and what followed a token once is likely to
//! follow its like again. Both are read off the past tokens, weighted by how like the present one they are.

use super::approx::exp;
use super::{ExpertGrid, Routing};

/// Tokens remembered. Each takes `layers x experts` bits.
const TOKENS: u64 = 256;
/// By how much a layer's likeness counts less in the next layer.
const FADE: f32 = 0.85;
/// How sharply likeness weighs.
const SHARPNESS: f32 = 6.0;
/// Tokens that weigh less than this, relative to the likest, are passed over.
const NEGLIGIBLE: f32 = 1e-4;

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct History {
    grid: ExpertGrid,
    /// 64-bit words per layer.
    words: usize,
    /// For each layer, remembered token and expert, whether it was chosen. Token t is at row t mod [`TOKENS`].
    chosen: Vec<u64>,
    /// The first token of the present pass; those before it are complete.
    first: u64,
    /// Tokens of the present pass.
    tokens: u64,
    last_layer: Option<usize>,
    /// How like the present token each remembered one is, by row.
    likeness: Vec<f32>,
    /// The same as weights: 1 for the likest.
    weight: Vec<f32>,
    /// What the likeness of an equal token would be.
    most: f32,
}

/// Which layer's choices of a past token are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Of the like token itself.
    Like,
    /// Of the token that came after the like one.
    Successor,
}

impl History {
    pub(super) fn new(grid: ExpertGrid) -> Self {
        let words = grid.experts.div_ceil(64);
        History {
            grid,
            words,
            chosen: vec![0; TOKENS as usize * grid.layers * words],
            first: 0,
            tokens: 0,
            last_layer: None,
            likeness: vec![0.0; TOKENS as usize],
            weight: vec![0.0; TOKENS as usize],
            most: 0.0,
        }
    }

    pub(super) fn observe(&mut self, routing: &Routing<'_>) {
        if self.last_layer.is_none_or(|last| routing.layer <= last) {
            self.begin_pass(routing.tokens as u64);
        }
        self.last_layer = Some(routing.layer);
        for choice in routing.choices {
            let token = u64::from(choice.token).min(self.tokens - 1);
            if self.tokens - token < TOKENS {
                let at = self.at(self.first + token, routing.layer) + choice.expert as usize / 64;
                self.chosen[at] |= 1 << (choice.expert % 64);
            }
        }
        if self.tokens == 1 && !routing.choices.is_empty() {
            self.compare(routing.layer, routing.choices.len());
        }
    }

    fn begin_pass(&mut self, tokens: u64) {
        self.first += self.tokens;
        self.tokens = tokens.max(1);
        self.most = 0.0;
        self.likeness.fill(0.0);
        self.weight.fill(1.0);
        for token in self.tokens.saturating_sub(TOKENS)..self.tokens {
            for layer in 0..self.grid.layers {
                let at = self.at(self.first + token, layer);
                self.chosen[at..at + self.words].fill(0);
            }
        }
    }

    /// Where the bits of a layer of a token begin.
    fn at(&self, token: u64, layer: usize) -> usize {
        (layer * TOKENS as usize + (token % TOKENS) as usize) * self.words
    }

    /// The complete tokens that are still remembered: one row is the present token's.
    fn past(&self) -> std::ops::Range<u64> {
        self.first.saturating_sub(TOKENS - 1)..self.first
    }

    fn compare(&mut self, layer: usize, chosen: usize) {
        let (present, words) = (self.at(self.first, layer), self.words);
        let mut likest = 0f32;
        for token in self.past() {
            let past = self.at(token, layer);
            let common: u32 =
                (0..words).map(|word| (self.chosen[past + word] & self.chosen[present + word]).count_ones()).sum();
            let likeness = &mut self.likeness[(token % TOKENS) as usize];
            *likeness = *likeness * FADE + common as f32 / chosen as f32;
            likest = likest.max(*likeness);
        }
        self.most = self.most * FADE + 1.0;
        let sharpness = SHARPNESS / self.most.sqrt();
        for token in self.past() {
            let row = (token % TOKENS) as usize;
            self.weight[row] = exp((self.likeness[row] - likest) * sharpness);
        }
    }

    /// Writes for each expert of `layer` the share of past tokens that chose it, weighted by how like the present one they (or
    /// their predecessors) are. `false` where there are none.
    pub(super) fn shares(&self, of: Of, layer: usize, shares: &mut [f32]) -> bool {
        shares.fill(0.0);
        let mut sum = 0.0;
        let past = self.past();
        for token in past.clone() {
            let weight = self.weight[(token % TOKENS) as usize];
            let shown = if of == Of::Successor { token + 1 } else { token };
            if weight < NEGLIGIBLE || shown >= past.end {
                continue;
            }
            sum += weight;
            let at = self.at(shown, layer);
            for (word, &bits) in self.chosen[at..at + self.words].iter().enumerate() {
                let mut bits = bits;
                while bits != 0 {
                    shares[word * 64 + bits.trailing_zeros() as usize] += weight;
                    bits &= bits - 1;
                }
            }
        }
        if sum > 0.0 {
            shares.iter_mut().for_each(|share| *share /= sum);
        }
        sum > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chosen;
    use super::*;

    fn pass(history: &mut History, tokens: &[[u32; 2]]) {
        for layer in 0..2 {
            let choices: Vec<_> = tokens
                .iter()
                .enumerate()
                .map(|(token, experts)| Chosen { token: token as u32, expert: experts[layer], weight: 1.0 })
                .collect();
            history.observe(&Routing { layer, tokens: tokens.len(), choices: &choices });
        }
    }

    fn likeliest(history: &History, of: Of, layer: usize) -> usize {
        let mut shares = vec![0.0; 70];
        assert!(history.shares(of, layer, &mut shares));
        (0..70).max_by(|&a, &b| shares[a].total_cmp(&shares[b])).unwrap()
    }

    #[test]
    fn like_tokens_tell_the_next_layer_and_the_next_token() {
        let mut history = History::new(ExpertGrid { layers: 2, experts: 70 });
        pass(&mut history, &[[1, 65], [2, 66], [3, 67]]);
        for _ in 0..3 * TOKENS {
            pass(&mut history, &[[1, 65]]);
            pass(&mut history, &[[2, 66]]);
            pass(&mut history, &[[3, 67]]);
        }
        for (first, second, successor) in [(1, 65, 2), (2, 66, 3), (3, 67, 1)] {
            let choices = [Chosen { token: 0, expert: first, weight: 1.0 }];
            history.observe(&Routing { layer: 0, tokens: 1, choices: &choices });
            assert_eq!(likeliest(&history, Of::Like, 1), second);
            assert_eq!(likeliest(&history, Of::Successor, 0), successor);
        }
    }

    #[test]
    fn a_prompt_longer_than_the_memory_leaves_its_end() {
        let mut history = History::new(ExpertGrid { layers: 2, experts: 70 });
        let tokens: Vec<_> = (0..TOKENS as u32 + 50).map(|t| if t < 100 { [1, 1] } else { [2, 2] }).collect();
        pass(&mut history, &tokens);
        history.observe(&Routing { layer: 0, tokens: 1, choices: &[Chosen { token: 0, expert: 2, weight: 1.0 }] });
        assert_eq!(likeliest(&history, Of::Like, 1), 2);
        let empty = History::new(ExpertGrid { layers: 2, experts: 70 });
        assert!(!empty.shares(Of::Like, 0, &mut [0.0; 70]));
    }
}
