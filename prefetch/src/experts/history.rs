//! The routing of the last tokens, and which of them the present token is like.
//!
//! Tokens that chose alike in the layers so far choose alike in the layers to come; and what followed a token once is likely to
//! follow its like again. Both are read off the past tokens, weighted by how like the present one they are.

use super::approx::exp;
use super::{ExpertGrid, Routing};

/// Tokens remembered.
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
    /// Experts that a token chooses of a layer, at most.
    most: usize,
    /// For each layer and remembered token, the experts that it chose. Token t is at row t mod [`TOKENS`].
    chosen: Vec<u32>,
    /// How many these are.
    counts: Vec<u32>,
    /// By expert, whether the present token has chosen it in the present layer.
    present: Vec<bool>,
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
    greatest: f32,
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
    /// For a model that chooses `used` experts of each layer per token; of a token that chooses more, the others are forgotten.
    pub(super) fn new(grid: ExpertGrid, used: usize) -> Self {
        let rows = grid.layers * TOKENS as usize;
        History {
            grid,
            most: used,
            chosen: vec![0; rows * used],
            counts: vec![0; rows],
            present: vec![false; grid.experts],
            first: 0,
            tokens: 0,
            last_layer: None,
            likeness: vec![0.0; TOKENS as usize],
            weight: vec![0.0; TOKENS as usize],
            greatest: 0.0,
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
                self.put_down(self.row(self.first + token, routing.layer), choice.expert);
            }
        }
        if self.tokens == 1 && !routing.choices.is_empty() {
            self.compare(routing.layer, routing.choices.len());
        }
    }

    fn put_down(&mut self, row: usize, expert: u32) {
        let count = self.counts[row] as usize;
        if count < self.most && !self.chosen_in(row).contains(&expert) {
            self.chosen[row * self.most + count] = expert;
            self.counts[row] += 1;
        }
    }

    fn begin_pass(&mut self, tokens: u64) {
        self.first += self.tokens;
        self.tokens = tokens.max(1);
        self.greatest = 0.0;
        self.likeness.fill(0.0);
        self.weight.fill(1.0);
        for token in self.tokens.saturating_sub(TOKENS)..self.tokens {
            for layer in 0..self.grid.layers {
                let row = self.row(self.first + token, layer);
                self.counts[row] = 0;
            }
        }
    }

    /// The row of a layer of a token.
    fn row(&self, token: u64, layer: usize) -> usize {
        layer * TOKENS as usize + (token % TOKENS) as usize
    }

    fn chosen_in(&self, row: usize) -> &[u32] {
        &self.chosen[row * self.most..][..self.counts[row] as usize]
    }

    /// The complete tokens that are still remembered: one row is the present token's.
    fn past(&self) -> std::ops::Range<u64> {
        self.first.saturating_sub(TOKENS - 1)..self.first
    }

    fn compare(&mut self, layer: usize, chosen: usize) {
        let present = self.row(self.first, layer);
        // What is not remembered can be common to nobody.
        let chosen = chosen.min(self.most).max(1);
        self.present.fill(false);
        for &expert in &self.chosen[present * self.most..][..self.counts[present] as usize] {
            self.present[expert as usize] = true;
        }
        let mut likest = 0f32;
        for token in self.past() {
            let past = self.chosen_in(self.row(token, layer));
            let common = past.iter().filter(|&&expert| self.present[expert as usize]).count();
            let likeness = &mut self.likeness[(token % TOKENS) as usize];
            *likeness = *likeness * FADE + common as f32 / chosen as f32;
            likest = likest.max(*likeness);
        }
        self.greatest = self.greatest * FADE + 1.0;
        let sharpness = SHARPNESS / self.greatest.sqrt();
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
            for &expert in self.chosen_in(self.row(shown, layer)) {
                shares[expert as usize] += weight;
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
        let mut history = History::new(ExpertGrid { layers: 2, experts: 70 }, 1);
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
        let mut history = History::new(ExpertGrid { layers: 2, experts: 70 }, 1);
        let tokens: Vec<_> = (0..TOKENS as u32 + 50).map(|t| if t < 100 { [1, 1] } else { [2, 2] }).collect();
        pass(&mut history, &tokens);
        history.observe(&Routing { layer: 0, tokens: 1, choices: &[Chosen { token: 0, expert: 2, weight: 1.0 }] });
        assert_eq!(likeliest(&history, Of::Like, 1), 2);
        let empty = History::new(ExpertGrid { layers: 2, experts: 70 }, 1);
        assert!(!empty.shares(Of::Like, 0, &mut [0.0; 70]));
    }
}
