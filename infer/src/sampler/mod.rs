//! Choosing the next token from the logits.
//!
//! The steps, in llama.cpp's default order, each of which can be switched off:
//!
//! 1. logit bias;
//! 2. penalties for tokens among the last [`SamplerParams::last_n`];
//! 3. top-k: the k highest;
//! 4. top-p: the fewest whose probabilities sum up to p;
//! 5. min-p: those at least p times as probable as the most probable;
//! 6. temperature, and a draw. Temperature 0 takes the highest logit instead, and of equals the lowest id.
//!
//! Probabilities in steps 4 and 5 are those at temperature 1. Equal logits are ordered by id, and the exponential is
//! computed in software, so a seed gives the same tokens for the same logits on every machine and in every release
//! (the generator is xoshiro256++, seeded by SplitMix64; a test pins its numbers). No call after [`Sampler::new`] allocates.

mod params;

#[cfg(test)]
mod tests;

pub use self::params::{SamplerError, SamplerParams};

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{RngCore as _, SeedableRng as _};

/// A number from 0 up to, but not including, 1, of 53 random bits.
fn unit(rng: &mut Xoshiro256PlusPlus) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A token that may be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    logit: f32,
    id: u32,
}

impl Candidate {
    /// The higher logit first, and of equals the lower id.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.logit.total_cmp(&self.logit).then(self.id.cmp(&other.id))
    }
}

/// Chooses tokens, and remembers the last ones for the penalties.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: SamplerParams,
    vocab: usize,
    candidates: Vec<Candidate>,
    last: Last,
    rng: Xoshiro256PlusPlus,
}

impl Sampler {
    /// A sampler for `vocab` logits. The parameters are checked here.
    pub fn new(params: SamplerParams, vocab: usize) -> Result<Self, SamplerError> {
        params.check(vocab)?;
        let room = if params.temperature > 0.0 { vocab } else { 0 };
        let last_n = if params.penalizes() { params.last_n } else { 0 };
        let rng = Xoshiro256PlusPlus::seed_from_u64(params.seed);
        Ok(Self { params, vocab, candidates: Vec::with_capacity(room), last: Last::new(last_n), rng })
    }

    /// The parameters.
    pub fn params(&self) -> &SamplerParams {
        &self.params
    }

    /// Bytes of memory that the sampler holds.
    pub fn memory(&self) -> usize {
        self.candidates.capacity() * size_of::<Candidate>() + self.last.memory()
    }

    /// Counts `token` among the last ones. To be called for every token, of the prompt too.
    pub fn accept(&mut self, token: u32) {
        self.last.push(token);
    }

    /// Forgets the last tokens; the draws go on.
    pub fn forget(&mut self) {
        self.last.clear();
    }

    /// Forgets the last tokens, and starts the draws over.
    pub fn reset(&mut self) {
        self.last.clear();
        self.rng = Xoshiro256PlusPlus::seed_from_u64(self.params.seed);
    }

    /// The next token. The logits are changed by bias and penalties.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<u32, SamplerError> {
        if logits.len() != self.vocab {
            return Err(SamplerError::Length { found: logits.len(), expected: self.vocab });
        }
        for &(token, bias) in &self.params.logit_bias {
            logits[token as usize] += bias;
        }
        self.penalize(logits);
        let best = best(logits)?;
        if self.params.temperature == 0.0 {
            return Ok(best.id);
        }
        self.candidates.clear();
        self.candidates.extend((0..).zip(logits.iter()).map(|(id, &logit)| Candidate { logit, id }));
        let sorted = self.top_k();
        self.top_p(sorted, best.logit);
        self.min_p(best.logit);
        Ok(self.draw(best))
    }

    fn penalize(&self, logits: &mut [f32]) {
        let SamplerParams { repeat_penalty, frequency_penalty, presence_penalty, .. } = self.params;
        for &(token, count) in &self.last.counts {
            // Tokens that are not in the vocabulary cannot come up, so they need no penalty.
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            // Dividing a negative logit would make the token more likely.
            if *logit <= 0.0 {
                *logit *= repeat_penalty
            } else {
                *logit /= repeat_penalty
            }
            *logit -= count as f32 * frequency_penalty + presence_penalty;
        }
    }

    /// Whether the candidates are in order now.
    fn top_k(&mut self) -> bool {
        let k = self.params.top_k;
        if k == 0 || k >= self.candidates.len() {
            return false;
        }
        self.candidates.select_nth_unstable_by(k - 1, Candidate::order);
        self.candidates.truncate(k);
        self.candidates.sort_unstable_by(Candidate::order);
        true
    }

    fn top_p(&mut self, sorted: bool, highest: f32) {
        let p = f64::from(self.params.top_p);
        if p >= 1.0 {
            return;
        }
        let weight = |c: &Candidate| f64::from(libm::expf(c.logit - highest));
        let enough = p * self.candidates.iter().map(weight).sum::<f64>();
        let mut sum = 0.0;
        let (mut at, mut in_order) = (0, if sorted { self.candidates.len() } else { 0 });
        while at < self.candidates.len() {
            if at == in_order {
                // The next portion; mostly the first is all that is needed.
                let portion = (8 * at).max(256).min(self.candidates.len() - at);
                let rest = &mut self.candidates[at..];
                if portion < rest.len() {
                    rest.select_nth_unstable_by(portion - 1, Candidate::order);
                }
                rest[..portion].sort_unstable_by(Candidate::order);
                in_order = at + portion;
            }
            sum += weight(&self.candidates[at]);
            at += 1;
            if sum >= enough {
                break;
            }
        }
        self.candidates.truncate(at);
    }

    fn min_p(&mut self, highest: f32) {
        if self.params.min_p > 0.0 {
            let least = highest + libm::logf(self.params.min_p);
            self.candidates.retain(|c| c.logit >= least);
        }
    }

    /// Draws from what is left. `best` is left always.
    fn draw(&mut self, best: Candidate) -> u32 {
        let temperature = self.params.temperature;
        let weight = |c: &Candidate| f64::from(libm::expf((c.logit - best.logit) / temperature));
        let total: f64 = self.candidates.iter().map(weight).sum();
        let mut left = unit(&mut self.rng) * total;
        let mut chosen = best.id;
        for candidate in &self.candidates {
            let weight = weight(candidate);
            if weight > 0.0 {
                chosen = candidate.id;
                left -= weight;
                if left < 0.0 {
                    break;
                }
            }
        }
        chosen
    }
}

/// The highest logit, the first of equals.
fn best(logits: &[f32]) -> Result<Candidate, SamplerError> {
    let mut best = Candidate { logit: f32::NEG_INFINITY, id: 0 };
    let mut found = false;
    for (id, &logit) in (0..).zip(logits) {
        if logit.is_nan() || logit == f32::INFINITY {
            return Err(SamplerError::NotANumber { token: id, logit });
        }
        if logit > best.logit {
            best = Candidate { logit, id };
            found = true;
        }
    }
    if found { Ok(best) } else { Err(SamplerError::NothingLeft) }
}

/// The last tokens, and how often each is among them.
#[derive(Debug, Clone)]
struct Last {
    ring: Vec<u32>,
    /// The oldest token, once the ring is full.
    oldest: usize,
    room: usize,
    /// Tokens ascending, each with its count.
    counts: Vec<(u32, u32)>,
}

impl Last {
    fn new(room: usize) -> Self {
        Self { ring: Vec::with_capacity(room), oldest: 0, room, counts: Vec::with_capacity(room) }
    }

    fn push(&mut self, token: u32) {
        if self.room == 0 {
            return;
        }
        if self.ring.len() < self.room {
            self.ring.push(token);
        } else {
            let gone = std::mem::replace(&mut self.ring[self.oldest], token);
            self.oldest = (self.oldest + 1) % self.room;
            if let Ok(at) = self.counts.binary_search_by_key(&gone, |&(token, _)| token) {
                self.counts[at].1 -= 1;
                if self.counts[at].1 == 0 {
                    self.counts.remove(at);
                }
            }
        }
        match self.counts.binary_search_by_key(&token, |&(token, _)| token) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (token, 1)),
        }
    }

    fn clear(&mut self) {
        self.ring.clear();
        self.counts.clear();
        self.oldest = 0;
    }

    fn memory(&self) -> usize {
        self.ring.capacity() * size_of::<u32>() + self.counts.capacity() * size_of::<(u32, u32)>()
    }
}
