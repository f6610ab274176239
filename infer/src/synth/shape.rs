//! A blueprint as the description of a model, without a file: to plan and to simulate with.

use super::blueprint::Blueprint;
use super::config::{Config, ShapeError};
use super::file::{SynthError, keys};
use crate::gguf::{self, TensorType};
use crate::model::{ModelError, ModelMap};

/// Why a shape is no model.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// It is no shape.
    #[error(transparent)]
    Synth(#[from] SynthError),
    /// It is none that can be run.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<ShapeError> for DescribeError {
    fn from(error: ShapeError) -> Self {
        SynthError::from(error).into()
    }
}

/// How the weights of a shape are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quant {
    /// All matrices in one type.
    Plain(TensorType),
    /// As llama.cpp's mix of this name: Q4_K, and Q6_K for the head and, in half of the layers, for values and down projections.
    Q4KM,
}

impl std::str::FromStr for Quant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("q4_k_m") {
            return Ok(Quant::Q4KM);
        }
        let types = super::blocks::TYPES;
        let named = types.iter().find(|ty| ty.to_string().eq_ignore_ascii_case(text) && **ty != TensorType::F32);
        let plain = named.copied().map(Quant::Plain);
        plain.ok_or_else(|| format!("'{text}' is not among q4_k_m, q4_k, q4_0, q8_0, f16 and mxfp4"))
    }
}

/// The model of the shape `config`, as its file would describe it.
///
/// # Errors
/// When it is no shape of a model that can be run.
pub fn describe(config: &Config, quant: Quant, name: &str) -> Result<ModelMap, DescribeError> {
    let ty = match quant {
        Quant::Plain(ty) => ty,
        Quant::Q4KM => TensorType::Q4_K,
    };
    let mut blueprint = Blueprint::new(config, ty)?;
    if quant == Quant::Q4KM {
        more_bits(&mut blueprint);
    }
    let (mut writer, mut bytes) = (keys(&blueprint, name), 0);
    for planned in &blueprint.tensors {
        let wrong = |problem| SynthError::Tensor { name: planned.name.clone(), problem };
        bytes += gguf::tensor_size(planned.ty, &planned.dims).map_err(wrong)?.next_multiple_of(32);
        writer.tensor(&planned.name, planned.ty, &planned.dims);
    }
    let mut header = Vec::new();
    drop(writer.begin(&mut header).map_err(SynthError::from)?);
    let file_len = header.len() as u64 + bytes;
    let model = gguf::Model::from_header(header, file_len, name).map_err(ModelError::from)?;
    Ok(ModelMap::new(&model)?)
}

/// Gives some tensors of Q4_K six bits: the rule is that of llama.cpp's `llama_tensor_get_type` for Q4_K_M, which where rows are
/// no whole blocks of 256 takes Q5_0 and Q8_0 for Q4_K and Q6_K.
fn more_bits(blueprint: &mut Blueprint) {
    let layers = blueprint.layers;
    let in_layer = |layer: u64| layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
    let is_chosen = |name: &str| {
        let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
            return name == "output.weight";
        };
        (part.starts_with("attn_v.") || part.starts_with("ffn_down")) && layer.parse().is_ok_and(in_layer)
    };
    for planned in &mut blueprint.tensors {
        planned.ty = match (planned.ty, is_chosen(&planned.name)) {
            (TensorType::Q4_K, true) => TensorType::Q6_K,
            (TensorType::Q4_0, true) => TensorType::Q8_0,
            (TensorType::Q4_0, false) => TensorType::Q5_0,
            (ty, _) => ty,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::SHAPES;

    #[test]
    fn every_shape_is_a_model_and_q4_k_m_is_a_little_larger() {
        for (name, json) in SHAPES {
            let config = Config::from_json(json).unwrap();
            let bytes = |quant| {
                let (dense, experts) = describe(&config, quant, name).unwrap().dense_and_expert_bytes();
                (dense + experts) as f64
            };
            let ratio = bytes(Quant::Q4KM) / bytes(Quant::Plain(TensorType::Q4_K));
            let expected = if name == "gpt-oss-120b" { 1.0..=1.0 } else { 1.05..=1.12 };
            assert!(expected.contains(&ratio), "{name}: {ratio}");
        }
    }

    #[test]
    fn kinds_that_are_like_others_have_the_size_that_their_names_say() {
        let mixtral = r#"{ "model_type": "mixtral", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000, "rms_norm_eps": 1e-5,
            "max_position_embeddings": 32768, "num_local_experts": 8, "num_experts_per_tok": 2 }"#;
        let kimi = r#"{ "model_type": "kimi_k2", "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 64,
            "num_key_value_heads": 64, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
            "v_head_dim": 128, "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 384,
            "num_experts_per_tok": 8, "n_shared_experts": 1, "first_k_dense_replace": 1, "vocab_size": 163840,
            "rms_norm_eps": 1e-6, "max_position_embeddings": 131072 }"#;
        for (json, billions, chosen) in [(mixtral, 46.7, 2), (kimi, 1026.0, 8)] {
            let config = Config::from_json(json).unwrap();
            let map = describe(&config, Quant::Plain(TensorType::F16), &config.model_type).unwrap();
            let (dense, experts) = map.dense_and_expert_bytes();
            let weights = (dense + experts) as f64 / 2.0 + (config.vocab_size * config.hidden_size) as f64;
            assert!((weights / 1e9 / billions - 1.0).abs() < 0.01, "{}: {weights:e}", config.model_type);
            assert!(map.decoder.experts().all(|e| e.router.chosen == chosen));
        }
    }
}
