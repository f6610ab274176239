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
const ADDED: f32 = 0.3;

struct Draft<'a> {
    config: &'a Config,
    /// Of matrices.
    ty: TensorType,
    /// Of experts.
    expert_ty: TensorType,
    keys: Vec<(&'static str, Key)>,
    tensors: Vec<Planned>,
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
            "deepseek_v3" => "deepseek2",
            "gpt_oss" => "gpt-oss",
            "llama" => "llama",
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

    /// Bytes of a planned tensor.
    pub fn bytes(planned: &Planned) -> Result<u64, String> {
        crate::gguf::tensor_size(planned.ty, &planned.dims)
    }
}

impl Draft<'_> {
    fn key(&mut self, name: &'static str, value: u64) {
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

    fn matrix(&mut self, layer: u64, part: &str, dims: &[u64], size: f32) -> &mut Planned {
        let ty = Self::fitting(self.ty, dims[0]);
        self.push(format!("blk.{layer}.{part}.weight"), ty, dims, Content::Random(size))
    }

    fn vector(&mut self, layer: u64, part: &str, dims: &[u64], value: f32) {
        self.push(format!("blk.{layer}.{part}"), TensorType::F32, dims, Content::Constant(value));
    }

    /// What all models have: sizes, embedding, head.
    fn common(&mut self) -> Result<(), ShapeError> {
        let config = self.config;
        let (dim, vocab) = (config.hidden_size, config.vocab_size);
        self.key("embedding_length", dim);
        self.key("block_count", config.num_hidden_layers);
        self.key("context_length", config.max_position_embeddings);
        self.key("attention.head_count", config.num_attention_heads);
        self.keys.push(("attention.layer_norm_rms_epsilon", Key::Number(config.rms_norm_eps)));
        let rope = config.rope_parameters.as_ref().or(config.rope_scaling.as_ref());
        if let Some(theta) = config.rope_theta.or(rope.and_then(|rope| rope.rope_theta)) {
            self.keys.push(("rope.freq_base", Key::Number(theta)));
        }
        if let Some(rope) = rope.filter(|rope| rope.rope_type.as_deref() == Some("yarn")) {
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
    fn attention(&mut self, layer: u64, head: u64, gated: bool) -> Result<(), ShapeError> {
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

    fn head_norms(&mut self, layer: u64, head: u64) {
        self.vector(layer, "attn_q_norm.weight", &[head], 1.0);
        self.vector(layer, "attn_k_norm.weight", &[head], 1.0);
    }

    /// Keys of heads of `head` elements.
    fn head_keys(&mut self, head: u64) -> Result<(), ShapeError> {
        let config = self.config;
        self.key("attention.head_count_kv", config.num_key_value_heads.unwrap_or(config.num_attention_heads));
        self.key("attention.key_length", head);
        self.key("attention.value_length", head);
        Ok(())
    }

    /// Keys of the experts, and how they are chosen; layers before `first` have none.
    fn routing(&mut self, width: u64, first: u64) -> Result<Routing, ShapeError> {
        let config = self.config;
        let experts = config.need("num_experts", config.num_experts)?;
        let chosen = config.need("num_experts_per_tok", config.num_experts_per_tok)?;
        self.key("expert_count", experts);
        self.key("expert_used_count", chosen);
        self.key("expert_feed_forward_length", width);
        Ok(Routing { experts, chosen, groups: None, layers: [first, config.num_hidden_layers] })
    }

    /// Router and experts.
    fn experts(&mut self, layer: u64, routing: &Routing, width: u64) {
        let dim = self.config.hidden_size;
        let router = Content::Router(layer);
        self.push(format!("blk.{layer}.ffn_gate_inp.weight"), TensorType::F32, &[dim, routing.experts], router);
        for (part, [cols, rows]) in [("gate", [dim, width]), ("up", [dim, width]), ("down", [width, dim])] {
            let (name, ty) = (format!("blk.{layer}.ffn_{part}_exps.weight"), Self::fitting(self.expert_ty, cols));
            self.push(name, ty, &[cols, rows, routing.experts], Content::Random(1.0)).shared = true;
        }
    }

    fn dense(&mut self, layer: u64, suffix: &str, width: u64) {
        let dim = self.config.hidden_size;
        self.matrix(layer, &format!("ffn_gate{suffix}"), &[dim, width], 1.0);
        self.matrix(layer, &format!("ffn_up{suffix}"), &[dim, width], 1.0);
        self.matrix(layer, &format!("ffn_down{suffix}"), &[width, dim], ADDED);
    }

    fn qwen35(&mut self) -> Result<Option<Routing>, ShapeError> {
        let config = self.config;
        let (dim, head) = (config.hidden_size, config.need("head_dim", config.head_dim)?);
        let need = |name, value| config.need(name, value);
        let (key_dim, keys) = (
            need("linear_key_head_dim", config.linear_key_head_dim)?,
            need("linear_num_key_heads", config.linear_num_key_heads)?,
        );
        let (value_dim, values) = (
            need("linear_value_head_dim", config.linear_value_head_dim)?,
            need("linear_num_value_heads", config.linear_num_value_heads)?,
        );
        let taps = need("linear_conv_kernel_dim", config.linear_conv_kernel_dim)?;
        let interval = need("full_attention_interval", config.full_attention_interval)?;
        let width = need("moe_intermediate_size", config.moe_intermediate_size)?;
        let shared = need("shared_expert_intermediate_size", config.shared_expert_intermediate_size)?;
        let (mixed, inner) = (2 * key_dim * keys + value_dim * values, value_dim * values);
        self.head_keys(head)?;
        let turned = config.rope_parameters.as_ref().and_then(|rope| rope.partial_rotary_factor).unwrap_or(1.0);
        self.key("rope.dimension_count", (head as f64 * turned) as u64);
        for (name, value) in [
            ("ssm.conv_kernel", taps),
            ("ssm.state_size", key_dim),
            ("ssm.group_count", keys),
            ("ssm.time_step_rank", values),
            ("ssm.inner_size", inner),
            ("full_attention_interval", interval),
            ("expert_shared_feed_forward_length", shared),
        ] {
            self.key(name, value);
        }
        let routing = self.routing(width, 0)?;
        for layer in 0..config.num_hidden_layers {
            if (layer + 1).is_multiple_of(interval) {
                self.attention(layer, head, true)?;
                self.head_norms(layer, head);
            } else {
                self.vector(layer, "attn_norm.weight", &[dim], 1.0);
                self.matrix(layer, "attn_qkv", &[dim, mixed], 1.0);
                self.matrix(layer, "attn_gate", &[dim, inner], 1.0);
                self.matrix(layer, "ssm_beta", &[dim, values], 1.0);
                self.matrix(layer, "ssm_alpha", &[dim, values], 1.0);
                self.vector(layer, "ssm_conv1d.weight", &[taps, mixed], 0.5);
                self.vector(layer, "ssm_a", &[values], -0.5);
                self.vector(layer, "ssm_dt.bias", &[values], 0.0);
                self.vector(layer, "ssm_norm.weight", &[value_dim], 1.0);
                self.matrix(layer, "ssm_out", &[inner, dim], ADDED);
            }
            self.vector(layer, "post_attention_norm.weight", &[dim], 1.0);
            self.experts(layer, &routing, width);
            self.vector(layer, "ffn_gate_inp_shexp.weight", &[dim], 0.0);
            self.dense(layer, "_shexp", shared);
        }
        Ok(Some(routing))
    }

    fn qwen3(&mut self) -> Result<Option<Routing>, ShapeError> {
        let config = self.config;
        let (dim, head) = (config.hidden_size, config.need("head_dim", config.head_dim)?);
        let width = config.need("moe_intermediate_size", config.moe_intermediate_size)?;
        self.head_keys(head)?;
        let routing = self.routing(width, 0)?;
        for layer in 0..config.num_hidden_layers {
            self.attention(layer, head, false)?;
            self.head_norms(layer, head);
            self.vector(layer, "ffn_norm.weight", &[dim], 1.0);
            self.experts(layer, &routing, width);
        }
        Ok(Some(routing))
    }

    fn deepseek(&mut self) -> Result<Option<Routing>, ShapeError> {
        let config = self.config;
        let need = |name, value| config.need(name, value);
        let (dim, heads) = (config.hidden_size, config.num_attention_heads);
        let short = need("q_lora_rank", config.q_lora_rank)?;
        let rank = need("kv_lora_rank", config.kv_lora_rank)?;
        let plain = need("qk_nope_head_dim", config.qk_nope_head_dim)?;
        let turned = need("qk_rope_head_dim", config.qk_rope_head_dim)?;
        let value = need("v_head_dim", config.v_head_dim)?;
        let width = need("moe_intermediate_size", config.moe_intermediate_size)?;
        let shared = config.n_shared_experts.unwrap_or(0);
        let dense_width = need("intermediate_size", config.intermediate_size)?;
        let first = config.first_k_dense_replace.unwrap_or(0).min(config.num_hidden_layers);
        let groups = config.n_group.zip(config.topk_group).filter(|(count, _)| *count > 1);
        for (name, value) in [
            ("attention.head_count_kv", 1),
            ("attention.q_lora_rank", short),
            ("attention.kv_lora_rank", rank),
            ("attention.key_length", rank + turned),
            ("attention.value_length", rank),
            ("attention.key_length_mla", plain + turned),
            ("attention.value_length_mla", value),
            ("rope.dimension_count", turned),
            ("feed_forward_length", dense_width),
            ("leading_dense_block_count", first),
            ("expert_shared_count", shared),
            ("expert_gating_func", 2),
        ] {
            self.key(name, value);
        }
        self.keys.push(("expert_weights_norm", Key::Flag(config.norm_topk_prob.unwrap_or(true))));
        self.keys.push(("expert_weights_scale", Key::Number(config.routed_scaling_factor.unwrap_or(1.0))));
        let mut routing = self.routing(width, first)?;
        if let Some((count, chosen)) = groups {
            self.key("expert_group_count", count);
            self.key("expert_group_used_count", chosen);
            routing.groups = Some([count, chosen]);
        }
        for layer in 0..config.num_hidden_layers {
            self.vector(layer, "attn_norm.weight", &[dim], 1.0);
            self.matrix(layer, "attn_q_a", &[dim, short], 1.0);
            self.vector(layer, "attn_q_a_norm.weight", &[short], 1.0);
            self.matrix(layer, "attn_q_b", &[short, heads * (plain + turned)], 1.0);
            self.matrix(layer, "attn_kv_a_mqa", &[dim, rank + turned], 1.0);
            self.vector(layer, "attn_kv_a_norm.weight", &[rank], 1.0);
            self.matrix(layer, "attn_k_b", &[plain, rank, heads], 1.0);
            self.matrix(layer, "attn_v_b", &[rank, value, heads], 1.0);
            self.matrix(layer, "attn_output", &[heads * value, dim], ADDED);
            self.vector(layer, "ffn_norm.weight", &[dim], 1.0);
            if layer < first {
                self.dense(layer, "", dense_width);
                continue;
            }
            self.experts(layer, &routing, width);
            self.vector(layer, "exp_probs_b.bias", &[routing.experts], 0.0);
            if shared > 0 {
                self.dense(layer, "_shexp", shared * width);
            }
        }
        Ok(Some(routing))
    }

    fn gpt_oss(&mut self) -> Result<Option<Routing>, ShapeError> {
        let config = self.config;
        let (dim, head) = (config.hidden_size, config.need("head_dim", config.head_dim)?);
        let width = config.need("intermediate_size", config.intermediate_size)?;
        let heads = config.num_attention_heads;
        self.head_keys(head)?;
        self.key("attention.sliding_window", config.need("sliding_window", config.sliding_window)?);
        let routing = self.routing(width, 0)?;
        let kv = head * config.num_key_value_heads.unwrap_or(heads);
        for layer in 0..config.num_hidden_layers {
            self.attention(layer, head, false)?;
            for (part, len) in [("q", heads * head), ("k", kv), ("v", kv), ("output", dim)] {
                self.vector(layer, &format!("attn_{part}.bias"), &[len], 0.0);
            }
            self.vector(layer, "attn_sinks.weight", &[heads], 0.0);
            self.vector(layer, "post_attention_norm.weight", &[dim], 1.0);
            self.experts(layer, &routing, width);
            self.vector(layer, "ffn_gate_inp.bias", &[routing.experts], 0.0);
            for (part, len) in [("gate", width), ("up", width), ("down", dim)] {
                self.vector(layer, &format!("ffn_{part}_exps.bias"), &[len, routing.experts], 0.0);
            }
        }
        Ok(Some(routing))
    }

    /// Dense: its matrices may share their bytes as the experts of others may.
    fn llama(&mut self) -> Result<Option<Routing>, ShapeError> {
        let config = self.config;
        let dim = config.hidden_size;
        let head = config.head_dim.unwrap_or(dim / config.num_attention_heads);
        let width = config.need("intermediate_size", config.intermediate_size)?;
        self.head_keys(head)?;
        self.key("rope.dimension_count", head);
        self.key("feed_forward_length", width);
        let first = self.tensors.len();
        for layer in 0..config.num_hidden_layers {
            self.attention(layer, head, false)?;
            self.vector(layer, "ffn_norm.weight", &[dim], 1.0);
            self.dense(layer, "", width);
        }
        for tensor in &mut self.tensors[first..] {
            tensor.shared = matches!(tensor.content, Content::Random(_));
        }
        Ok(None)
    }
}
