//! What each architecture has of its own: keys, and the tensors of its layers.

use super::blueprint::{ADDED, Content, Draft, Key, Routing};
use super::config::ShapeError;
use crate::kernels::experts::Groups;

impl Draft<'_> {
    /// Gated DeltaNet, every few layers gated attention, a shared expert.
    pub(super) fn qwen35(&mut self) -> Result<Option<Routing>, ShapeError> {
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

    pub(super) fn qwen3(&mut self) -> Result<Option<Routing>, ShapeError> {
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

    /// Attention to latents; the first layers are dense.
    pub(super) fn deepseek(&mut self) -> Result<Option<Routing>, ShapeError> {
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
            let even = count <= Groups::MOST as u64 && routing.experts.is_multiple_of(count) && chosen <= count;
            if !even || chosen * (routing.experts / count) < routing.chosen {
                let problem = format!("{chosen} of {count} groups of {} experts", routing.experts);
                return Err(ShapeError::Value { name: "n_group", problem });
            }
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

    /// Biases, sinks, windows.
    pub(super) fn gpt_oss(&mut self) -> Result<Option<Routing>, ShapeError> {
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

    /// Dense, or with experts (Mixtral). The matrices of a dense one may share their bytes as the experts of others may.
    pub(super) fn llama(&mut self) -> Result<Option<Routing>, ShapeError> {
        let config = self.config;
        let dim = config.hidden_size;
        let head = config.head_dim.unwrap_or(dim / config.num_attention_heads);
        let width = config.need("intermediate_size", config.intermediate_size)?;
        self.head_keys(head)?;
        self.key("rope.dimension_count", head);
        self.key("feed_forward_length", width);
        let routing = if config.model_type == "mixtral" { Some(self.routing(width, 0)?) } else { None };
        let first = self.tensors.len();
        for layer in 0..config.num_hidden_layers {
            self.attention(layer, head, false)?;
            self.vector(layer, "ffn_norm.weight", &[dim], 1.0);
            match &routing {
                Some(routing) => self.experts(layer, routing, width),
                None => self.dense(layer, "", width),
            }
        }
        if routing.is_none() {
            for tensor in &mut self.tensors[first..] {
                tensor.shared = matches!(tensor.content, Content::Random(_));
            }
        }
        Ok(routing)
    }
}
