//! The forward pass.

use forebay_pager::{Clock, Nanos, Storage};
use forebay_prefetch::{Pass, SchedulerError, StepId};

use super::decoder::{Attention, Decoder, FeedForward, Linear, Rope, RopeScaling, Shape};
use super::vectors::Vectors;
use super::weights::{Compute, Weights};
use super::{ModelMap, VectorId};
use crate::kernels::steps::{self, Gate, Heads, Residual};
use crate::kernels::{
    Activations, Formats, Isa, KvCache, KvShape, KvType, Panels, RopeParams, RopeTable, attention, ops,
};

/// Why a pass could not be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The weights could not be had.
    #[error(transparent)]
    Weights(#[from] SchedulerError),
    /// A token that the vocabulary does not have.
    #[error("token {token} is not in the vocabulary of {vocab} tokens")]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
    /// The KV cache is full.
    #[error("the context of {context} tokens is full: {position} are in it, and {tokens} more do not fit")]
    ContextFull {
        /// Positions of the KV cache.
        context: usize,
        /// Positions taken.
        position: usize,
        /// Tokens that were to be added.
        tokens: usize,
    },
}

/// A decoder, its weights behind a window, and the state of one conversation.
#[derive(Debug)]
pub struct Engine<S: Storage, C: Clock> {
    decoder: Decoder,
    formats: Vec<Formats>,
    weights: Weights<S, C>,
    vectors: Vectors,
    compute: Compute,
    ropes: Vec<RopeTable>,
    cache: KvCache,
    scratch: Scratch,
    logits: Vec<f32>,
    context: usize,
    chunk: usize,
    position: usize,
}

/// Activations of one chunk, token after token.
#[derive(Debug)]
struct Scratch {
    /// The residual stream.
    x: Vec<f32>,
    /// Input or output of a block.
    h: Vec<f32>,
    /// Queries, keys and values; then gate and up.
    wide: Vec<f32>,
    /// What attention gives; then act(gate) * up.
    inner: Vec<f32>,
    /// The input of a step as the kernels want it.
    activations: Activations,
    panels: Panels,
    attention: attention::Scratch,
}

/// Widths of the buffers, in elements per token.
struct Widths {
    h: usize,
    wide: usize,
    inner: usize,
    input: usize,
}

impl Widths {
    fn of(shape: &Shape) -> Self {
        let inner = shape.attended_len().max(shape.ffn);
        Widths {
            h: shape.dim,
            wide: (shape.query_len() + shape.key_len() + shape.value_len()).max(2 * shape.ffn),
            inner,
            input: inner.max(shape.dim),
        }
    }
}

/// The forms of activations that the matrices of each step want.
fn formats(map: &ModelMap) -> Vec<Formats> {
    let mut matrices = map.matrices.iter();
    map.steps.iter().map(|&count| matrices.by_ref().take(count as usize).map(|m| m.ty).collect()).collect()
}

fn all_formats(map: &ModelMap) -> Formats {
    map.matrices.iter().map(|m| m.ty).collect()
}

/// The caches of the layers. A layer with a window keeps what the window and the chunk under way can see.
fn kv_shapes(decoder: &Decoder, ty: KvType, context: usize, chunk: usize) -> impl Iterator<Item = KvShape> {
    let Shape { kv_heads, head_dim, value_dim, .. } = decoder.shape;
    decoder.layers.iter().map(move |layer| KvShape {
        ty,
        heads: kv_heads,
        key_dim: head_dim,
        value_dim,
        positions: layer.attention.window.map_or(context, |window| context.min(window + chunk - 1)),
    })
}

/// Bytes of the KV cache.
pub fn kv_bytes(map: &ModelMap, ty: KvType, context: usize, chunk: usize) -> u64 {
    kv_shapes(&map.decoder, ty, context, chunk).fold(0, |sum: u64, shape| sum.saturating_add(shape.bytes() as u64))
}

/// A cache that none of the layers exceeds.
fn largest_kv_shape(decoder: &Decoder, context: usize) -> KvShape {
    let Shape { kv_heads, head_dim, value_dim, .. } = decoder.shape;
    KvShape { ty: KvType::F16, heads: kv_heads, key_dim: head_dim, value_dim, positions: context }
}

/// Bytes of the activations: those for each token of a chunk, and those that do not depend on it.
pub fn activation_bytes(map: &ModelMap, context: usize, threads: usize, isa: Isa) -> (u64, u64) {
    const SAMPLE: usize = 64; // Rounding to whole cache lines evens out over some tokens.
    let shape = &map.decoder.shape;
    let widths = Widths::of(shape);
    let rope: usize = map.decoder.ropes.iter().map(|rope| rope.dims).sum();
    let floats = (shape.dim + widths.h + widths.wide + widths.inner + rope) * 4;
    let forms = Activations::bytes(SAMPLE, widths.input, all_formats(map)).div_ceil(SAMPLE);
    let largest = largest_kv_shape(&map.decoder, context);
    let scratch = attention::Scratch::bytes(threads, shape.heads, &largest) + Panels::bytes(isa, threads, widths.input);
    ((floats + forms) as u64, scratch as u64)
}

fn rope_table(rope: &Rope, vectors: &Vectors, chunk: usize) -> RopeTable {
    let plain = RopeParams::new(rope.style, rope.dims, rope.base);
    let params = match rope.scaling {
        RopeScaling::None => plain,
        RopeScaling::Linear { factor } => RopeParams { freq_scale: 1.0 / factor, ..plain },
        RopeScaling::Yarn { factor, original_context, attention_factor, beta_fast, beta_slow } => RopeParams {
            freq_scale: 1.0 / factor,
            ext_factor: 1.0,
            attn_factor: attention_factor,
            beta_fast,
            beta_slow,
            original_context: original_context as usize,
            ..plain
        },
    };
    RopeTable::new(params, rope.factors.map(|id| &vectors[id]), chunk)
}

impl<S: Storage, C: Clock> Engine<S, C> {
    /// An engine with an empty context of `context` positions, kept as `kv`, which takes `chunk` tokens at a time through the layers.
    pub fn new(
        map: &ModelMap,
        weights: Weights<S, C>,
        vectors: Vectors,
        compute: Compute,
        kv: KvType,
        context: usize,
        chunk: usize,
    ) -> Self {
        let decoder = map.decoder.clone();
        let shape = decoder.shape;
        let widths = Widths::of(&shape);
        let ropes = decoder.ropes.iter().map(|rope| rope_table(rope, &vectors, chunk)).collect();
        Engine {
            formats: formats(map),
            ropes,
            cache: KvCache::new(kv_shapes(&decoder, kv, context, chunk)),
            scratch: Scratch {
                x: vec![0.0; chunk * shape.dim],
                h: vec![0.0; chunk * widths.h],
                wide: vec![0.0; chunk * widths.wide],
                inner: vec![0.0; chunk * widths.inner],
                activations: Activations::new(chunk, widths.input, all_formats(map)),
                panels: Panels::new(compute.isa, compute.pool.threads(), widths.input),
                attention: attention::Scratch::new(
                    compute.pool.threads(),
                    shape.heads,
                    &largest_kv_shape(&decoder, context),
                ),
            },
            logits: vec![0.0; shape.vocab],
            decoder,
            weights,
            vectors,
            compute,
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
        self.position = 0;
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
    /// `progress` is told after each chunk how many tokens are done.
    ///
    /// # Errors
    /// When a token is not in the vocabulary, the context is full (nothing is added then), or the weights cannot be
    /// read (the context is then as it was before the failed chunk).
    ///
    /// # Panics
    /// When there are no tokens.
    pub fn forward(&mut self, tokens: &[u32], mut progress: impl FnMut(usize)) -> Result<&[f32], EngineError> {
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
            progress(done);
        }
        Ok(&self.logits)
    }

    /// One pass through the layers.
    fn pass(&mut self, tokens: &[u32], with_logits: bool) -> Result<(), EngineError> {
        let dim = self.decoder.shape.dim;
        let n = tokens.len();
        self.weights.begin_pass(if with_logits { Pass::Full } else { Pass::WithoutTail });
        self.weights.embed(tokens, &mut self.scratch.x[..n * dim])?;
        if self.decoder.embedding_scale != 1.0 {
            ops::scale(&mut self.scratch.x[..n * dim], self.decoder.embedding_scale);
        }
        for table in &mut self.ropes {
            table.set_positions(self.position, n);
        }
        let mut steps = (0..).map(StepId);
        let mut next = move || steps.next().expect("endless");
        for layer in 0..self.decoder.layers.len() {
            self.attention(layer, n, [next(), next()])?;
            self.feed_forward(layer, n, [next(), next()])?;
        }
        if with_logits {
            self.head(n, next())?;
        }
        self.position += n;
        Ok(())
    }

    /// x += output(attend(rope(norm(query(h))), rope(norm(key(h))), value(h))), with h = norm(x).
    fn attention(&mut self, layer: usize, n: usize, [qkv, output]: [StepId; 2]) -> Result<(), EngineError> {
        let Attention { norm, query, key, value, query_norm, key_norm, rope, window, output: projection, post_norm } =
            self.decoder.layers[layer].attention;
        let shape = self.decoder.shape;
        let (q_len, k_len) = (shape.query_len(), shape.key_len());
        let stride = q_len + k_len + shape.value_len();
        self.norm_x(norm, n);
        self.multiply(qkv, Source::H, n, Target::Wide, stride)?;

        let Self { scratch, vectors, ropes, cache, compute, .. } = self;
        let Scratch { wide, inner, attention: attention_scratch, .. } = scratch;
        let heads = Heads {
            lens: [q_len, k_len, shape.value_len()],
            biases: [query, key, value].map(|linear| vector(vectors, linear.bias)),
            norms: [query_norm, key_norm].map(|norm| vector(vectors, norm)),
            eps: shape.eps,
            head_dim: shape.head_dim,
            rope: &ropes[rope],
        };
        let rows = &mut wide[..n * stride];
        heads.prepare(&compute.pool, compute.isa, rows);
        for (t, row) in rows.chunks_exact(stride).enumerate() {
            let (k, v) = row[q_len..].split_at(k_len);
            cache.store(compute.isa, layer, self.position + t, k, v);
        }
        let rule = attention::Attention {
            heads: shape.heads,
            scale: self.decoder.attention_scale,
            softcap: self.decoder.attention_softcap,
            window,
        };
        let out = &mut inner[..n * shape.attended_len()];
        attention::attend(
            &compute.pool,
            compute.isa,
            &rule,
            cache,
            layer,
            self.position,
            rows,
            stride,
            attention_scratch,
            out,
        );
        self.multiply(output, Source::Inner(shape.attended_len()), n, Target::H, shape.dim)?;
        self.add_h(projection, post_norm, n);
        Ok(())
    }

    /// x += down(act(gate(h)) * up(h)), with h = norm(x).
    fn feed_forward(&mut self, layer: usize, n: usize, [gate_up, down]: [StepId; 2]) -> Result<(), EngineError> {
        let FeedForward { norm, gate, up, down: out, activation, post_norm } = self.decoder.layers[layer].feed_forward;
        let ffn = self.decoder.shape.ffn;
        self.norm_x(norm, n);
        self.multiply(gate_up, Source::H, n, Target::Wide, 2 * ffn)?;

        let Self { scratch, vectors, compute, .. } = self;
        let [gate_bias, up_bias] = [gate, up].map(|linear| vector(vectors, linear.bias));
        let gate = Gate { activation, gate_bias, up_bias, row: ffn };
        gate.apply(&compute.pool, compute.isa, &scratch.wide[..n * 2 * ffn], &mut scratch.inner[..n * ffn]);
        self.multiply(down, Source::Inner(ffn), n, Target::H, self.decoder.shape.dim)?;
        self.add_h(out, post_norm, n);
        Ok(())
    }

    /// logits = head(norm(x)) of the last token.
    fn head(&mut self, n: usize, step: StepId) -> Result<(), EngineError> {
        let Shape { dim, vocab, eps, .. } = self.decoder.shape;
        let Self { scratch, vectors, compute, .. } = self;
        let (x, h) = (&scratch.x[(n - 1) * dim..n * dim], &mut scratch.h[..dim]);
        steps::norm(&compute.pool, compute.isa, x, &vectors[self.decoder.final_norm], eps, h);
        self.multiply(step, Source::H, 1, Target::Logits, vocab)?;
        if let Some(bias) = vector(&self.vectors, self.decoder.head.bias) {
            ops::add(&mut self.logits, bias);
        }
        if let Some(cap) = self.decoder.logit_softcap {
            ops::softcap(&mut self.logits, cap);
        }
        Ok(())
    }

    /// h = norm(x).
    fn norm_x(&mut self, norm: VectorId, n: usize) {
        let Shape { dim, eps, .. } = self.decoder.shape;
        let Self { scratch, vectors, compute, .. } = self;
        let (x, h) = (&scratch.x[..n * dim], &mut scratch.h[..n * dim]);
        steps::norm(&compute.pool, compute.isa, x, &vectors[norm], eps, h);
    }

    /// x += norm(h + bias).
    fn add_h(&mut self, linear: Linear, norm: Option<VectorId>, n: usize) {
        let Shape { dim, eps, .. } = self.decoder.shape;
        let Self { scratch, vectors, compute, .. } = self;
        let norm = vector(vectors, norm).map(|weight| (weight, eps));
        let residual = Residual { bias: vector(vectors, linear.bias), norm, row: dim };
        residual.add(&compute.pool, compute.isa, &mut scratch.x[..n * dim], &mut scratch.h[..n * dim]);
    }

    /// target = W source, for all matrices of a step.
    fn multiply(
        &mut self,
        step: StepId,
        source: Source,
        n: usize,
        target: Target,
        stride: usize,
    ) -> Result<(), SchedulerError> {
        let Scratch { h, wide, inner, activations, panels, .. } = &mut self.scratch;
        let (input, cols) = match source {
            Source::H => (&h[..], self.decoder.shape.dim),
            Source::Inner(cols) => (&inner[..], cols),
        };
        let Compute { pool, isa } = &self.compute;
        activations.prepare(pool, *isa, &input[..n * cols], cols, self.formats[step.0 as usize]);
        let out = match target {
            Target::H => &mut h[..n * stride],
            Target::Wide => &mut wide[..n * stride],
            Target::Logits => &mut self.logits[..],
        };
        self.weights.multiply(step, &self.compute, activations, panels, out, stride)
    }
}

/// The input of a step.
#[derive(Clone, Copy)]
enum Source {
    H,
    /// As many elements per token.
    Inner(usize),
}

/// Where the outputs of a step go.
#[derive(Clone, Copy)]
enum Target {
    H,
    Wide,
    Logits,
}

fn vector(vectors: &Vectors, id: Option<VectorId>) -> Option<&[f32]> {
    id.map(|id| &vectors[id])
}
