//! What a decoder-only transformer is made of: the description that the forward pass runs.
//!
//! An architecture ([`super::arch`]) turns a file's metadata and tensors into a [`Decoder`]; nothing after that asks which
//! architecture it was.

pub use crate::kernels::RopeStyle;
pub use crate::kernels::delta::{DeltaShape, HeadOrder};
pub use crate::kernels::experts::{Groups, Scoring};
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
    /// Queries; where attention is gated, behind each head of the queries the gates of that head.
    pub query: Linear,
    /// Whether what attention gives is multiplied with the sigmoids of gates.
    pub gated: bool,
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
    /// For each query head the logit of a sink: it takes part in the softmax, and what it takes is not given to any position
    /// (Xiao et al. 2023; gpt-oss).
    pub sinks: Option<VectorId>,
    /// Output projection.
    pub output: Linear,
    /// RMSNorm after, before the residual sum.
    pub post_norm: Option<VectorId>,
}

/// Gated DeltaNet: see [`crate::kernels::delta`].
#[derive(Debug, Clone, Copy)]
pub struct DeltaNet {
    /// RMSNorm before.
    pub norm: VectorId,
    /// Queries, keys and values, of which the convolution makes those of the recurrence.
    pub mixed: MatrixId,
    /// Gates of the outputs.
    pub gate: MatrixId,
    /// What the rates come of. Where one matrix gives both kinds it is here twice.
    pub rates: [MatrixId; 2],
    /// Weights of the convolution. In the file those of a channel lie together.
    pub taps: VectorId,
    /// Rate of the decay, per value head.
    pub decay: VectorId,
    /// Bias of the decay, per value head.
    pub decay_bias: VectorId,
    /// RMSNorm over each head of the outputs.
    pub head_norm: VectorId,
    /// Output projection.
    pub output: MatrixId,
    /// Sizes.
    pub shape: DeltaShape,
}

/// Elements of the heads of a [`Latent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentDims {
    /// The latent.
    pub rank: usize,
    /// Of a query, what meets the latent, by way of a product.
    pub plain: usize,
    /// Of a query and of the key that all heads share, what is turned.
    pub turned: usize,
    /// What a head makes of the latents that it attended to.
    pub value: usize,
}

impl LatentDims {
    /// A query as it is projected.
    pub fn query(&self) -> usize {
        self.plain + self.turned
    }

    /// A key as it is kept, and a query as it meets it.
    pub fn key(&self) -> usize {
        self.rank + self.turned
    }
}

/// Queries that are made by way of a shorter vector.
#[derive(Debug, Clone, Copy)]
pub struct QueryUp {
    /// Elements of the shorter vector.
    pub rank: usize,
    /// RMSNorm over it.
    pub norm: VectorId,
    /// From it to the queries.
    pub up: Linear,
}

/// Multi-head latent attention (DeepSeek-V2): the keys and values of all heads are linear maps of one latent, which is all
/// that is kept of a position, besides one turned key for all heads.
///
/// The maps are not applied to what is kept. A head's key is `K c`, and `q K c` is `(K' q) c`: so the query is multiplied with
/// the transposed map, once, and meets the latent itself. Likewise the head's value map is applied to the weighted sum of the
/// latents. What is left is attention with one head of keys and values, [`LatentDims::key`] and [`LatentDims::rank`] long.
#[derive(Debug, Clone, Copy)]
pub struct Latent {
    /// RMSNorm before.
    pub norm: VectorId,
    /// Queries, or the shorter vector that they are made of.
    pub query: Linear,
    /// From that to the queries.
    pub query_up: Option<QueryUp>,
    /// The latent, and the key that is turned.
    pub compress: Linear,
    /// RMSNorm over the latent.
    pub latent_norm: VectorId,
    /// For each head, the transposed map from latent to key.
    pub key: MatrixId,
    /// For each head, the map from latent to value.
    pub value: MatrixId,
    /// Index into [`Decoder::ropes`].
    pub rope: usize,
    /// Output projection.
    pub output: Linear,
    /// Lengths.
    pub dims: LatentDims,
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
    /// Outputs of gate and up, inputs of down.
    pub width: usize,
    /// act.
    pub activation: Activation,
    /// RMSNorm after, before the residual sum.
    pub post_norm: Option<VectorId>,
}

/// Which experts a token goes to, and with which weights.
#[derive(Debug, Clone, Copy)]
pub struct Router {
    /// One output per expert.
    pub linear: Linear,
    /// How outputs become scores.
    pub scoring: Scoring,
    /// Added to the scores for the choice alone, not for the weights (DeepSeek-V3).
    pub correction: Option<VectorId>,
    /// Which groups of experts a token may choose from.
    pub groups: Option<Groups>,
    /// How many experts a token chooses.
    pub chosen: usize,
    /// Whether the weights of the chosen are divided by their sum.
    pub normalise: bool,
    /// What the weights are multiplied with then.
    pub scale: f32,
}

/// An expert that every token goes to.
#[derive(Debug, Clone, Copy)]
pub struct SharedExpert {
    /// Gate.
    pub gate: Linear,
    /// Up.
    pub up: Linear,
    /// Down.
    pub down: Linear,
    /// Outputs of gate and up, inputs of down.
    pub width: usize,
    /// Its weight is the sigmoid of the product of this vector with the input; 1 without.
    pub weight: Option<VectorId>,
}

/// What becomes of gate and up in an expert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Gating {
    /// act(gate) * up.
    Product(Activation),
    /// See [`crate::kernels::experts::ClampedGate`] (gpt-oss).
    Clamped {
        /// Steepness of the sigmoid.
        alpha: f32,
        /// The limit.
        limit: f32,
    },
}

/// A mixture of experts: the sum of weight x down(gating(gate(x), up(x))) over the chosen ones, in the order of their scores,
/// and then the shared one.
#[derive(Debug, Clone, Copy)]
pub struct Experts {
    /// RMSNorm before.
    pub norm: VectorId,
    /// Which experts.
    pub router: Router,
    /// How many there are.
    pub count: usize,
    /// Gates of all experts, each a matrix.
    pub gate: Linear,
    /// Ups. Where a file has gates and ups in one matrix, the gates first, both are that.
    pub up: Linear,
    /// Downs.
    pub down: Linear,
    /// Outputs of a gate and an up, inputs of a down.
    pub width: usize,
    /// What becomes of gate and up.
    pub gating: Gating,
    /// The one that all tokens go to.
    pub shared: Option<SharedExpert>,
    /// RMSNorm after, before the residual sum.
    pub post_norm: Option<VectorId>,
}

impl Experts {
    /// Outputs that are summed for a token: those of the chosen experts, and of the shared one.
    pub fn summands(&self) -> usize {
        self.router.chosen + usize::from(self.shared.is_some())
    }
}

/// What brings tokens together.
#[derive(Debug, Clone, Copy)]
pub enum Mixer {
    /// Attention.
    Attention(Attention),
    /// Gated DeltaNet.
    DeltaNet(DeltaNet),
    /// Attention to latents.
    Latent(Latent),
}

/// What each token does by itself.
#[derive(Debug, Clone, Copy)]
pub enum Channel {
    /// The same weights for every token.
    Dense(FeedForward),
    /// Weights that a router chooses.
    Experts(Experts),
}

/// One layer: x += mixer(x); x += channel(x).
#[derive(Debug, Clone, Copy)]
pub struct Layer {
    /// The token mixer.
    pub mixer: Mixer,
    /// The channel mixer.
    pub channel: Channel,
}

/// Sizes that hold for every layer. Where attention is to latents its heads of keys and values are those that are kept.
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

    /// Inputs of the attention's output projection; gates, where there are some.
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
    /// What the output of each mixer and channel is multiplied with, before the residual sum.
    pub residual_scale: f32,
    /// RMSNorm before the head.
    pub final_norm: VectorId,
    /// Logits.
    pub head: Linear,
    /// What the logits are multiplied with.
    pub logit_scale: f32,
    /// tanh soft cap of the logits.
    pub logit_softcap: Option<f32>,
}

impl Decoder {
    /// The mixtures of experts among the layers.
    pub fn experts(&self) -> impl Iterator<Item = &Experts> {
        self.layers.iter().filter_map(|layer| match &layer.channel {
            Channel::Dense(_) => None,
            Channel::Experts(experts) => Some(experts),
        })
    }
}
