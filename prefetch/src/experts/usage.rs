//! How often and how lately each expert of each layer was chosen.

use super::regression::{LANES, Lanes, lanes};
use super::{ExpertGrid, Routing};

/// Tokens after which a use counts 1/e, on three scales: a phrase, a paragraph, a topic.
const SCALES: [f32; 3] = [5.0, 16.0, 60.0];
/// How many tokens of evidence the uniform share is worth before anything was seen.
const PRIOR_TOKENS: f32 = 2.0;

/// The records of some experts that follow each other, lane by lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Share of tokens that chose it, with exponential decay, on three scales.
    pub(super) shares: [Lanes; 3],
    /// Tokens that chose it.
    count: Lanes,
    /// Token (of its layer, from 1) that chose it last; 0 for none.
    pub(super) last: [u32; LANES],
    /// Router weight of the last choice.
    pub(super) weight: Lanes,
}

/// The records of all experts.
#[derive(Debug)]
pub(super) struct UsageTable {
    /// For each layer, those of all its experts; what the last one has too many lanes for is nobody's.
    rows: Vec<Usage>,
    rows_per_layer: usize,
    /// Tokens that each layer has seen.
    seen: Vec<u32>,
    /// The share of an expert about which nothing is known.
    uniform: f32,
}

impl UsageTable {
    /// For a model that chooses `used` experts of each layer per token.
    pub(super) fn new(grid: ExpertGrid, used: usize) -> Self {
        let uniform = used as f32 / grid.experts.max(1) as f32;
        let row = Usage { shares: [[uniform; LANES]; 3], count: [0.0; LANES], last: [0; LANES], weight: [0.0; LANES] };
        let rows_per_layer = grid.experts.div_ceil(LANES);
        UsageTable {
            rows: vec![row; grid.layers * rows_per_layer],
            rows_per_layer,
            seen: vec![0; grid.layers],
            uniform,
        }
    }

    /// Enters a visit. Time goes on by its tokens, for the experts that it did not choose as well.
    pub(super) fn observe(&mut self, routing: &Routing<'_>) {
        let tokens = routing.tokens.max(1);
        let before = self.seen[routing.layer];
        self.seen[routing.layer] = before.saturating_add(tokens as u32);
        let decay = SCALES.map(|scale| decay(tokens as f32, scale));
        let gain = decay.map(|d| (1.0 - d) / tokens as f32);
        let rows = &mut self.rows[routing.layer * self.rows_per_layer..][..self.rows_per_layer];
        for row in &mut *rows {
            for (shares, d) in row.shares.iter_mut().zip(decay) {
                shares.iter_mut().for_each(|share| *share *= d);
            }
        }
        for choice in routing.choices {
            let (row, lane) = (&mut rows[choice.expert as usize / LANES], choice.expert as usize % LANES);
            for (shares, g) in row.shares.iter_mut().zip(gain) {
                shares[lane] += g;
            }
            row.count[lane] += 1.0;
            let at = before.saturating_add(choice.token + 1);
            if at >= row.last[lane] {
                (row.last[lane], row.weight[lane]) = (at, choice.weight);
            }
        }
    }

    pub(super) fn layer(&self, layer: usize) -> &[Usage] {
        &self.rows[layer * self.rows_per_layer..][..self.rows_per_layer]
    }

    /// Tokens since the last choice, 0 for the present token; `never` where there was none.
    #[inline]
    pub(super) fn ages(&self, layer: usize, usage: &Usage, never: f32) -> Lanes {
        let seen = self.seen[layer];
        usage.last.map(|last| if last > 0 { seen.saturating_sub(last) as f32 } else { never })
    }

    /// Share of all tokens seen that chose it.
    #[inline]
    pub(super) fn frequencies(&self, layer: usize, usage: &Usage) -> Lanes {
        let (prior, seen) = (PRIOR_TOKENS * self.uniform, self.seen[layer] as f32 + PRIOR_TOKENS);
        lanes(&usage.count, |count| (count + prior) / seen)
    }

    pub(super) fn uniform(&self) -> f32 {
        self.uniform
    }
}

/// What a use counts for after so many tokens. In double precision and in software, so that it has the same bits on every machine.
fn decay(tokens: f32, scale: f32) -> f32 {
    libm::exp(f64::from(-tokens / scale)) as f32
}

#[cfg(test)]
mod tests {
    use super::super::Chosen;
    use super::*;

    const NEVER: f32 = 64.0;

    #[test]
    fn shares_follow_use_and_fade() {
        let mut table = UsageTable::new(ExpertGrid { layers: 1, experts: 4 }, 1);
        let one = |table: &mut UsageTable, expert| {
            table.observe(&Routing { layer: 0, tokens: 1, choices: &[Chosen { token: 0, expert, weight: 1.0 }] });
        };
        for _ in 0..200 {
            one(&mut table, 2);
        }
        assert!(table.layer(0)[0].shares.iter().all(|s| s[2] > 0.95), "{:?}", table.layer(0)[0]);
        for _ in 0..20 {
            one(&mut table, 1);
        }
        let [short, _, long] = table.layer(0)[0].shares.map(|shares| shares[2]);
        assert!(short < 0.05 && long > 0.6, "the short scale forgets first: {short} {long}");
        assert_eq!(table.ages(0, &table.layer(0)[0], NEVER)[2], 20.0);
        assert_eq!(table.ages(0, &table.layer(0)[0], NEVER)[0], NEVER);
    }

    #[test]
    fn a_prompt_counts_by_its_tokens() {
        let mut table = UsageTable::new(ExpertGrid { layers: 1, experts: 4 }, 1);
        let choices: Vec<_> = (0..8).map(|token| Chosen { token, expert: token % 2, weight: 1.0 }).collect();
        table.observe(&Routing { layer: 0, tokens: 8, choices: &choices });
        assert_eq!(table.ages(0, &table.layer(0)[0], NEVER)[1], 0.0, "the last token of the prompt");
        assert_eq!(table.ages(0, &table.layer(0)[0], NEVER)[0], 1.0);
        assert!((table.frequencies(0, &table.layer(0)[0])[0] - 0.45).abs() < 1e-6);
    }
}
