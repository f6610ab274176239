//! How often and how lately each expert of each layer was chosen.

use super::{ExpertGrid, Routing};

/// Tokens after which a use counts 1/e, on three scales: a phrase, a paragraph, a topic.
const SCALES: [f32; 3] = [5.0, 16.0, 60.0];
/// How many tokens of evidence the uniform share is worth before anything was seen.
const PRIOR_TOKENS: f32 = 2.0;

/// The record of one expert.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Share of tokens that chose it, with exponential decay, on three scales.
    pub(super) shares: [f32; 3],
    /// Tokens that chose it.
    count: f32,
    /// Token (of its layer, from 1) that chose it last; 0 for none.
    last: u32,
    /// Router weight of the last choice.
    pub(super) weight: f32,
}

/// The records of all experts.
#[derive(Debug)]
pub(super) struct UsageTable {
    grid: ExpertGrid,
    rows: Vec<Usage>,
    /// Tokens that each layer has seen.
    seen: Vec<u32>,
    /// The share of an expert about which nothing is known.
    uniform: f32,
}

impl UsageTable {
    /// For a model that chooses `used` experts of each layer per token.
    pub(super) fn new(grid: ExpertGrid, used: usize) -> Self {
        let uniform = used as f32 / grid.experts.max(1) as f32;
        let row = Usage { shares: [uniform; 3], count: 0.0, last: 0, weight: 0.0 };
        UsageTable { grid, rows: vec![row; grid.len()], seen: vec![0; grid.layers], uniform }
    }

    /// Enters a visit. Time goes on by its tokens, for the experts that it did not choose as well.
    pub(super) fn observe(&mut self, routing: &Routing<'_>) {
        let tokens = routing.tokens.max(1);
        let before = self.seen[routing.layer];
        self.seen[routing.layer] = before.saturating_add(tokens as u32);
        let decay = SCALES.map(|scale| (-(tokens as f32) / scale).exp());
        let gain = decay.map(|d| (1.0 - d) / tokens as f32);
        let rows = &mut self.rows[self.grid.pages(routing.layer)];
        for row in &mut *rows {
            for (share, d) in row.shares.iter_mut().zip(decay) {
                *share *= d;
            }
        }
        for choice in routing.choices {
            let row = &mut rows[choice.expert as usize];
            for (share, g) in row.shares.iter_mut().zip(gain) {
                *share += g;
            }
            row.count += 1.0;
            let at = before.saturating_add(choice.token + 1);
            if at >= row.last {
                (row.last, row.weight) = (at, choice.weight);
            }
        }
    }

    pub(super) fn layer(&self, layer: usize) -> &[Usage] {
        &self.rows[self.grid.pages(layer)]
    }

    /// Tokens since the last choice, 0 for the present token; `None` if there was none.
    pub(super) fn age(&self, layer: usize, usage: &Usage) -> Option<u32> {
        (usage.last > 0).then(|| self.seen[layer].saturating_sub(usage.last))
    }

    /// Share of all tokens seen that chose it.
    pub(super) fn frequency(&self, layer: usize, usage: &Usage) -> f32 {
        (usage.count + PRIOR_TOKENS * self.uniform) / (self.seen[layer] as f32 + PRIOR_TOKENS)
    }

    pub(super) fn uniform(&self) -> f32 {
        self.uniform
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chosen;
    use super::*;

    #[test]
    fn shares_follow_use_and_fade() {
        let mut table = UsageTable::new(ExpertGrid { layers: 1, experts: 4 }, 1);
        let one = |table: &mut UsageTable, expert| {
            table.observe(&Routing { layer: 0, tokens: 1, choices: &[Chosen { token: 0, expert, weight: 1.0 }] });
        };
        for _ in 0..200 {
            one(&mut table, 2);
        }
        assert!(table.layer(0)[2].shares.iter().all(|&s| s > 0.95), "{:?}", table.layer(0)[2]);
        for _ in 0..20 {
            one(&mut table, 1);
        }
        let [short, _, long] = table.layer(0)[2].shares;
        assert!(short < 0.05 && long > 0.6, "the short scale forgets first: {short} {long}");
        assert_eq!(table.age(0, &table.layer(0)[2]), Some(20));
        assert_eq!(table.age(0, &table.layer(0)[0]), None);
    }

    #[test]
    fn a_prompt_counts_by_its_tokens() {
        let mut table = UsageTable::new(ExpertGrid { layers: 1, experts: 4 }, 1);
        let choices: Vec<_> = (0..8).map(|token| Chosen { token, expert: token % 2, weight: 1.0 }).collect();
        table.observe(&Routing { layer: 0, tokens: 8, choices: &choices });
        assert_eq!(table.age(0, &table.layer(0)[1]), Some(0), "the last token of the prompt");
        assert_eq!(table.age(0, &table.layer(0)[0]), Some(1));
        assert!((table.frequency(0, &table.layer(0)[0]) - 0.45).abs() < 1e-6);
    }
}
