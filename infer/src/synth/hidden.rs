//! What tokens look like inside a synthesised model.
//!
//! The embedding of a token is the sum of three parts, each in elements of its own: what all tokens share, what the tokens of a
//! phrase share, and what is the token's own. The last matrix asks for the own part of the token before: so the model, always
//! taking the likeliest token, walks through its vocabulary in order, and goes from phrase to phrase as it does.
//!
//! What layers add is small and spread over all elements, as by chance; it grows with the depth.

use std::ops::Range;

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use super::blocks::normal;

/// Tokens of a phrase.
pub const PHRASE: u64 = 4;
/// Elements of what is common, and of what phrases have. Few, so that what layers add hardly touches them.
const COMMON: usize = 16;
const PHRASES: usize = 64;
/// Of the square of an embedding's length, how much is common, the phrase's, the token's own.
pub const SHARES: [f64; 3] = [0.1, 0.2, 0.7];
/// What a layer adds to the variance of an element; that of an embedding's is 1.
pub const GROWTH: f64 = 0.06;

/// How hidden states are divided.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    dim: usize,
    seed: u64,
}

/// A stream of numbers of its own for each thing that is drawn.
pub fn random(seed: u64, what: &str, number: u64) -> Xoshiro256PlusPlus {
    // FNV-1a, which spreads names well enough; the generator's seeding does the rest.
    let hash = |state: u64, byte: &u8| (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let bytes = what.as_bytes().iter().chain(&[0]).copied().chain(number.to_le_bytes()).chain(seed.to_le_bytes());
    Xoshiro256PlusPlus::seed_from_u64(bytes.fold(0xcbf2_9ce4_8422_2325, |state, byte| hash(state, &byte)))
}

impl Parts {
    /// Of hidden states of `dim` elements, more than a hundred.
    pub fn new(dim: usize, seed: u64) -> Self {
        assert!(dim > 2 * (COMMON + PHRASES), "{dim} elements are too few");
        Parts { dim, seed }
    }

    /// Where the parts lie: what is common, the phrase's, the token's own.
    pub fn ranges(&self) -> [Range<usize>; 3] {
        [0..COMMON, COMMON..COMMON + PHRASES, COMMON + PHRASES..self.dim]
    }

    /// The size of a part's elements in an embedding.
    fn size(&self, part: usize) -> f32 {
        (SHARES[part] * self.dim as f64 / self.ranges()[part].len() as f64).sqrt() as f32
    }

    /// The size that the elements of embeddings stay below, but for a few.
    pub fn largest(&self) -> f32 {
        2.5 * self.size(1).max(self.size(0)).max(self.size(2))
    }

    fn draw(&self, what: &str, number: u64, out: &mut [f32]) {
        let mut random = random(self.seed, what, number);
        out.iter_mut().for_each(|x| *x = normal(&mut random));
    }

    /// The embedding of a token, to `out`.
    pub fn embed(&self, token: u64, out: &mut [f32]) {
        let [common, phrase, own] = self.ranges();
        self.draw("common", 0, &mut out[common.clone()]);
        // All of the same size: the common part is to have its length, whatever is drawn.
        out[common].iter_mut().for_each(|x| *x = self.size(0) * x.signum());
        self.draw("phrase", token / PHRASE, &mut out[phrase.clone()]);
        out[phrase].iter_mut().for_each(|x| *x *= self.size(1));
        self.draw("own", token, &mut out[own.clone()]);
        out[own].iter_mut().for_each(|x| *x *= self.size(2));
    }

    /// What a token's logit is asked for by: the own part of the token before, of size 1.
    pub fn ask(&self, token: u64, vocab: u64, out: &mut [f32]) {
        let [.., own] = self.ranges();
        out[..own.start].fill(0.0);
        self.draw("own", (token + vocab - 1) % vocab, &mut out[own]);
    }

    /// What the elements of each part are multiplied with by a row of a router whose inputs have passed `layers` layers, so that
    /// `shares` of the variance of its outputs come from what is common and from the phrase, and the rest from all else. The
    /// variance is that of `temperature`, where the rows are drawn with variance 1.
    pub fn gains(&self, layers: u64, shares: [f64; 2], temperature: f64) -> [f32; 3] {
        let added = GROWTH * layers as f64;
        let of = self.ranges().map(|part| part.len() as f64 / self.dim as f64);
        let squares = [shares[0] / SHARES[0], shares[1] / SHARES[1]];
        let spent = added * (of[0] * squares[0] + of[1] * squares[1]);
        let own = (1.0 - shares[0] - shares[1] - spent).max(0.0) / (SHARES[2] + added * of[2]);
        // A normalised state is shorter by what was added.
        let scale = (1.0 + added) * temperature * temperature / self.dim as f64;
        [squares[0], squares[1], own].map(|square| (square * scale).sqrt() as f32)
    }
}
