//! Our predictor: popularity, recency and the likeness of tokens, weighed by a regression that learns while it runs.

use super::approx::ln;
use super::history::{History, Of};
use super::regression::Regression;
use super::usage::UsageTable;
use super::{Estimate, ExpertGrid, Predictor, Routing};

/// What the next visit of a layer is estimated from; see [`Learned::describe`] for what each is.
const FEATURES: usize = 11;
/// Where learning starts: about what it arrives at on recorded and on made-up traces alike.
const START: [f32; FEATURES] = [-0.4, 0.27, 0.24, 0.05, 0.3, -0.1, 0.22, -0.2, 0.4, 0.4, 0.1];
const START_CONFIDENCE: f32 = 30.0;
/// The same for the layers ahead: a constant, the logit of the estimate, the share among like tokens.
const AHEAD_START: [f32; 3] = [0.0, 0.5, 0.8];
const AHEAD_CONFIDENCE: f32 = 20.0;
/// The same where a router has been asked: a constant, the logarithm of the rank it gives the expert, in units of those it would
/// choose, and the logit of what is expected without it.
const FORESEEN_START: [f32; 3] = [0.3, -2.0, 0.3];
/// Keeps the logarithm of a share from going to where one use more or less decides everything.
const SHARE_FLOOR: f32 = 0.02;
/// The age, in tokens, given to experts that were never chosen.
const NEVER: f32 = 64.0;

/// Estimates the next choice of each expert by logistic regression on its popularity with decay (three time scales), its
/// recency, its last router weight and what followed tokens like the present one; and the choices of the layers ahead on
/// what tokens like the present one chose there. All weights are learnt online, shared by all experts.
///
/// It needs no hidden state, only the routing: the same predictor serves a live engine and a recorded trace. Where an engine
/// asks a router early ([`Predictor::foresee`]), how far its answer is to be trusted is learnt in the same way. Memory is
/// about 80 bytes per expert and 256 tokens of history at one bit per expert: 3.4 MB for 60 layers of 512.
#[derive(Debug)]
pub struct Learned {
    grid: ExpertGrid,
    usage: UsageTable,
    history: History,
    next: Regression<FEATURES>,
    ahead: Regression<3>,
    foreseen: Regression<3>,
    /// What the estimate of each expert rests on, to learn from when its layer comes again.
    features: Vec<[f32; FEATURES]>,
    estimates: Vec<Estimate>,
    /// The same for the layer that [`Predictor::ahead`] last looked at.
    ahead_features: Vec<[f32; 3]>,
    ahead_layer: Option<usize>,
    /// The same for [`Predictor::foresee`].
    foreseen_features: Vec<[f32; 3]>,
    foreseen_layer: Option<usize>,
    /// Experts by their scores.
    ranked: Vec<u32>,
    /// The layer of the last visit.
    present: Option<usize>,
    /// Whether a layer was visited, so that its features mean something.
    visited: Vec<bool>,
    /// Of the layer under observation, by expert.
    chosen: Vec<bool>,
    shares: Vec<f32>,
}

impl Learned {
    /// For a model that chooses `used` experts of each layer per token.
    pub fn new(grid: ExpertGrid, used: usize) -> Self {
        let uniform = used as f32 / grid.experts.max(1) as f32;
        Learned {
            grid,
            usage: UsageTable::new(grid, used),
            history: History::new(grid),
            next: Regression::new(START, START_CONFIDENCE),
            ahead: Regression::new(AHEAD_START, AHEAD_CONFIDENCE),
            foreseen: Regression::new(FORESEEN_START, AHEAD_CONFIDENCE),
            features: vec![[0.0; FEATURES]; grid.len()],
            estimates: vec![Estimate { next: uniform, rate: uniform }; grid.len()],
            ahead_features: vec![[0.0; 3]; grid.experts],
            ahead_layer: None,
            foreseen_features: vec![[0.0; 3]; grid.experts],
            foreseen_layer: None,
            ranked: Vec::with_capacity(grid.experts),
            present: None,
            visited: vec![false; grid.layers],
            chosen: vec![false; grid.experts],
            shares: vec![0.0; grid.experts],
        }
    }

    /// Compares what was estimated with what was chosen.
    fn learn(&mut self, layer: usize) {
        if self.visited[layer] {
            for (features, &chosen) in self.features[self.grid.pages(layer)].iter().zip(&self.chosen) {
                self.next.learn(features, chosen);
            }
            self.next.step();
        }
        if self.ahead_layer == Some(layer) {
            for (features, &chosen) in self.ahead_features.iter().zip(&self.chosen) {
                self.ahead.learn(features, chosen);
            }
            self.ahead.step();
        }
        if self.foreseen_layer == Some(layer) {
            for (features, &chosen) in self.foreseen_features.iter().zip(&self.chosen) {
                self.foreseen.learn(features, chosen);
            }
            self.foreseen.step();
        }
    }

    /// Features and estimates for the next visit of the layer.
    fn describe(&mut self, layer: usize, experts_per_token: f32) {
        let uniform = self.usage.uniform();
        let floor = 0.1 * uniform;
        let first = self.grid.pages(layer).start;
        for (expert, usage) in self.usage.layer(layer).iter().enumerate() {
            let age = self.usage.age(layer, usage);
            let weight = usage.weight * experts_per_token; // 1 on average
            let now = age == Some(0);
            let [short, middle, long] = usage.shares;
            let features = [
                1.0,
                ln(short + floor),
                ln(middle + floor),
                ln(long + floor),
                if now { 1.0 } else { 0.0 },
                ln(1.0 + age.map_or(NEVER, |age| age as f32)),
                if now { weight - 1.0 } else { 0.0 },
                if age.is_none() { 1.0 } else { 0.0 },
                weight.min(2.0),
                ln(self.shares[expert] + SHARE_FLOOR),
                ln(self.usage.frequency(layer, usage)),
            ];
            let next = self.next.probability(&features);
            self.features[first + expert] = features;
            self.estimates[first + expert] = Estimate { next, rate: long + floor };
        }
    }
}

impl Predictor for Learned {
    fn observe(&mut self, routing: &Routing<'_>) {
        let layer = routing.layer;
        self.history.observe(routing);
        self.chosen.fill(false);
        for choice in routing.choices {
            self.chosen[choice.expert as usize] = true;
        }
        let decoding = routing.tokens == 1;
        if decoding {
            self.learn(layer); // A prompt says what many tokens chose together: another question.
        }
        (self.ahead_layer, self.foreseen_layer) = (None, None);
        self.usage.observe(routing);
        if !(decoding && self.history.shares(Of::Successor, layer, &mut self.shares)) {
            self.shares.fill(self.usage.uniform());
        }
        self.describe(layer, self.usage.uniform() * self.grid.experts as f32);
        self.visited[layer] = true;
        self.present = Some(layer);
    }

    fn estimate(&self, layer: usize, expert: usize) -> Estimate {
        self.estimates[self.grid.pages(layer).start + expert]
    }

    fn ahead(&mut self, layer: usize, probabilities: &mut [f32]) -> bool {
        assert_eq!(probabilities.len(), self.grid.experts, "a probability for each expert of a layer");
        if self.present.is_none_or(|present| layer <= present)
            || !self.history.shares(Of::Like, layer, &mut self.shares)
        {
            return false;
        }
        let first = self.grid.pages(layer).start;
        for (expert, probability) in probabilities.iter_mut().enumerate() {
            let next = self.estimates[first + expert].next;
            let features = [1.0, logit(next), ln(self.shares[expert] + SHARE_FLOOR)];
            *probability = self.ahead.probability(&features);
            self.ahead_features[expert] = features;
        }
        self.ahead_layer = Some(layer);
        true
    }

    fn foresee(&mut self, layer: usize, scores: &[f32], probabilities: &mut [f32]) -> bool {
        assert_eq!(probabilities.len(), self.grid.experts, "a probability for each expert of a layer");
        assert!(scores.len() <= self.grid.experts, "{} scores for {} experts", scores.len(), self.grid.experts);
        let first = self.grid.pages(layer).start;
        let chosen = self.usage.uniform() * self.grid.experts as f32;
        let learnt = self.ahead_layer == Some(layer);
        self.ranked.clear();
        self.ranked.extend(0..scores.len() as u32);
        self.ranked.sort_unstable_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]));
        probabilities.fill(0.0);
        self.foreseen_features.fill([0.0; 3]);
        for (rank, &expert) in self.ranked.iter().enumerate() {
            let expert = expert as usize;
            let without = if learnt {
                self.ahead.probability(&self.ahead_features[expert])
            } else {
                self.estimates[first + expert].next
            };
            let features = [1.0, ln((rank as f32 + 0.5) / chosen), logit(without)];
            probabilities[expert] = self.foreseen.probability(&features);
            self.foreseen_features[expert] = features;
        }
        self.foreseen_layer = Some(layer);
        true
    }
}

/// The logarithm of the odds, of probabilities that are not certain.
fn logit(probability: f32) -> f32 {
    let p = probability.clamp(1e-6, 1.0 - 1e-6);
    ln(p / (1.0 - p))
}

#[cfg(test)]
mod tests {
    use super::super::Chosen;
    use super::*;

    #[test]
    fn what_is_chosen_often_lately_and_by_like_tokens_is_expected() {
        let grid = ExpertGrid { layers: 2, experts: 16 };
        let mut predictor = Learned::new(grid, 1);
        let visit = |predictor: &mut Learned, layer, expert| {
            predictor.observe(&Routing { layer, tokens: 1, choices: &[Chosen { token: 0, expert, weight: 1.0 }] });
        };
        // Expert 3 or 4, then what belongs to it.
        for token in 0..100 {
            visit(&mut predictor, 0, 3 + token % 2);
            visit(&mut predictor, 1, 7 + token % 2);
        }
        let [often, never] = [3, 9].map(|expert| predictor.estimate(0, expert));
        assert!(often.next > 0.3 && never.next < 0.05, "{often:?} {never:?}");
        assert!(often.tokens_to_use() < never.tokens_to_use());
        visit(&mut predictor, 0, 3);
        let mut probabilities = [0.0; 16];
        assert!(predictor.ahead(1, &mut probabilities));
        assert!(probabilities[7] > 0.6 && probabilities[8] < 0.1, "{probabilities:?}");
        assert!(!predictor.ahead(0, &mut probabilities), "the next token is not known");
    }

    #[test]
    fn how_far_a_router_is_to_be_trusted_is_learnt() {
        let grid = ExpertGrid { layers: 2, experts: 16 };
        let mut predictors = [Learned::new(grid, 1), Learned::new(grid, 1)];
        let mut probabilities = [0.0; 16];
        let mut of_first = [0.0; 2];
        for token in 0..200u32 {
            // No pattern but the scores, which one router gives to what it chooses and the other to something else.
            let expert = token * token * 7 % 97 % 16;
            for (i, predictor) in predictors.iter_mut().enumerate() {
                let choice = |expert| [Chosen { token: 0, expert, weight: 1.0 }];
                predictor.observe(&Routing { layer: 0, tokens: 1, choices: &choice(expert / 4) });
                let named = (expert + 5 * i as u32) % 16;
                let scores: Vec<f32> =
                    (0..16).map(|e| if e == named { 3.0 } else { (e * e % 7) as f32 / 7.0 }).collect();
                assert!(predictor.foresee(1, &scores, &mut probabilities));
                of_first[i] = probabilities[named as usize];
                predictor.observe(&Routing { layer: 1, tokens: 1, choices: &choice(expert) });
            }
        }
        assert!(of_first[0] > 0.8 && of_first[1] < 0.2, "{of_first:?}");
    }

    #[test]
    fn damaged_routing_leaves_finite_estimates() {
        let grid = ExpertGrid { layers: 1, experts: 3 };
        let mut predictor = Learned::new(grid, 2);
        for token in 0..2000u32 {
            let weight = [0.0, f32::MAX, -1.0, f32::MIN_POSITIVE][token as usize % 4];
            let choices = [Chosen { token: u32::MAX - 1, expert: token % 3, weight }];
            predictor.observe(&Routing { layer: 0, tokens: 1 + token as usize % 2 * 1000, choices: &choices });
        }
        for expert in 0..3 {
            let estimate = predictor.estimate(0, expert);
            assert!(estimate.tokens_to_use() >= 1.0 && estimate.tokens_to_use().is_finite(), "{estimate:?}");
        }
    }
}
