//! Made-up routing with the traits of real routing in chosen strength: skewed popularity, tokens that choose like the one before
//! them, recurring words, changes of topic.
#![allow(dead_code)] // Each user needs a part.

use forebay_prefetch::experts::ExpertGrid;
use forebay_prefetch::experts::trace::{Header, LayerBytes, Phase, Row, Trace, TraceBuilder};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};

/// What a run is like. An expert's score is the sum of the terms; the highest are chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) layers: usize,
    pub(crate) experts: usize,
    pub(crate) used: usize,
    pub(crate) prompt: u32,
    pub(crate) decode: u32,
    /// Spread of the popularity of experts.
    pub(crate) skew: f64,
    /// Spread of a term that goes on from token to token.
    pub(crate) drift: f64,
    /// How much of it a token takes over from the one before, 0 to 1.
    pub(crate) overlap: f64,
    /// Spread of a term that belongs to the word, and how many words there are (few are used often).
    pub(crate) word: f64,
    pub(crate) words: usize,
    /// Popularity is drawn anew after so many tokens; 0 for never.
    pub(crate) phase: u32,
    pub(crate) seed: u64,
}

const PLAIN: Recipe = Recipe {
    name: "skewed",
    layers: 12,
    experts: 64,
    used: 4,
    prompt: 30,
    decode: 150,
    skew: 1.0,
    drift: 0.7,
    overlap: 0.0,
    word: 0.0,
    words: 1,
    phase: 0,
    seed: 1,
};

/// From one extreme to the other.
pub(crate) const RECIPES: [Recipe; 6] = [
    PLAIN,
    Recipe { name: "sticky", skew: 0.2, drift: 1.0, overlap: 0.9, word: 0.3, words: 100, seed: 2, ..PLAIN },
    Recipe { name: "topics", skew: 0.5, drift: 0.8, overlap: 0.97, word: 0.6, words: 200, seed: 3, ..PLAIN },
    Recipe { name: "phases", overlap: 0.5, drift: 0.5, word: 0.4, words: 200, phase: 60, seed: 4, ..PLAIN },
    Recipe { name: "words", skew: 0.5, drift: 0.4, overlap: 0.8, word: 1.0, words: 60, seed: 6, ..PLAIN },
    Recipe {
        name: "few large",
        experts: 16,
        used: 2,
        drift: 0.8,
        overlap: 0.7,
        word: 0.5,
        words: 80,
        seed: 7,
        ..PLAIN
    },
];

struct Random(Xoshiro256PlusPlus);

impl Random {
    fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Near enough to a normal distribution, and the same on every machine: sums of uniforms need no logarithm.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// A run by `recipe`; always the same.
pub(crate) fn trace(recipe: &Recipe) -> Trace {
    let mut random = Random(Xoshiro256PlusPlus::seed_from_u64(recipe.seed));
    let grid = ExpertGrid { layers: recipe.layers, experts: recipe.experts };
    let mut draw = |spread: f64, n: usize| (0..n).map(|_| spread * random.normal()).collect::<Vec<_>>();
    let mut popularity = draw(recipe.skew, grid.len());
    let mut drift = draw(recipe.drift, grid.len());
    let word = draw(recipe.word, grid.len() * recipe.words);
    let mut tokens = Vec::new();
    for token in 0..recipe.prompt + recipe.decode {
        if recipe.phase > 0 && token > 0 && token % recipe.phase == 0 {
            popularity = (0..grid.len()).map(|_| recipe.skew * random.normal()).collect();
        }
        for value in &mut drift {
            let new = (1.0 - recipe.overlap * recipe.overlap).sqrt() * recipe.drift;
            *value = recipe.overlap * *value + new * random.normal();
        }
        let said = (random.uniform().powi(3) * recipe.words as f64) as usize * grid.len();
        let scores: Vec<f64> = (0..grid.len()).map(|i| popularity[i] + drift[i] + word[said + i]).collect();
        tokens.push(scores.chunks(recipe.experts).map(|layer| best(layer, recipe.used)).collect::<Vec<_>>());
    }
    build(recipe, &tokens)
}

/// The highest of `scores`, and weights that sum to 1.
fn best(scores: &[f64], used: usize) -> Vec<(u32, f32)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(used);
    let lowest = scores[order[used - 1]];
    let sum: f64 = order.iter().map(|&e| scores[e] - lowest + 1.0).sum();
    order.iter().map(|&e| (e as u32, ((scores[e] - lowest + 1.0) / sum) as f32)).collect()
}

fn build(recipe: &Recipe, tokens: &[Vec<Vec<(u32, f32)>>]) -> Trace {
    let header = header(recipe.layers, recipe.experts, recipe.used);
    let mut builder = TraceBuilder::new(header).unwrap();
    let mut push = |phase, token: u32, layer: usize| {
        for (slot, &(expert, weight)) in tokens[token as usize][layer].iter().enumerate() {
            let (layer, slot) = (layer as u32, slot as u32);
            let row = Row { turn: 0, phase, step: token, layer, slot, expert, weight, resident: false, read: 0 };
            builder.push(row).unwrap();
        }
    };
    for layer in 0..recipe.layers {
        (0..recipe.prompt).for_each(|token| push(Phase::Prompt, token, layer));
    }
    for token in recipe.prompt..recipe.prompt + recipe.decode {
        (0..recipe.layers).for_each(|layer| push(Phase::Decode, token, layer));
    }
    builder.finish().unwrap()
}

/// For experts of a mebibyte.
pub(crate) fn header(layers: usize, experts: usize, used: usize) -> Header {
    let bytes = LayerBytes { expert: 1 << 20, dense: 1 << 20 };
    let grid = ExpertGrid { layers, experts };
    Header { model: "made-up".into(), arch: "none".into(), grid, used, sizes: vec![Some(bytes); layers] }
}
