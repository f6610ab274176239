//! Our predictor: popularity, recency and the likeness of tokens, weighed by a regression that learns while it runs.

use super::approx::ln;
use super::history::{History, Of};
use super::regression::{LANES, Lanes, Regression, lanes};
use super::usage::{Usage, UsageTable};
use super::{Estimate, ExpertGrid, Predictor, Routing, ranking};

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
/// about 80 bytes per expert and 256 tokens of history at four bytes per choice: 3.1 MB for 60 layers of which 10 of 512 are chosen.
///
/// Experts are looked at by lanes: eight of them, as a vector of the machine would have them. What is computed for each, and
/// the order of sums over experts, is as if they were looked at one after the other.
#[derive(Debug)]
pub struct Learned {
    grid: ExpertGrid,
    usage: UsageTable,
    history: History,
    next: Regression<FEATURES, 12>,
    ahead: Regression<3, 4>,
    foreseen: Regression<3, 4>,
    /// What the estimates of each layer rest on, to learn from when it comes again.
    features: Vec<[Lanes; FEATURES]>,
    estimates: Vec<Estimate>,
    /// The layer that [`Predictor::ahead`] last looked at, and what it has said of it.
    ahead_layer: Option<usize>,
    said_ahead: Vec<Said>,
    /// The same for [`Predictor::foresee`], with the number of experts that it had scores of.
    foreseen_layer: Option<(usize, usize)>,
    said_foreseen: Vec<Said>,
    /// Experts by their scores.
    ranked: Vec<u64>,
    /// For each rank, its feature; and for each expert that of its rank.
    of_ranks: Vec<f32>,
    of_rank: Vec<Lanes>,
    /// The layer of the last visit.
    present: Option<usize>,
    /// Whether a layer was visited, so that its features mean something.
    visited: Vec<bool>,
    /// Of the layer under observation, by expert.
    chosen: Vec<bool>,
    shares: Vec<Lanes>,
}

/// What was said of some experts for the token at hand, and on what grounds.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    features: [Lanes; 3],
    probabilities: Lanes,
}

impl Learned {
    /// For a model that chooses `used` experts of each layer per token.
    pub fn new(grid: ExpertGrid, used: usize) -> Self {
        let usage = UsageTable::new(grid, used);
        let (uniform, lanes) = (usage.uniform(), grid.experts.div_ceil(LANES));
        // Of those that would be chosen.
        let chosen = uniform * grid.experts as f32;
        Learned {
            grid,
            usage,
            history: History::new(grid, used),
            next: Regression::new(START, START_CONFIDENCE),
            ahead: Regression::new(AHEAD_START, AHEAD_CONFIDENCE),
            foreseen: Regression::new(FORESEEN_START, AHEAD_CONFIDENCE),
            features: vec![[[0.0; LANES]; FEATURES]; grid.layers * lanes],
            estimates: vec![Estimate { next: uniform, rate: uniform }; grid.len()],
            ahead_layer: None,
            said_ahead: vec![Said::default(); lanes],
            foreseen_layer: None,
            said_foreseen: vec![Said::default(); lanes],
            ranked: Vec::with_capacity(grid.experts),
            of_ranks: (0..grid.experts).map(|rank| ln((rank as f32 + 0.5) / chosen)).collect(),
            of_rank: vec![[0.0; LANES]; lanes],
            present: None,
            visited: vec![false; grid.layers],
            chosen: vec![false; grid.experts],
            shares: vec![[0.0; LANES]; lanes],
        }
    }

    /// Where the features of a layer are.
    fn lanes(&self, layer: usize) -> std::ops::Range<usize> {
        let lanes = self.shares.len();
        layer * lanes..(layer + 1) * lanes
    }

    /// Compares what was estimated with what was chosen.
    fn learn(&mut self, layer: usize) {
        if self.visited[layer] {
            for (features, chosen) in self.features[self.lanes(layer)].iter().zip(self.chosen.chunks(LANES)) {
                // Other layers have taught since these features were seen.
                let probabilities = self.next.probabilities(features);
                self.next.learn(features, &probabilities, chosen);
            }
            self.next.step();
        }
        if self.ahead_layer == Some(layer) {
            self.ahead.learn_what_was_said(&self.said_ahead, &self.chosen);
        }
        if let Some((_, scored)) = self.foreseen_layer.filter(|(foreseen, _)| *foreseen == layer) {
            self.foreseen.learn_what_was_said(&self.said_foreseen, &self.chosen[..scored]);
        }
    }

    /// Features and estimates for the next visit of the layer.
    fn describe(&mut self, layer: usize, experts_per_token: f32) {
        let floor = 0.1 * self.usage.uniform();
        let (lanes, experts) = (self.lanes(layer), self.grid.pages(layer));
        let estimates = self.estimates[experts].chunks_mut(LANES);
        let rows = self.usage.layer(layer).iter().zip(&self.shares);
        for (((usage, shares), kept), estimates) in rows.zip(&mut self.features[lanes]).zip(estimates) {
            let features = describe(&self.usage, layer, usage, shares, experts_per_token);
            let next = self.next.probabilities(&features);
            *kept = features;
            for ((estimate, next), long) in estimates.iter_mut().zip(next).zip(usage.shares[2]) {
                *estimate = Estimate { next, rate: long + floor };
            }
        }
    }

    /// The estimates of some experts of a layer, the first of them by its number; of experts that are not there anything.
    fn next_of(estimates: &[Estimate]) -> Lanes {
        std::array::from_fn(|lane| estimates.get(lane).map_or(0.5, |estimate| estimate.next))
    }
}

/// What is known of some experts of a layer.
#[inline]
fn describe(
    table: &UsageTable,
    layer: usize,
    usage: &Usage,
    like: &Lanes,
    experts_per_token: f32,
) -> [Lanes; FEATURES] {
    let floor = 0.1 * table.uniform();
    let ages = table.ages(layer, usage, NEVER);
    let now = lanes(&ages, |age| if age == 0.0 { 1.0 } else { 0.0 });
    let never = usage.last.map(|last| if last == 0 { 1.0 } else { 0.0 });
    let weights = lanes(&usage.weight, |weight| weight * experts_per_token); // 1 on average
    let above = lanes(&weights, |weight| weight - 1.0);
    let [short, middle, long] = &usage.shares;
    [
        [1.0; LANES],
        lanes(short, |share| ln(share + floor)),
        lanes(middle, |share| ln(share + floor)),
        lanes(long, |share| ln(share + floor)),
        now,
        lanes(&ages, |age| ln(1.0 + age)),
        std::array::from_fn(|lane| if now[lane] == 1.0 { above[lane] } else { 0.0 }),
        never,
        lanes(&weights, |weight| weight.min(2.0)),
        lanes(like, |share| ln(share + SHARE_FLOOR)),
        lanes(&table.frequencies(layer, usage), ln),
    ]
}

impl Regression<3, 4> {
    /// Compares what was said of the present token with what it chose.
    fn learn_what_was_said(&mut self, said: &[Said], chosen: &[bool]) {
        for (said, chosen) in said.iter().zip(chosen.chunks(LANES)) {
            self.learn(&said.features, &said.probabilities, chosen);
        }
        self.step();
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
        let shares = self.shares.as_flattened_mut();
        if !(decoding && self.history.shares(Of::Successor, layer, shares)) {
            shares.fill(self.usage.uniform());
        }
        self.describe(layer, self.usage.uniform() * self.grid.experts as f32);
        self.visited[layer] = true;
        self.present = Some(layer);
    }

    fn estimates(&self, layer: usize) -> &[Estimate] {
        &self.estimates[self.grid.pages(layer)]
    }

    fn ahead(&mut self, layer: usize, probabilities: &mut [f32]) -> bool {
        assert_eq!(probabilities.len(), self.grid.experts, "a probability for each expert of a layer");
        if self.present.is_none_or(|present| layer <= present)
            || !self.history.shares(Of::Like, layer, self.shares.as_flattened_mut())
        {
            return false;
        }
        let estimates = self.estimates[self.grid.pages(layer)].chunks(LANES);
        let rows = self.said_ahead.iter_mut().zip(&self.shares).zip(estimates);
        for (((said, shares), estimates), probabilities) in rows.zip(probabilities.chunks_mut(LANES)) {
            let next = Self::next_of(estimates);
            said.features = [[1.0; LANES], lanes(&next, logit), lanes(shares, |share| ln(share + SHARE_FLOOR))];
            said.probabilities = self.ahead.probabilities(&said.features);
            probabilities.copy_from_slice(&said.probabilities[..probabilities.len()]);
        }
        self.ahead_layer = Some(layer);
        true
    }

    fn foresee(&mut self, layer: usize, scores: &[f32], probabilities: &mut [f32]) -> bool {
        assert_eq!(probabilities.len(), self.grid.experts, "a probability for each expert of a layer");
        assert!(scores.len() <= self.grid.experts, "{} scores for {} experts", scores.len(), self.grid.experts);
        let learnt = self.ahead_layer == Some(layer);
        self.ranked.clear();
        self.ranked.extend(scores.iter().zip(0..).map(|(&score, expert)| ranking::key(score, expert)));
        self.ranked.sort_unstable();
        let of_rank = self.of_rank.as_flattened_mut();
        for (ranked, of) in self.ranked.iter().zip(&self.of_ranks) {
            of_rank[ranking::expert(*ranked) as usize] = *of;
        }
        probabilities.fill(0.0);
        let estimates = self.estimates[self.grid.pages(layer)].chunks(LANES);
        let rows = self.said_foreseen.iter_mut().zip(&self.said_ahead).zip(&self.of_rank).zip(estimates);
        for ((((said, ahead), of_rank), estimates), probabilities) in
            rows.zip(probabilities[..scores.len()].chunks_mut(LANES))
        {
            let without = if learnt { ahead.probabilities } else { Self::next_of(estimates) };
            said.features = [[1.0; LANES], *of_rank, lanes(&without, logit)];
            said.probabilities = self.foreseen.probabilities(&said.features);
            probabilities.copy_from_slice(&said.probabilities[..probabilities.len()]);
        }
        self.foreseen_layer = Some((layer, scores.len()));
        true
    }
}

/// The logarithm of the odds, of probabilities that are not certain.
#[inline]
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
        let [often, never] = [3, 9].map(|expert| predictor.estimates(0)[expert]);
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
            let estimate = predictor.estimates(0)[expert];
            assert!(estimate.tokens_to_use() >= 1.0 && estimate.tokens_to_use().is_finite(), "{estimate:?}");
        }
    }
}
