//! Mixtures of experts: who is chosen with which weight, and the sum of what they give.
//!
//! The choice has a stated order, by score and then by number, and so has the sum: neither depends on the order in which
//! experts are computed.

use super::level::with_level;
use super::shared::each_chunk;
use super::simd::{Simd, Work};
use super::{Isa, Pool, math, ops};

/// How the router's outputs become scores, of which the greatest are chosen, and weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scoring {
    /// The softmax over all experts.
    Softmax,
    /// Scores are the outputs; weights are the softmax over the chosen ones.
    SoftmaxOfChosen,
    /// The sigmoid of each.
    Sigmoid,
}

/// A choice in two stages: groups of consecutive experts, then experts of the chosen groups. A group's score is the sum of
/// its greatest, one or two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Number of groups.
    pub count: usize,
    /// How many are chosen.
    pub chosen: usize,
    /// How many of its experts' scores make that of a group: 1 (DeepSeek-V2) or 2 (V3).
    pub best: usize,
}

/// Weights are not divided by sums smaller than this, the smallest normal number of half precision, as in llama.cpp.
const SMALLEST_SUM: f32 = 6.103_515_6e-5;

/// How a router's outputs become a choice: see [`crate::model::decoder::Router`].
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    /// How outputs become scores.
    pub scoring: Scoring,
    /// Added to the outputs first.
    pub bias: Option<&'a [f32]>,
    /// Added to the scores for the choice alone.
    pub correction: Option<&'a [f32]>,
    /// The groups, where there are some.
    pub groups: Option<Groups>,
    /// Whether weights are divided by their sum.
    pub normalise: bool,
    /// What they are multiplied with then.
    pub scale: f32,
}

impl Rule<'_> {
    /// Chooses for one token: as many experts as `chosen` has elements, the greatest score first, of equals the lower number;
    /// and the weight of each. A score that is no number counts as the least.
    ///
    /// `outputs` are the router's, and become the scores; `scratch` is as long, and gets what the choice goes by: the scores with
    /// the correction, the least there is where a group is ruled out.
    ///
    /// # Panics
    ///
    /// More are to be chosen than there are, lengths do not fit, or groups do not divide the experts.
    pub fn choose(&self, isa: Isa, outputs: &mut [f32], scratch: &mut [f32], chosen: &mut [u32], weights: &mut [f32]) {
        assert!(
            chosen.len() <= outputs.len() && chosen.len() == weights.len(),
            "{} of {}",
            chosen.len(),
            outputs.len()
        );
        if let Some(bias) = self.bias {
            ops::add(outputs, bias);
        }
        score(isa, self.scoring, outputs);
        let scratch = &mut scratch[..outputs.len()];
        scratch.copy_from_slice(outputs);
        if let Some(correction) = self.correction {
            ops::add(scratch, correction);
        }
        if let Some(groups) = self.groups {
            groups.rule_out(scratch);
        }
        greatest(scratch, chosen);
        for (weight, &expert) in weights.iter_mut().zip(&*chosen) {
            *weight = outputs[expert as usize];
        }
        if self.scoring == Scoring::SoftmaxOfChosen {
            ops::softmax(weights);
        }
        if self.normalise {
            let sum = weights.iter().fold(0.0, |sum, weight| sum + weight).max(SMALLEST_SUM);
            weights.iter_mut().for_each(|weight| *weight /= sum);
        }
        if self.scale != 1.0 {
            ops::scale(weights, self.scale);
        }
    }
}

fn score(isa: Isa, scoring: Scoring, outputs: &mut [f32]) {
    struct Score<'a>(Scoring, &'a mut [f32]);
    impl Work for Score<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            match self.0 {
                Scoring::Softmax => ops::softmax(self.1),
                Scoring::SoftmaxOfChosen => {}
                Scoring::Sigmoid => self.1.iter_mut().for_each(|x| *x = sigmoid(*x)),
            }
        }
    }
    with_level!(isa, level => level.run(Score(scoring, outputs)));
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + math::exp(-x))
}

/// For comparisons: what is no number is the least.
fn rank(score: f32) -> f32 {
    if score.is_nan() { f32::NEG_INFINITY } else { score }
}

/// The indexes of the greatest `chosen.len()` scores, the greatest first, of equals the lower index.
fn greatest(scores: &[f32], chosen: &mut [u32]) {
    let mut found = 0;
    for (i, &score) in scores.iter().enumerate() {
        let less = |other: u32| rank(scores[other as usize]) < rank(score);
        if found < chosen.len() {
            found += 1;
        } else if chosen.last().is_none_or(|&last| !less(last)) {
            continue;
        }
        let mut at = found - 1;
        while at > 0 && less(chosen[at - 1]) {
            chosen[at] = chosen[at - 1];
            at -= 1;
        }
        chosen[at] = i as u32;
    }
}

impl Groups {
    /// More groups than this are not provided for.
    pub const MOST: usize = 64;

    /// Makes the scores of all groups but the chosen ones the least that there is.
    fn rule_out(self, scores: &mut [f32]) {
        let Self { count, chosen, best } = self;
        assert!(count > 0 && scores.len().is_multiple_of(count), "{} experts in {count} groups", scores.len());
        assert!(
            count <= Self::MOST && chosen <= count,
            "{chosen} of {count} groups, of which there are at most {}",
            Self::MOST
        );
        let len = scores.len() / count;
        let mut of_groups = [0.0; Self::MOST];
        for (score, group) in of_groups.iter_mut().zip(scores.chunks_exact(len)) {
            let mut two = [0; 2];
            let best = &mut two[..len.min(best)];
            greatest(group, best);
            *score = best.iter().fold(0.0, |sum, &i| sum + group[i as usize]);
        }
        let mut kept = [0; Self::MOST];
        greatest(&of_groups[..count], &mut kept[..chosen]);
        for (i, group) in scores.chunks_exact_mut(len).enumerate() {
            if !kept[..chosen].contains(&(i as u32)) {
                group.fill(f32::NEG_INFINITY);
            }
        }
    }
}

/// For each token, the sum of its summands times their weights, the first summand first: each product is rounded, then each
/// sum. A token's summands follow one another, and so do their weights; `row` is the length of a summand.
///
/// # Panics
///
/// The lengths do not fit, or are not whole rows.
pub fn combine(pool: &Pool, isa: Isa, summands: &[f32], weights: &[f32], row: usize, out: &mut [f32]) {
    struct Combine<'a>(&'a [f32], &'a [f32], &'a mut [f32]);
    impl Work for Combine<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            let Self(summands, weights, out) = self;
            for (i, (summand, &weight)) in summands.chunks_exact(out.len()).zip(weights).enumerate() {
                for (out, x) in out.iter_mut().zip(summand) {
                    let term = weight * x;
                    *out = if i == 0 { term } else { *out + term };
                }
            }
        }
    }
    assert!(row > 0 && out.len().is_multiple_of(row) && summands.len() == weights.len() * row, "{} sums", out.len());
    let tokens = out.len() / row;
    assert!(tokens > 0 && weights.len().is_multiple_of(tokens), "{} weights for {tokens} tokens", weights.len());
    let each = weights.len() / tokens;
    each_chunk(pool, out, row, &|first, out| {
        let token = first / row;
        let work = Combine(&summands[token * each * row..][..each * row], &weights[token * each..][..each], out);
        with_level!(isa, level => level.run(work));
    });
}

/// The gate of gpt-oss: `g * sigmoid(alpha * g) * (u + 1)`, with `g` no more than a limit and `u` within it on both sides.
#[derive(Debug, Clone, Copy)]
pub struct ClampedGate<'a> {
    /// Steepness of the sigmoid.
    pub alpha: f32,
    /// The limit.
    pub limit: f32,
    /// Added to the gates first, and to the others.
    pub biases: [Option<&'a [f32]>; 2],
    /// Elements of a row of results.
    pub row: usize,
}

impl ClampedGate<'_> {
    /// Fills the rows of `out`; each row of `from` is a row of gates and then one of the others.
    ///
    /// # Panics
    ///
    /// The lengths do not fit, or are not whole rows.
    pub fn apply(&self, pool: &Pool, isa: Isa, from: &[f32], out: &mut [f32]) {
        struct Row<'a>(&'a ClampedGate<'a>, [&'a [f32]; 2], &'a mut [f32]);
        impl Work for Row<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Self(ClampedGate { alpha, limit, biases, .. }, [gates, ups], out) = self;
                for (i, (out, (g, u))) in out.iter_mut().zip(gates.iter().zip(ups)).enumerate() {
                    let [g, u] = [(g, biases[0]), (u, biases[1])].map(|(x, bias)| bias.map_or(*x, |bias| x + bias[i]));
                    // Comparisons that a NaN fails, so that it goes through.
                    let g = if g > *limit { *limit } else { g };
                    let u = if u > *limit { *limit } else { u };
                    let u = if u < -*limit { -*limit } else { u };
                    *out = g * sigmoid(alpha * g) * (u + 1.0);
                }
            }
        }
        let row = self.row;
        assert!(out.len().is_multiple_of(row) && from.len() == 2 * out.len(), "{} to {}", from.len(), out.len());
        each_chunk(pool, out, row, &|first, out| {
            let (gates, ups) = from[2 * first..][..2 * row].split_at(row);
            let work = Row(self, [gates, ups], out);
            with_level!(isa, level => level.run(work));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZero;

    use super::*;

    fn rule(scoring: Scoring) -> Rule<'static> {
        Rule { scoring, bias: None, correction: None, groups: None, normalise: false, scale: 1.0 }
    }

    fn choose(rule: Rule<'_>, outputs: &[f32], k: usize) -> (Vec<u32>, Vec<f32>) {
        let (mut chosen, mut weights) = (vec![0; k], vec![0.0; k]);
        rule.choose(Isa::detect(), &mut outputs.to_vec(), &mut vec![0.0; outputs.len()], &mut chosen, &mut weights);
        (chosen, weights)
    }

    fn close(a: &[f32], b: &[f64]) {
        assert!(
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6),
            "{a:?} and {b:?}"
        );
    }

    #[test]
    fn the_greatest_first_and_of_equals_the_lower_number() {
        let mut chosen = [9; 4];
        greatest(&[1.0, 3.0, 2.0, 3.0, f32::NAN, 2.0], &mut chosen);
        assert_eq!(chosen, [1, 3, 2, 5]);
        let mut all = [9; 3];
        greatest(&[f32::NAN, f32::NEG_INFINITY, f32::NAN], &mut all);
        assert_eq!(all, [0, 1, 2]);
        greatest(&[1.0], &mut []);
    }

    #[test]
    fn weights_by_each_scoring() {
        let outputs = [1.0f32, 3.0, 2.0, -1.0];
        let e = |x: f64| x.exp();
        let sum = e(1.0) + e(3.0) + e(2.0) + e(-1.0);
        let (chosen, weights) = choose(rule(Scoring::Softmax), &outputs, 2);
        assert_eq!(chosen, [1, 2]);
        close(&weights, &[e(3.0) / sum, e(2.0) / sum]);
        let two = e(3.0) + e(2.0);
        let normalised = Rule { normalise: true, ..rule(Scoring::Softmax) };
        close(&choose(normalised, &outputs, 2).1, &[e(3.0) / two, e(2.0) / two]);
        close(&choose(rule(Scoring::SoftmaxOfChosen), &outputs, 2).1, &[e(3.0) / two, e(2.0) / two]);
        let scaled = Rule { scale: 2.5, ..rule(Scoring::Sigmoid) };
        close(&choose(scaled, &outputs, 1).1, &[2.5 / (1.0 + e(-3.0))]);
        let biased = Rule { bias: Some(&[4.0, 0.0, 0.0, 0.0]), ..rule(Scoring::SoftmaxOfChosen) };
        let (chosen, weights) = choose(biased, &outputs, 1);
        assert_eq!((chosen, weights), (vec![0], vec![1.0]));
    }

    #[test]
    fn a_correction_changes_the_choice_and_not_the_weights() {
        let corrected = Rule { correction: Some(&[0.0, 0.0, 0.0, 1.0]), ..rule(Scoring::Sigmoid) };
        let (chosen, weights) = choose(corrected, &[1.0, 0.0, -1.0, 0.5], 2);
        assert_eq!(chosen, [3, 0]);
        close(&weights, &[1.0 / (1.0 + (-0.5f64).exp()), 1.0 / (1.0 + (-1.0f64).exp())]);
    }

    #[test]
    fn groups_by_their_greatest() {
        // The greatest of all is in a group whose second is small.
        let outputs = [9.0, -9.0, 5.0, 4.5, 1.0, 1.0];
        let groups = Groups { count: 3, chosen: 1, best: 2 };
        let grouped = Rule { groups: Some(groups), ..rule(Scoring::SoftmaxOfChosen) };
        assert_eq!(choose(grouped, &outputs, 2).0, [2, 3]);
        let two = Rule { groups: Some(Groups { chosen: 2, ..groups }), ..grouped };
        assert_eq!(choose(two, &outputs, 3).0, [2, 3, 4]);
        let by_one = Rule { groups: Some(Groups { best: 1, ..groups }), ..grouped };
        assert_eq!(choose(by_one, &outputs, 2).0, [0, 1]);
    }

    #[test]
    fn sums_are_in_the_order_of_the_weights_on_every_level() {
        let summands: Vec<f32> = (0..3 * 4 * 37).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let weights: Vec<f32> = (0..12).map(|i| 1.0 / (i as f32 + 1.5)).collect();
        let mut expected = vec![0.0; 3 * 37];
        for (i, out) in expected.iter_mut().enumerate() {
            let (token, column) = (i / 37, i % 37);
            let term = |slot: usize| weights[token * 4 + slot] * summands[(token * 4 + slot) * 37 + column];
            *out = ((term(0) + term(1)) + term(2)) + term(3);
        }
        let pool = Pool::new(NonZero::new(3).unwrap());
        for isa in [Isa::Portable, Isa::detect()] {
            let mut out = vec![7.0; 3 * 37];
            combine(&pool, isa, &summands, &weights, 37, &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn the_clamped_gate_is_what_it_says_on_every_level() {
        let from: Vec<f32> = (0..2 * 3 * 19).map(|i| (i as f32 * 0.7).sin() * 12.0).collect();
        let biases = [1.0f32, -2.0].map(|scale| (0..19).map(|i| scale * (i as f32 * 0.3).cos()).collect::<Vec<f32>>());
        let [gate_bias, up_bias] = [0, 1].map(|i| Some(&biases[i][..]));
        let gate = ClampedGate { alpha: 1.702, limit: 7.0, biases: [gate_bias, up_bias], row: 19 };
        let pool = Pool::new(NonZero::new(2).unwrap());
        let [portable, ours] = [Isa::Portable, Isa::detect()].map(|isa| {
            let mut out = vec![0.0; 3 * 19];
            gate.apply(&pool, isa, &from, &mut out);
            out
        });
        assert_eq!(portable, ours);
        for (i, out) in ours.iter().enumerate() {
            let (token, column) = (i / 19, i % 19);
            let g = f64::from(from[token * 38 + column] + biases[0][column]).min(7.0);
            let u = f64::from(from[token * 38 + 19 + column] + biases[1][column]).clamp(-7.0, 7.0);
            let exact = g / (1.0 + (-1.702 * g).exp()) * (u + 1.0);
            assert!((f64::from(*out) - exact).abs() < 1e-4, "{out} and {exact}");
        }
    }
}
