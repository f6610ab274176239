//! The keys and tensors of a model of a given shape, by the names that llama.cpp's converter gives them.

use super::config::{Config, Rope, ShapeError};
use crate::gguf::TensorType;

/// What a tensor is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Content {
    /// The same number everywhere.
    Constant(f32),
    /// Drawn at random; a row turns an input of size 1 into an output of this size.
    Random(f32),
    /// See [`Parts::embed`](super::hidden::Parts::embed).
    Embedding,
    /// See [`Parts::ask`](super::hidden::Parts::ask).
    Head,
    /// The router of a layer.
    Router(u64),
}

/// A tensor to be made.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// How its elements are stored.
    pub ty: TensorType,
    /// Its dimensions; the first is the length of a row.
    pub dims: Vec<u64>,
    /// What is in it.
    pub content: Content,
    /// Whether it may share its bytes with others.
    pub shared: bool,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// A count.
    Count(u64),
    /// A number.
    Number(f32),
    /// Yes or no.
    Flag(bool),
    /// A word.
    Word(&'static str),
}

/// How a token's experts are chosen.
#[derive(Debug, Clone, Copy)]
pub struct Routing {
    /// How many there are.
    pub experts: u64,
    /// How many a token chooses.
    pub chosen: u64,
    /// Groups, and how many of them are chosen.
    pub groups: Option<[u64; 2]>,
    /// Layers with experts: the first, and the one behind the last.
    pub layers: [u64; 2],
}

/// Everything about a model but its numbers.
#[derive(Debug, Clone)]
pub struct Blueprint {
    /// The architecture's name.
    pub architecture: &'static str,
    /// Keys, without the architecture's name before them.
    pub keys: Vec<(&'static str, Key)>,
    /// Tensors, in the order of the file.
    pub tensors: Vec<Planned>,
    /// Elements of a hidden state.
    pub dim: u64,
    /// Layers.
    pub layers: u64,
    /// Tokens of the vocabulary.
    pub vocab: u64,
    /// Experts, if there are some.
    pub routing: Option<Routing>,
}

/// The size of what a block adds to the hidden state; `GROWTH` in [`super::hidden`] counts on two of these.
pub(super) const ADDED: f32 = 0.3;

/// A blueprint that is being drawn: what architectures share. What each has of its own is in `recipes.rs`.
pub(super) struct Draft<'a> {
    pub(super) config: &'a Config,
    /// Of matrices.
    ty: TensorType,
    /// Of experts.
    expert_ty: TensorType,
    pub(super) keys: Vec<(&'static str, Key)>,
    pub(super) tensors: Vec<Planned>,
}

impl Blueprint {
    /// Of a model of the shape `config`, whose matrices are of the type `ty`.
    ///
    /// # Errors
    /// When it is no kind of model that is synthesised, or a size is missing.
    pub fn new(config: &Config, ty: TensorType) -> Result<Self, ShapeError> {
        // As gpt-oss is published: these four bits for experts alone.
        let ty = if config.model_type == "gpt_oss" { TensorType::MXFP4 } else { ty };
        let (expert_ty, ty) = (ty, if ty == TensorType::MXFP4 { TensorType::Q8_0 } else { ty });
        let mut draft = Draft { config, ty, expert_ty, keys: Vec::new(), tensors: Vec::new() };
        let architecture = match config.model_type.as_str() {
            "qwen3_5_moe" | "qwen3_5_moe_text" => "qwen35moe",
            "qwen3_moe" => "qwen3moe",
            // Those after V3 choose which positions they attend to; the matrices by which they do are small, and left out.
            "deepseek_v3" | "deepseek_v32" | "kimi_k2" | "glm_moe_dsa" => "deepseek2",
            "gpt_oss" => "gpt-oss",
            "llama" | "mixtral" => "llama",
            other => return Err(ShapeError::Kind(other.to_owned())),
        };
        draft.common()?;
        let routing = match architecture {
            "qwen35moe" => draft.qwen35()?,
            "qwen3moe" => draft.qwen3()?,
            "deepseek2" => draft.deepseek()?,
            "gpt-oss" => draft.gpt_oss()?,
            _ => draft.llama()?,
        };
        Ok(Blueprint {
            architecture,
            keys: draft.keys,
            tensors: draft.tensors,
            dim: config.hidden_size,
            layers: config.num_hidden_layers,
            vocab: config.vocab_size,
            routing,
        })
    }
}

impl Draft<'_> {
    pub(super) fn key(&mut self, name: &'static str, value: u64) {
        self.keys.push((name, Key::Count(value)));
    }

    fn push(&mut self, name: String, ty: TensorType, dims: &[u64], content: Content) -> &mut Planned {
        self.tensors.push(Planned { name, ty, dims: dims.to_vec(), content, shared: false });
        self.tensors.last_mut().expect("just pushed")
    }

    /// The type of matrices with rows of `cols`: where they are no whole blocks of 256, blocks of 32.
    fn fitting(ty: TensorType, cols: u64) -> TensorType {
        match ty {
            TensorType::Q4_K if !cols.is_multiple_of(256) => TensorType::Q4_0,
            ty => ty,
        }
    }

    pub(super) fn matrix(&mut self, layer: u64, part: &str, dims: &[u64], size: f32) -> &mut Planned {
        let ty = Self::fitting(self.ty, dims[0]);
        self.push(format!("blk.{layer}.{part}.weight"), ty, dims, Content::Random(size))
    }

    pub(super) fn vector(&mut self, layer: u64, part: &str, dims: &[u64], value: f32) {
        self.push(format!("blk.{layer}.{part}"), TensorType::F32, dims, Content::Constant(value));
    }

    /// What all models have: sizes, embedding, head.
    fn common(&mut self) -> Result<(), ShapeError> {
        let config = self.config;
        let (dim, vocab) = (config.hidden_size, config.vocab_size);
        let kv_heads = config.num_key_value_heads.unwrap_or(config.num_attention_heads);
        if kv_heads == 0 || !config.num_attention_heads.is_multiple_of(kv_heads) {
            let problem = format!("{kv_heads} does not divide the {} heads", config.num_attention_heads);
            return Err(ShapeError::Value { name: "num_key_value_heads", problem });
        }
        self.key("embedding_length", dim);
        self.key("block_count", config.num_hidden_layers);
        self.key("context_length", config.max_position_embeddings);
        self.key("attention.head_count", config.num_attention_heads);
        self.keys.push(("attention.layer_norm_rms_epsilon", Key::Number(config.rms_norm_eps)));
        let rope = config.rope_parameters.as_ref().or(config.rope_scaling.as_ref());
        if let Some(theta) = config.rope_theta.or(rope.and_then(|rope| rope.rope_theta)) {
            self.keys.push(("rope.freq_base", Key::Number(theta)));
        }
        let kind = |rope: &Rope| rope.rope_type.clone().or(rope.old_type.clone());
        if let Some(rope) = rope.filter(|rope| kind(rope).as_deref() == Some("yarn")) {
            self.yarn(rope);
        }
        self.push("token_embd.weight".into(), TensorType::Q8_0, &[dim, vocab], Content::Embedding);
        self.push("output_norm.weight".into(), TensorType::F32, &[dim], Content::Constant(1.0));
        if !config.tie_word_embeddings {
            self.push("output.weight".into(), Self::fitting(self.ty, dim), &[dim, vocab], Content::Head);
        }
        Ok(())
    }

    fn yarn(&mut self, rope: &Rope) {
        self.keys.push(("rope.scaling.type", Key::Word("yarn")));
        self.keys.push(("rope.scaling.factor", Key::Number(rope.factor.unwrap_or(1.0))));
        self.key("rope.scaling.original_context_length", rope.original_max_position_embeddings.unwrap_or(4096).into());
        if let Some(scale) = rope.mscale_all_dim {
            self.keys.push(("rope.scaling.yarn_log_multiplier", Key::Number(0.1 * scale)));
        }
    }

    /// Attention with heads of `head` elements; gated where queries bring gates along.
    pub(super) fn attention(&mut self, layer: u64, head: u64, gated: bool) -> Result<(), ShapeError> {
        let config = self.config;
        let dim = config.hidden_size;
        let heads = config.num_attention_heads;
        let kv = head * config.num_key_value_heads.unwrap_or(heads);
        self.vector(layer, "attn_norm.weight", &[dim], 1.0);
        let queries = heads * head;
        self.matrix(layer, "attn_q", &[dim, if gated { 2 * queries } else { queries }], 1.0);
        self.matrix(layer, "attn_k", &[dim, kv], 1.0);
        self.matrix(layer, "attn_v", &[dim, kv], 1.0);
        self.matrix(layer, "attn_output", &[queries, dim], ADDED);
        Ok(())
    }

    pub(super) fn head_norms(&mut self, layer: u64, head: u64) {
        self.vector(layer, "attn_q_norm.weight", &[head], 1.0);
        self.vector(layer, "attn_k_norm.weight", &[head], 1.0);
    }

    /// Keys of heads of `head` elements.
    pub(super) fn head_keys(&mut self, head: u64) -> Result<(), ShapeError> {
        let config = self.config;
        self.key("attention.head_count_kv", config.num_key_value_heads.unwrap_or(config.num_attention_heads));
        self.key("attention.key_length", head);
        self.key("attention.value_length", head);
        Ok(())
    }

    /// Keys of the experts, and how they are chosen; layers before `first` have none.
    pub(super) fn routing(&mut self, width: u64, first: u64) -> Result<Routing, ShapeError> {
        let config = self.config;
        let named = config.num_experts.or(config.num_local_experts).or(config.n_routed_experts);
        let experts = config.need("num_experts", named)?;
        let chosen = config.need("num_experts_per_tok", config.num_experts_per_tok)?;
        if chosen > experts {
            let problem = format!("{chosen} of {experts} experts");
            return Err(ShapeError::Value { name: "num_experts_per_tok", problem });
        }
        self.key("expert_count", experts);
        self.key("expert_used_count", chosen);
        self.key("expert_feed_forward_length", width);
        Ok(Routing { experts, chosen, groups: None, layers: [first, config.num_hidden_layers] })
    }

    /// Router and experts.
    pub(super) fn experts(&mut self, layer: u64, routing: &Routing, width: u64) {
        let dim = self.config.hidden_size;
        let router = Content::Router(layer);
        self.push(format!("blk.{layer}.ffn_gate_inp.weight"), TensorType::F32, &[dim, routing.experts], router);
        for (part, [cols, rows]) in [("gate", [dim, width]), ("up", [dim, width]), ("down", [width, dim])] {
            let (name, ty) = (format!("blk.{layer}.ffn_{part}_exps.weight"), Self::fitting(self.expert_ty, cols));
            self.push(name, ty, &[cols, rows, routing.experts], Content::Random(1.0)).shared = true;
        }
    }

    pub(super) fn dense(&mut self, layer: u64, suffix: &str, width: u64) {
        let dim = self.config.hidden_size;
        self.matrix(layer, &format!("ffn_gate{suffix}"), &[dim, width], 1.0);
        self.matrix(layer, &format!("ffn_up{suffix}"), &[dim, width], 1.0);
        self.matrix(layer, &format!("ffn_down{suffix}"), &[width, dim], ADDED);
    }
}
