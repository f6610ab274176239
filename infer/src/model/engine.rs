//! The forward pass.

use forebay_pager::{Clock, Nanos, Storage};
use forebay_prefetch::{Pass, PassExperts, SchedulerError, StepId};

pub use super::error::EngineError;

use super::decoder::{Decoder, Mixer, Shape};
use super::rope::rope_table;
use super::routes::Routes;
use super::scratch::{Scratch, kv_shapes};
use super::states::States;
use super::vectors::Vectors;
use super::weights::{Compute, Weights};
use super::{MatrixId, ModelMap, VectorId};
use crate::kernels::steps::{self, Residual};
use crate::kernels::{Formats, KvCache, KvShape, KvType, RopeTable, ops};

/// A chunk of tokens has gone through the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tokens that are done, of all those given.
    pub done: usize,
    /// What was counted of experts for this chunk.
    pub experts: PassExperts,
}

/// A decoder, its weights behind a window, and the state of one conversation.
#[derive(Debug)]
pub struct Engine<S: Storage, C: Clock> {
    pub(super) decoder: Decoder,
    /// For each matrix, the form of activations that it wants.
    formats: Vec<Formats>,
    pub(super) weights: Weights<S, C>,
    pub(super) vectors: Vectors,
    pub(super) compute: Compute,
    pub(super) ropes: Vec<RopeTable>,
    pub(super) cache: KvCache,
    pub(super) states: States,
    pub(super) scratch: Scratch,
    pub(super) routes: Routes,
    pub(super) logits: Vec<f32>,
    /// The position that the logits come after; `None` where there are none, or not all.
    pub(super) logits_at: Option<usize>,
    /// How the KV cache keeps keys and values.
    pub(super) kv: KvType,
    context: usize,
    chunk: usize,
    pub(super) position: usize,
}

impl<S: Storage, C: Clock> Engine<S, C> {
    /// An engine with an empty context of `context` positions, kept as `kv`, which takes `chunk` tokens at a time through the layers.
    pub fn new(
        map: &ModelMap,
        weights: Weights<S, C>,
        mut vectors: Vectors,
        compute: Compute,
        kv: KvType,
        context: usize,
        chunk: usize,
    ) -> Self {
        let decoder = map.decoder.clone();
        let shape = decoder.shape;
        for layer in &decoder.layers {
            if let Mixer::DeltaNet(delta) = &layer.mixer {
                vectors.transpose(delta.taps, delta.shape.taps);
            }
        }
        let ropes = decoder.ropes.iter().map(|rope| rope_table(rope, &vectors, chunk)).collect();
        Engine {
            formats: map.matrices.iter().map(|m| Formats::of(m.ty)).collect(),
            ropes,
            cache: KvCache::new(kv_shapes(&decoder, kv, context, chunk)),
            states: States::new(&decoder),
            scratch: Scratch::new(map, &compute, context, chunk),
            routes: Routes::new(map),
            logits: vec![0.0; shape.vocab],
            logits_at: None,
            decoder,
            weights,
            vectors,
            compute,
            kv,
            context,
            chunk,
            position: 0,
        }
    }

    /// Sizes of the model.
    pub fn shape(&self) -> &Shape {
        &self.decoder.shape
    }

    /// Positions that are in the context.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Positions that the context has.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Bytes of keys and values that the token at `position` sees.
    pub fn kv_bytes_at(&self, position: usize) -> u64 {
        let seen = |shape: KvShape| KvShape { positions: shape.positions.min(position + 1), ..shape };
        (0..self.decoder.layers.len()).map(|layer| seen(self.cache.shape(layer)).bytes() as u64).sum()
    }

    /// Forgets the conversation.
    pub fn clear(&mut self) {
        self.states.clear();
        self.position = 0;
        self.logits_at = None;
    }

    /// The logits of the last pass, which a sampler may change.
    pub fn logits_mut(&mut self) -> &mut [f32] {
        &mut self.logits
    }

    /// The time on the clock that the weights are read by.
    pub fn now(&self) -> Nanos {
        self.weights.scheduler().pager().clock().now()
    }

    /// The weights, for statistics.
    pub fn weights(&self) -> &Weights<S, C> {
        &self.weights
    }

    /// The weights, to reset their statistics.
    pub fn weights_mut(&mut self) -> &mut Weights<S, C> {
        &mut self.weights
    }

    /// Adds `tokens` to the context and returns the logits after the last of them, one per token of the vocabulary.
    /// `progress` is told after each chunk.
    ///
    /// # Errors
    /// When a token is not in the vocabulary, the context is full (nothing is added then), or the weights cannot be
    /// read (the context is then as it was before the failed chunk).
    ///
    /// # Panics
    /// When there are no tokens.
    pub fn forward(&mut self, tokens: &[u32], mut progress: impl FnMut(Progress)) -> Result<&[f32], EngineError> {
        assert!(!tokens.is_empty(), "logits come after a token");
        let vocab = self.decoder.shape.vocab;
        if let Some(&token) = tokens.iter().find(|&&t| t as usize >= vocab) {
            return Err(EngineError::Token { token, vocab });
        }
        let (context, position) = (self.context(), self.position);
        if tokens.len() > context - position {
            return Err(EngineError::ContextFull { context, position, tokens: tokens.len() });
        }
        let mut done = 0;
        for chunk in tokens.chunks(self.chunk) {
            done += chunk.len();
            self.pass(chunk, done == tokens.len())?;
            progress(Progress { done, experts: self.weights.scheduler().pass_experts() });
        }
        Ok(&self.logits)
    }

    /// One pass through the layers.
    fn pass(&mut self, tokens: &[u32], with_logits: bool) -> Result<(), EngineError> {
        let dim = self.decoder.shape.dim;
        let n = tokens.len();
        self.weights.begin_pass(if with_logits { Pass::Full } else { Pass::WithoutTail }, n, self.position);
        self.weights.embed(tokens, &mut self.scratch.x[..n * dim])?;
        if self.decoder.embedding_scale != 1.0 {
            ops::scale(&mut self.scratch.x[..n * dim], self.decoder.embedding_scale);
        }
        for table in &mut self.ropes {
            table.set_positions(self.position, n);
        }
        let mut steps = Steps(0);
        for layer in 0..self.decoder.layers.len() {
            self.mixer(layer, n, &mut steps)?;
            self.channel(layer, n, &mut steps)?;
        }
        if with_logits {
            self.head(n, &mut steps)?;
        }
        self.states.commit();
        self.position += n;
        Ok(())
    }

    /// logits = head(norm(x)) of the last token.
    fn head(&mut self, n: usize, steps: &mut Steps) -> Result<(), EngineError> {
        let Shape { dim, vocab, eps, .. } = self.decoder.shape;
        let Self { scratch, vectors, compute, .. } = self;
        let (x, h) = (&scratch.x[(n - 1) * dim..n * dim], &mut scratch.h[..dim]);
        steps::norm(&compute.pool, compute.isa, x, &vectors[self.decoder.final_norm], eps, h);
        self.logits_at = None;
        self.multiply(steps.next(), &[self.decoder.head.weight], Source::H, 1, Target::Logits, vocab)?;
        if let Some(bias) = vector(&self.vectors, self.decoder.head.bias) {
            ops::add(&mut self.logits, bias);
        }
        if self.decoder.logit_scale != 1.0 {
            ops::scale(&mut self.logits, self.decoder.logit_scale);
        }
        if let Some(cap) = self.decoder.logit_softcap {
            ops::softcap(&mut self.logits, cap);
        }
        self.logits_at = Some(self.position + n);
        Ok(())
    }

    /// h = norm(x).
    pub(super) fn norm_x(&mut self, norm: VectorId, n: usize) {
        let Shape { dim, eps, .. } = self.decoder.shape;
        let Self { scratch, vectors, compute, .. } = self;
        let (x, h) = (&scratch.x[..n * dim], &mut scratch.h[..n * dim]);
        steps::norm(&compute.pool, compute.isa, x, &vectors[norm], eps, h);
    }

    /// x += scale * norm(h + bias).
    pub(super) fn add_h(&mut self, bias: Option<VectorId>, norm: Option<VectorId>, n: usize) {
        let Shape { dim, eps, .. } = self.decoder.shape;
        let scale = self.decoder.residual_scale;
        let Self { scratch, vectors, compute, .. } = self;
        let (x, h) = (&mut scratch.x[..n * dim], &mut scratch.h[..n * dim]);
        let (mut bias, mut norm) = (vector(vectors, bias), vector(vectors, norm).map(|weight| (weight, eps)));
        if scale != 1.0 {
            for row in h.chunks_exact_mut(dim) {
                bias.inspect(|bias| ops::add(row, bias));
                norm.inspect(|(weight, eps)| ops::rms_norm_in_place(row, weight, *eps));
                ops::scale(row, scale);
            }
            (bias, norm) = (None, None);
        }
        Residual { bias, norm, row: dim }.add(&compute.pool, compute.isa, x, h);
    }

    /// The forms of activations that some matrices with a common input want.
    pub(super) fn formats(&self, matrices: &[MatrixId]) -> Formats {
        matrices.iter().fold(Formats::NONE, |all, id| all | self.formats[id.0 as usize])
    }

    /// Takes an input in the forms that are asked for.
    pub(super) fn prepare(&mut self, source: Source, n: usize, formats: Formats) {
        let Scratch { h, inner, gathered, activations, .. } = &mut self.scratch;
        let dim = self.decoder.shape.dim;
        let (input, cols) = match source {
            Source::H => (&h[..], dim),
            Source::Gathered => (&gathered[..], dim),
            Source::Inner(cols) => (&inner[..], cols),
        };
        activations.prepare(&self.compute.pool, self.compute.isa, &input[..n * cols], cols, formats);
    }

    /// target = W source, for all matrices of a step.
    pub(super) fn multiply(
        &mut self,
        step: StepId,
        matrices: &[MatrixId],
        source: Source,
        n: usize,
        target: Target,
        stride: usize,
    ) -> Result<(), SchedulerError> {
        self.prepare(source, n, self.formats(matrices));
        self.multiply_prepared(step, n, target, stride)
    }

    /// target = W input, for all matrices of a step, with the input that was prepared.
    pub(super) fn multiply_prepared(
        &mut self,
        step: StepId,
        n: usize,
        target: Target,
        stride: usize,
    ) -> Result<(), SchedulerError> {
        let Scratch { h, wide, inner, summands, activations, panels, .. } = &mut self.scratch;
        let out = match target {
            Target::H => &mut h[..n * stride],
            Target::Wide => &mut wide[..n * stride],
            Target::Inner => &mut inner[..n * stride],
            Target::Summands(first) => &mut summands[first..n * stride],
            Target::Logits => &mut self.logits[..],
        };
        self.weights.multiply(step, &self.compute, activations, panels, out, stride)
    }
}

/// The steps of the plan, in the order in which the pass comes to them.
pub(super) struct Steps(u32);

impl Steps {
    pub(super) fn next(&mut self) -> StepId {
        self.0 += 1;
        StepId(self.0 - 1)
    }

    /// The step that comes after `others`.
    pub(super) fn after(&self, others: u32) -> StepId {
        StepId(self.0 + others)
    }
}

/// The input of a step.
#[derive(Clone, Copy)]
pub(super) enum Source {
    H,
    /// Tokens that were gathered for an expert.
    Gathered,
    /// As many elements per token.
    Inner(usize),
}

/// Where the outputs of a step go.
#[derive(Clone, Copy)]
pub(super) enum Target {
    H,
    Wide,
    Inner,
    /// To the summand that begins so many elements behind a token's first.
    Summands(usize),
    Logits,
}

pub(super) fn vector(vectors: &Vectors, id: Option<VectorId>) -> Option<&[f32]> {
    id.map(|id| &vectors[id])
}
