//! What a decoder-only transformer is made of: the description that the forward pass runs.
//!
//! An architecture ([`super::arch`]) turns a file's metadata and tensors into a [`Decoder`]; nothing after that asks which
//! architecture it was.

pub use crate::kernels::RopeStyle;
pub use crate::kernels::steps::Activation;

/// Index of a matrix: a streamed weight, in the order of the plan ([`super::ModelMap::matrices`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixId(pub u32);

/// Index of a vector: a weight small enough to be resident for good ([`super::ModelMap::vectors`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorId(pub u32);

/// y = W x + b.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    /// W, with one row per output.
    pub weight: MatrixId,
    /// b, where there is one.
    pub bias: Option<VectorId>,
}

/// How positions beyond the trained context are made to fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Positions are divided by the factor.
    Linear {
        /// The factor.
        factor: f32,
    },
    /// YaRN (Peng et al. 2023): high frequencies stay, low ones are divided by the factor.
    Yarn {
        /// The factor.
        factor: f32,
        /// The context before the extension.
        original_context: u32,
        /// Multiplies the magnitude.
        attention_factor: f32,
        /// Rotations at and above which a frequency stays.
        beta_fast: f32,
        /// Rotations at and below which a frequency is divided in full.
        beta_slow: f32,
    },
}

/// Rotary positions (Su et al. 2021): element pair i of `dims` turns by position x base^(-2i/dims).
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Which elements are paired.
    pub style: RopeStyle,
    /// Elements of a head that are rotated, from the front.
    pub dims: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// Stretching of the context.
    pub scaling: RopeScaling,
    /// Divisors of the frequencies, one per pair (Llama 3.1).
    pub factors: Option<VectorId>,
}

/// Grouped-query attention with rotary positions.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// RMSNorm before.
    pub norm: VectorId,
    /// Queries.
    pub query: Linear,
    /// Keys.
    pub key: Linear,
    /// Values.
    pub value: Linear,
    /// RMSNorm over each head of the queries.
    pub query_norm: Option<VectorId>,
    /// RMSNorm over each head of the keys.
    pub key_norm: Option<VectorId>,
    /// Index into [`Decoder::ropes`].
    pub rope: usize,
    /// Positions that a query sees, itself included; `None` for all before it.
    pub window: Option<usize>,
    /// Output projection.
    pub output: Linear,
    /// RMSNorm after, before the residual sum.
    pub post_norm: Option<VectorId>,
}

/// Gated feed-forward: down(act(gate(x)) * up(x)).
#[derive(Debug, Clone, Copy)]
pub struct FeedForward {
    /// RMSNorm before.
    pub norm: VectorId,
    /// Gate.
    pub gate: Linear,
    /// Up.
    pub up: Linear,
    /// Down.
    pub down: Linear,
    /// act.
    pub activation: Activation,
    /// RMSNorm after, before the residual sum.
    pub post_norm: Option<VectorId>,
}

/// One layer: x += attention(x); x += feed_forward(x).
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// The token mixer.
    pub attention: Attention,
    /// The channel mixer.
    pub feed_forward: FeedForward,
}

/// Sizes that hold for every layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Width of the residual stream.
    pub dim: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; a divisor of `heads`.
    pub kv_heads: usize,
    /// Elements of a query or key head.
    pub head_dim: usize,
    /// Elements of a value head.
    pub value_dim: usize,
    /// Width of the feed-forward block.
    pub ffn: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Number of layers.
    pub layers: usize,
    /// Positions that the model was trained for.
    pub context: usize,
    /// RMSNorm epsilon.
    pub eps: f32,
}

impl Shape {
    /// Outputs of the query projection.
    pub fn query_len(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Outputs of the key projection.
    pub fn key_len(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Outputs of the value projection.
    pub fn value_len(&self) -> usize {
        self.kv_heads * self.value_dim
    }

    /// Inputs of the attention's output projection.
    pub fn attended_len(&self) -> usize {
        self.heads * self.value_dim
    }
}

/// A whole model.
#[derive(Debug, Clone)]
pub struct Decoder {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Sizes.
    pub shape: Shape,
    /// What the embedding is multiplied with.
    pub embedding_scale: f32,
    /// The kinds of rotary positions that layers use.
    pub ropes: Vec<Rope>,
    /// What query-key products are multiplied with.
    pub attention_scale: f32,
    /// tanh soft cap of query-key products.
    pub attention_softcap: Option<f32>,
    /// The layers.
    pub layers: Vec<Layer>,
    /// RMSNorm before the head.
    pub final_norm: VectorId,
    /// Logits.
    pub head: Linear,
    /// tanh soft cap of the logits.
    pub logit_softcap: Option<f32>,
}
