//! Architectures: from metadata and tensor names to a [`Decoder`]. One small file each.
//!
//! What most architectures share (names of tensors and keys, the usual block) is here; a file says only how its
//! architecture differs.

mod deepseek2;
mod delta_net;
mod gemma3;
mod glm4moe;
mod gpt_oss;
mod granitemoe;
mod layers;
mod llama;
mod moe;
mod olmoe;
mod qwen2;
mod qwen2moe;
mod qwen3;
mod qwen35moe;
mod qwen3moe;
mod qwen3next;

use crate::gguf::Metadata;

use self::delta_net::Recurrent;
use self::moe::Mixture;
use super::ModelError;
use super::decoder::{
    Activation, Attention, Channel, Decoder, FeedForward, Layer, Linear, Mixer, Rope, RopeScaling, RopeStyle, Shape,
    VectorId,
};
use super::tensors::Tensors;

/// The architectures by the name that a file gives in `general.architecture`.
const ARCHITECTURES: [(&str, Describer); 13] = [
    ("llama", llama::describe),
    ("qwen2", qwen2::describe),
    ("qwen3", qwen3::describe),
    ("gemma3", gemma3::describe),
    ("qwen2moe", qwen2moe::describe),
    ("qwen3moe", qwen3moe::describe),
    ("olmoe", olmoe::describe),
    ("granitemoe", granitemoe::describe),
    ("glm4moe", glm4moe::describe),
    ("qwen3next", qwen3next::describe),
    ("qwen35moe", qwen35moe::describe),
    ("deepseek2", deepseek2::describe),
    ("gpt-oss", gpt_oss::describe),
];

type Describer = fn(&Hyper<'_>, &mut Tensors<'_>) -> Result<Decoder, ModelError>;

/// The names of the architectures that can be run.
pub fn supported() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|(name, _)| *name)
}

/// Describes the model whose metadata is given.
pub(super) fn describe(metadata: &Metadata, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let name = metadata.str("general.architecture")?;
    let (name, describer) = ARCHITECTURES
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| ModelError::Architecture { name: name.to_owned(), supported: supported().collect() })?;
    describer(&Hyper { metadata, prefix: name }, tensors)
}

/// Hyperparameters: the metadata whose keys begin with the architecture's name.
pub(super) struct Hyper<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

/// Sizes beyond these are no model but a damaged file.
const MOST_LAYERS: usize = 4096;
const MOST_WIDTH: usize = 1 << 20;

/// What YaRN multiplies queries and keys with, if it is not the usual.
const YARN_MAGNITUDE: &str = "rope.scaling.yarn_attn_factor";

/// What YaRN usually multiplies queries and keys with.
fn usual_magnitude(factor: f32) -> f32 {
    1.0 + 0.1 * libm::logf(factor)
}

impl Hyper<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn has(&self, name: &str) -> bool {
        self.metadata.get(&self.key(name)).is_some()
    }

    fn size(&self, name: &str, most: usize) -> Result<usize, ModelError> {
        let key = self.key(name);
        let value = self.metadata.u64(&key)?;
        match usize::try_from(value) {
            Ok(size) if (1..=most).contains(&size) => Ok(size),
            _ => Err(ModelError::Hyperparameter { key, value: value.to_string(), expected: format!("1 to {most}") }),
        }
    }

    fn size_or(&self, name: &str, most: usize, default: usize) -> Result<usize, ModelError> {
        if self.has(name) { self.size(name, most) } else { Ok(default) }
    }

    /// A size that may be 0, or left out, which is the same.
    fn size_or_0(&self, name: &str, most: usize) -> Result<usize, ModelError> {
        if !self.has(name) || self.metadata.u64(&self.key(name))? == 0 { Ok(0) } else { self.size(name, most) }
    }

    /// Whether something is the case; what is left out is not.
    fn flag(&self, name: &str) -> Result<bool, ModelError> {
        let key = self.key(name);
        if self.has(name) { Ok(self.metadata.bool(&key)?) } else { Ok(false) }
    }

    fn f32_if_any(&self, name: &str) -> Result<Option<f32>, ModelError> {
        if !self.has(name) {
            return Ok(None);
        }
        let key = self.key(name);
        let value = self.metadata.f32(&key)?;
        if value.is_finite() {
            Ok(Some(value))
        } else {
            Err(ModelError::Hyperparameter { key, value: value.to_string(), expected: "a finite number".into() })
        }
    }

    fn f32_or(&self, name: &str, default: f32) -> Result<f32, ModelError> {
        Ok(self.f32_if_any(name)?.unwrap_or(default))
    }

    /// A positive number.
    fn positive_or(&self, name: &str, default: f32) -> Result<f32, ModelError> {
        match self.f32_or(name, default)? {
            value if value > 0.0 => Ok(value),
            value => Err(ModelError::Hyperparameter {
                key: self.key(name),
                value: value.to_string(),
                expected: "more than 0".into(),
            }),
        }
    }

    fn shape(&self, tensors: &mut Tensors<'_>) -> Result<Shape, ModelError> {
        let dim = self.size("embedding_length", MOST_WIDTH)?;
        let heads = self.size("attention.head_count", MOST_WIDTH)?;
        let kv_heads = self.size_or("attention.head_count_kv", MOST_WIDTH, heads)?;
        if !heads.is_multiple_of(kv_heads) {
            return Err(ModelError::Hyperparameter {
                key: self.key("attention.head_count_kv"),
                value: kv_heads.to_string(),
                expected: format!("a divisor of the {heads} heads"),
            });
        }
        let head_dim = self.size_or("attention.key_length", MOST_WIDTH, (dim / heads).max(1))?;
        let eps = self.key("attention.layer_norm_rms_epsilon");
        let eps = match self.metadata.f32(&eps)? {
            value if value.is_finite() && value >= 0.0 => value,
            value => {
                let (value, expected) = (value.to_string(), "a number from 0 on".to_owned());
                return Err(ModelError::Hyperparameter { key: eps, value, expected });
            }
        };
        Ok(Shape {
            dim,
            heads,
            kv_heads,
            head_dim,
            value_dim: self.size_or("attention.value_length", MOST_WIDTH, (dim / heads).max(1))?,
            vocab: tensors.rows_of("token_embd.weight")?,
            layers: self.size("block_count", MOST_LAYERS)?,
            context: self.size("context_length", u32::MAX as usize)?,
            eps,
        })
    }

    /// Width of the feed-forward blocks.
    fn feed_forward_length(&self) -> Result<usize, ModelError> {
        self.size("feed_forward_length", MOST_WIDTH)
    }

    fn rope(&self, shape: &Shape, style: RopeStyle) -> Result<Rope, ModelError> {
        let dims = self.size_or("rope.dimension_count", shape.head_dim, shape.head_dim)?;
        if !dims.is_multiple_of(2) {
            return Err(ModelError::Hyperparameter {
                key: self.key("rope.dimension_count"),
                value: dims.to_string(),
                expected: "an even number".into(),
            });
        }
        let base = self.positive_or("rope.freq_base", 10_000.0)?;
        Ok(Rope { style, dims, base, scaling: self.rope_scaling(shape)?, factors: None })
    }

    fn rope_scaling(&self, shape: &Shape) -> Result<RopeScaling, ModelError> {
        // Files from before `rope.scaling.type` have `rope.scale_linear` alone.
        let factor = self.positive_or("rope.scaling.factor", self.positive_or("rope.scale_linear", 1.0)?)?;
        let key = self.key("rope.scaling.type");
        let kind = if self.has("rope.scaling.type") { self.metadata.str(&key)? } else { "linear" };
        match kind {
            "none" => Ok(RopeScaling::None),
            "linear" | "yarn" if factor == 1.0 => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor }),
            "yarn" => Ok(RopeScaling::Yarn {
                factor,
                original_context: self.size_or(
                    "rope.scaling.original_context_length",
                    u32::MAX as usize,
                    shape.context,
                )? as u32,
                attention_factor: self.attention_factor(factor)?,
                beta_fast: self.positive_or("rope.scaling.yarn_beta_fast", 32.0)?,
                beta_slow: self.positive_or("rope.scaling.yarn_beta_slow", 1.0)?,
            }),
            other => Err(ModelError::Hyperparameter {
                key,
                value: other.to_owned(),
                expected: "none, linear or yarn".into(),
            }),
        }
    }

    /// What YaRN multiplies with beside its usual magnitude. A magnitude that the file gives takes the place of the usual one.
    fn attention_factor(&self, factor: f32) -> Result<f32, ModelError> {
        let further = self.f32_or("rope.scaling.attn_factor", 1.0)?;
        let magnitude = self.multiplier(YARN_MAGNITUDE)?;
        Ok(magnitude.map_or(further, |magnitude| further * magnitude / usual_magnitude(factor)))
    }

    /// A multiplier of 0 is none, as in llama.cpp.
    fn multiplier(&self, name: &str) -> Result<Option<f32>, ModelError> {
        Ok(self.f32_if_any(name)?.filter(|multiplier| *multiplier != 0.0))
    }

    /// A cap of 0 is none, as in llama.cpp.
    fn softcap(&self, name: &str) -> Result<Option<f32>, ModelError> {
        Ok(self.f32_if_any(name)?.filter(|cap| *cap != 0.0))
    }

    fn sliding_window(&self) -> Result<Option<usize>, ModelError> {
        let name = "attention.sliding_window";
        if !self.has(name) || self.metadata.u64(&self.key(name))? == 0 {
            return Ok(None);
        }
        self.size(name, u32::MAX as usize).map(Some)
    }
}

/// Norms of queries and keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeadNorms {
    None,
    /// Over each head, with the same weights for all.
    Each,
    /// Over all heads at once.
    All,
}

/// What a layer does with each token by itself.
#[derive(Clone, Copy)]
enum Feed {
    Dense { width: usize, activation: Activation },
    Experts(Mixture),
}

/// The usual names and shapes.
struct Describe {
    shape: Shape,
    head_norms: HeadNorms,
    /// Whether attention and feed-forward have a norm after them, too.
    post_norms: bool,
    /// The name of the norm before the feed-forward.
    ffn_norm: &'static str,
    /// Whether attention has gates: those of a head are rows of the query projection, behind those of its query.
    gated: bool,
    /// Which layers have a recurrence instead of attention.
    recurrent: Option<Recurrent>,
    /// Whether each query head has a sink.
    sinks: bool,
}

impl Describe {
    /// As most are.
    fn usual(shape: Shape) -> Self {
        let (head_norms, ffn_norm) = (HeadNorms::None, "ffn_norm");
        Describe { shape, head_norms, post_norms: false, ffn_norm, gated: false, recurrent: None, sinks: false }
    }

    fn linear(&self, tensors: &mut Tensors<'_>, name: &str, rows: usize, cols: usize) -> Result<Linear, ModelError> {
        Ok(Linear {
            weight: tensors.matrix(&format!("{name}.weight"), rows, cols)?,
            bias: tensors.vector_if_any(&format!("{name}.bias"), rows)?,
        })
    }

    /// A vector that an architecture either has in every layer or does not have.
    fn vector_if(has: bool, tensors: &mut Tensors<'_>, name: &str, len: usize) -> Result<Option<VectorId>, ModelError> {
        has.then(|| tensors.vector(name, len)).transpose()
    }

    fn attention(&self, tensors: &mut Tensors<'_>, layer: usize) -> Result<Attention, ModelError> {
        let shape = &self.shape;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let norm = tensors.vector(&name("attn_norm.weight"), shape.dim)?;
        let (norms, [query_norm, key_norm]) = (
            self.head_norms != HeadNorms::None,
            match self.head_norms {
                HeadNorms::All => [shape.query_len(), shape.key_len()],
                HeadNorms::Each | HeadNorms::None => [shape.head_dim; 2],
            },
        );
        let query_norm = Self::vector_if(norms, tensors, &name("attn_q_norm.weight"), query_norm)?;
        let key_norm = Self::vector_if(norms, tensors, &name("attn_k_norm.weight"), key_norm)?;
        let post_norm = Self::vector_if(self.post_norms, tensors, &name("post_attention_norm.weight"), shape.dim)?;
        let sinks = Self::vector_if(self.sinks, tensors, &name("attn_sinks.weight"), shape.heads)?;
        tensors.step();
        let gates = if self.gated { shape.attended_len() } else { 0 };
        let query = self.linear(tensors, &name("attn_q"), shape.query_len() + gates, shape.dim)?;
        let key = self.linear(tensors, &name("attn_k"), shape.key_len(), shape.dim)?;
        let value = self.linear(tensors, &name("attn_v"), shape.value_len(), shape.dim)?;
        tensors.step();
        let output = self.linear(tensors, &name("attn_output"), shape.dim, shape.attended_len())?;
        let (gated, rope, window) = (self.gated, 0, None);
        Ok(Attention { norm, query, gated, key, value, query_norm, key_norm, rope, window, sinks, output, post_norm })
    }

    fn feed_forward(
        &self,
        tensors: &mut Tensors<'_>,
        layer: usize,
        width: usize,
        activation: Activation,
    ) -> Result<FeedForward, ModelError> {
        let shape = &self.shape;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let norm = tensors.vector(&name(&format!("{}.weight", self.ffn_norm)), shape.dim)?;
        let post_norm = Self::vector_if(self.post_norms, tensors, &name("post_ffw_norm.weight"), shape.dim)?;
        tensors.step();
        let gate = self.linear(tensors, &name("ffn_gate"), width, shape.dim)?;
        let up = self.linear(tensors, &name("ffn_up"), width, shape.dim)?;
        tensors.step();
        let down = self.linear(tensors, &name("ffn_down"), shape.dim, width)?;
        Ok(FeedForward { norm, gate, up, down, width, activation, post_norm })
    }

    fn channel(&self, tensors: &mut Tensors<'_>, layer: usize, feed: Feed) -> Result<Channel, ModelError> {
        match feed {
            Feed::Dense { width, activation } => {
                self.feed_forward(tensors, layer, width, activation).map(Channel::Dense)
            }
            Feed::Experts(mixture) => self.experts(tensors, layer, &mixture).map(Channel::Experts),
        }
    }

    /// All layers, in order; `feed` says what layer `i` does with each token, and `adjust` how its attention differs from the
    /// usual.
    fn layers(
        &self,
        tensors: &mut Tensors<'_>,
        feed: impl Fn(usize) -> Feed,
        adjust: impl Fn(usize, Attention) -> Attention,
    ) -> Result<Vec<Layer>, ModelError> {
        (0..self.shape.layers)
            .map(|i| {
                let mixer = match &self.recurrent {
                    Some(recurrent) if recurrent.layers[i] => {
                        Mixer::DeltaNet(self.delta_net(tensors, i, recurrent.shape)?)
                    }
                    _ => Mixer::Attention(adjust(i, self.attention(tensors, i)?)),
                };
                Ok(Layer { mixer, channel: self.channel(tensors, i, feed(i))? })
            })
            .collect()
    }

    /// The rest: norm and head, and the values that most architectures leave at their neutral.
    fn decoder(
        &self,
        architecture: &'static str,
        tensors: &mut Tensors<'_>,
        mut ropes: Vec<Rope>,
        layers: Vec<Layer>,
    ) -> Result<Decoder, ModelError> {
        let shape = self.shape;
        ropes[0].factors = tensors.vector_if_any("rope_freqs.weight", ropes[0].dims / 2)?;
        let final_norm = tensors.vector("output_norm.weight", shape.dim)?;
        let bias = tensors.vector_if_any("output.bias", shape.vocab)?;
        tensors.step();
        // A tied head is the embedding itself.
        let head = if tensors.has("output.weight") { "output.weight" } else { "token_embd.weight" };
        let head = Linear { weight: tensors.matrix(head, shape.vocab, shape.dim)?, bias };
        Ok(Decoder {
            architecture,
            shape,
            embedding_scale: 1.0,
            ropes,
            attention_scale: 1.0 / (shape.head_dim as f32).sqrt(),
            attention_softcap: None,
            layers,
            residual_scale: 1.0,
            final_norm,
            head,
            logit_scale: 1.0,
            logit_softcap: None,
        })
    }
}
