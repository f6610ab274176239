//! Which experts a synthesised model chooses, and how that compares with what real models choose.
//!
//! Real routing is skewed (some experts are wanted much more than others) and repeats itself (a token wants some of the experts
//! that the token before wanted). Both are a matter of how the outputs of a router vary: a share of the variance is the same for
//! all tokens, a share is the phrase's, the rest the token's own. [`SHARES`] is fitted to a recorded run of Qwen3-30B-A3B (128
//! tokens, 48 layers, 6 of 128 experts chosen; the trace is of BigMoeOnEdge); its figures are in [`REFERENCE`].

use rand_xoshiro::Xoshiro256PlusPlus;

use super::blocks::normal;
use super::blueprint::Routing;
use super::hidden::{GROWTH, Parts, random};
use crate::kernels::Isa;
use crate::kernels::experts::{Groups, Rule, Scoring};

/// Of the variance of a router's outputs, what is the same for all tokens, and what is the phrase's.
pub const SHARES: [f64; 2] = [0.55, 0.2];
/// The standard deviation of a router's outputs.
pub const TEMPERATURE: f64 = 2.0;
/// Tokens that are looked at, as many as the recorded run has.
const TOKENS: usize = 128;

/// How choices are spread over experts and tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Of a token's experts, how many the token before chose as well.
    pub before: f64,
    /// The same for a token 16 before.
    pub long_before: f64,
    /// Of all choices, how many fall on the eighth of the experts that is chosen most.
    pub top_eighth: f64,
    /// Of the experts, how many are chosen at all.
    pub touched: f64,
}

/// The recorded run that [`SHARES`] is fitted to: the mean over its layers.
pub const REFERENCE: Spread = Spread { before: 0.380, long_before: 0.283, top_eighth: 0.643, touched: 0.498 };

/// A layer's routing, as drawn.
#[derive(Debug, Clone, Copy)]
pub struct Drawn {
    /// The layer.
    pub layer: u64,
    /// How its choices are spread.
    pub spread: Spread,
    /// Of a token's experts, how many the router names when it is asked a layer early.
    pub foreseen: f64,
}

impl Spread {
    /// Of the choices that tokens made one after the other, among `experts`.
    pub fn of(choices: &[Vec<u32>], experts: usize) -> Self {
        let mut counts = vec![0u32; experts];
        choices.iter().flatten().for_each(|&expert| counts[expert as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let all = counts.iter().sum::<u32>().max(1);
        let top: u32 = counts.iter().take(experts.div_ceil(8)).sum();
        Spread {
            before: shared(choices, choices.get(1..).unwrap_or_default()),
            long_before: shared(choices, choices.get(16..).unwrap_or_default()),
            top_eighth: f64::from(top) / f64::from(all),
            touched: counts.iter().filter(|count| **count > 0).count() as f64 / experts as f64,
        }
    }
}

/// Of the experts in `b`, how many are in `a` at the same place.
fn shared(a: &[Vec<u32>], b: &[Vec<u32>]) -> f64 {
    let pairs = || a.iter().zip(b);
    let both: usize = pairs().map(|(a, b)| b.iter().filter(|expert| a.contains(expert)).count()).sum();
    both as f64 / pairs().map(|(_, b)| b.len()).sum::<usize>().max(1) as f64
}

/// Row by row, the router of a layer.
pub(super) struct Rows {
    random: Xoshiro256PlusPlus,
    gains: [f32; 3],
    parts: Parts,
}

impl Rows {
    pub(super) fn new(parts: Parts, seed: u64, layer: u64) -> Self {
        Rows { random: random(seed, "router", layer), gains: parts.gains(layer, SHARES, TEMPERATURE), parts }
    }

    /// The next row.
    pub(super) fn next(&mut self, out: &mut [f32]) {
        for (part, gain) in self.parts.ranges().into_iter().zip(self.gains) {
            out[part].iter_mut().for_each(|x| *x = gain * normal(&mut self.random));
        }
    }
}

/// What the router of `layer` chooses for tokens that come one after the other. What layers before it have added to a token is
/// drawn, not computed.
pub fn draw(routing: &Routing, parts: Parts, dim: usize, seed: u64, layer: u64) -> Drawn {
    let experts = routing.experts as usize;
    let mut rows = Rows::new(parts, seed, layer);
    let mut router = vec![0.0; experts * dim];
    router.chunks_exact_mut(dim).for_each(|row| rows.next(row));
    let mut random = random(seed, "added", layer);
    let mut add = |x: &mut [f32], variance: f64| {
        let size = variance.sqrt() as f32;
        x.iter_mut().for_each(|x| *x += size * normal(&mut random));
    };
    let (mut state, mut choices, mut early) = (vec![0.0; dim], Vec::new(), Vec::new());
    for token in 0..TOKENS as u64 {
        parts.embed(token, &mut state);
        add(&mut state, GROWTH * layer.saturating_sub(1) as f64);
        early.push(choose(routing, &router, &state));
        add(&mut state, if layer > 0 { GROWTH } else { 0.0 });
        choices.push(choose(routing, &router, &state));
    }
    Drawn { layer, spread: Spread::of(&choices, experts), foreseen: shared(&early, &choices) }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum()
}

fn choose(routing: &Routing, router: &[f32], state: &[f32]) -> Vec<u32> {
    let size = (dot(state, state) / state.len() as f32).sqrt();
    let mut outputs: Vec<f32> = router.chunks_exact(state.len()).map(|row| dot(row, state) / size).collect();
    let groups =
        routing.groups.map(|[count, chosen]| Groups { count: count as usize, chosen: chosen as usize, best: 2 });
    let scoring = if groups.is_some() { Scoring::Sigmoid } else { Scoring::Softmax };
    let rule = Rule { scoring, bias: None, correction: None, groups, normalise: true, scale: 1.0 };
    let (mut scratch, chosen) = (vec![0.0; outputs.len()], routing.chosen as usize);
    let (mut experts, mut weights) = (vec![0; chosen], vec![0.0; chosen]);
    rule.choose(Isa::detect(), &mut outputs, &mut scratch, &mut experts, &mut weights);
    experts
}
