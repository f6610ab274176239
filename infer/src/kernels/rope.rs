//! Rotary position embedding.
//!
//! The angles follow ggml's recurrence in `f32` to the last rounding, and sine, cosine and logarithm come from the `libm`
//! crate, which computes the same bits on every platform.

use std::f32::consts::PI;

/// Which elements make a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Neighbours: elements `2 i` and `2 i + 1` (`norm` in ggml; llama).
    Norm,
    /// Element `i` of the first half of the rotated dimensions with element `i` of the second (`neox`; qwen, gemma).
    Neox,
}

/// What the angles depend on besides the position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeParams {
    /// Which elements make a pair.
    pub style: RopeStyle,
    /// Rotated dimensions of each head, even; the others stay as they are.
    pub dims: usize,
    /// The base of the frequencies.
    pub freq_base: f32,
    /// What the angles are multiplied by: one over the factor of linear or YaRN scaling.
    pub freq_scale: f32,
    /// YaRN: how much of the unscaled angle fast dimensions keep; zero is plain scaling.
    pub ext_factor: f32,
    /// YaRN: what the rotated vectors are multiplied by.
    pub attn_factor: f32,
    /// YaRN: rotations in the original context above which a dimension is fast.
    pub beta_fast: f32,
    /// YaRN: rotations below which it is slow.
    pub beta_slow: f32,
    /// YaRN: the context that the model was first trained with.
    pub original_context: usize,
}

impl RopeParams {
    /// Without scaling.
    pub const fn new(style: RopeStyle, dims: usize, freq_base: f32) -> Self {
        Self {
            style,
            dims,
            freq_base,
            freq_scale: 1.0,
            ext_factor: 0.0,
            attn_factor: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_context: 0,
        }
    }
}

/// The sines and cosines of some consecutive positions.
#[derive(Debug)]
pub struct RopeTable {
    params: RopeParams,
    /// From pair to pair the angle shrinks by this.
    step: f32,
    /// What the angle of each pair is divided by.
    factors: Box<[f32]>,
    /// How much of the unscaled angle each pair keeps.
    mix: Box<[f32]>,
    magnitude: f32,
    /// For each token the cosines of all pairs, then the sines.
    turns: Box<[f32]>,
}

impl RopeTable {
    /// Room for `max_tokens` positions at a time. `factors` divide the angles, one per pair (`rope_freqs.weight`).
    ///
    /// # Panics
    ///
    /// `params.dims` is odd or zero, or there are fewer factors than pairs.
    pub fn new(params: RopeParams, factors: Option<&[f32]>, max_tokens: usize) -> Self {
        let RopeParams { dims, freq_base, freq_scale, ext_factor, attn_factor, .. } = params;
        assert!(dims > 0 && dims.is_multiple_of(2), "{dims} rotated dimensions");
        let pairs = dims / 2;
        let factors = factors.map_or_else(|| vec![1.0; pairs], |factors| factors[..pairs].to_vec());
        let (mut mix, mut magnitude) = (vec![0.0; pairs], attn_factor);
        if ext_factor != 0.0 {
            let (low, high) = correction_range(&params);
            for (pair, mix) in mix.iter_mut().enumerate() {
                let ramp = (pair as f32 - low) / (high - low).max(0.001);
                *mix = (1.0 - ramp.clamp(0.0, 1.0)) * ext_factor;
            }
            magnitude *= 1.0 + 0.1 * libm::logf(1.0 / freq_scale);
        }
        Self {
            params,
            step: libm::powf(freq_base, -2.0 / dims as f32),
            factors: factors.into(),
            mix: mix.into(),
            magnitude,
            turns: vec![0.0; max_tokens * dims].into(),
        }
    }

    /// Rotated dimensions of each head.
    pub fn dims(&self) -> usize {
        self.params.dims
    }

    /// Computes the turns of `tokens` positions from `first` on.
    ///
    /// # Panics
    ///
    /// There is no room for as many tokens.
    pub fn set_positions(&mut self, first: usize, tokens: usize) {
        let pairs = self.factors.len();
        let RopeParams { freq_scale, ext_factor, .. } = self.params;
        for (token, turns) in self.turns[..tokens * 2 * pairs].chunks_exact_mut(2 * pairs).enumerate() {
            let mut angle = (first + token) as f32;
            let (cosines, sines) = turns.split_at_mut(pairs);
            for (pair, (cos, sin)) in cosines.iter_mut().zip(sines).enumerate() {
                let (factor, mix) = (self.factors[pair], self.mix[pair]);
                let unscaled = angle / factor;
                let scaled = freq_scale * unscaled;
                let theta = if ext_factor == 0.0 { scaled } else { scaled * (1.0 - mix) + unscaled * mix };
                (*cos, *sin) = (libm::cosf(theta) * self.magnitude, libm::sinf(theta) * self.magnitude);
                angle *= self.step;
            }
        }
    }

    /// Rotates the heads `x` of token `token` (counted from the first of [`RopeTable::set_positions`]), each `head_dim`
    /// long.
    ///
    /// # Panics
    ///
    /// `x` is not whole heads, or a head is shorter than the rotated dimensions, or there was no room for the token.
    #[inline(always)] // Into functions that are compiled for a level.
    pub fn apply(&self, token: usize, x: &mut [f32], head_dim: usize) {
        let (dims, pairs) = (self.params.dims, self.factors.len());
        assert!(dims <= head_dim && x.len().is_multiple_of(head_dim), "{} elements in heads of {head_dim}", x.len());
        let (cosines, sines) = self.turns[token * 2 * pairs..][..2 * pairs].split_at(pairs);
        for head in x.chunks_exact_mut(head_dim) {
            match self.params.style {
                RopeStyle::Norm => {
                    for ([a, b], (cos, sin)) in head.as_chunks_mut().0.iter_mut().zip(cosines.iter().zip(sines)) {
                        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                    }
                }
                RopeStyle::Neox => {
                    let (first, second) = head[..dims].split_at_mut(pairs);
                    for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(cosines.iter().zip(sines)) {
                        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                    }
                }
            }
        }
    }
}

/// YaRN: the pairs between which it goes from the unscaled angle to the scaled.
fn correction_range(params: &RopeParams) -> (f32, f32) {
    let pair = |rotations: f32| {
        let turns = libm::logf(params.original_context as f32 / (rotations * 2.0 * PI));
        params.dims as f32 * turns / (2.0 * libm::logf(params.freq_base))
    };
    (pair(params.beta_fast).floor().max(0.0), pair(params.beta_slow).ceil().min(params.dims as f32 - 1.0))
}
