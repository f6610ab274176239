//! What a model is like, as the `config.json` beside its weights says it.

use serde::Deserialize;

/// The shapes that come with forebay: name, and the sizes out of the `config.json` that the model was published with.
pub const SHAPES: [(&str, &str); 5] = [
    ("qwen3.5-397b-a17b", include_str!("shapes/qwen3.5-397b-a17b.json")),
    ("qwen3-235b-a22b", include_str!("shapes/qwen3-235b-a22b.json")),
    ("deepseek-v3", include_str!("shapes/deepseek-v3.json")),
    ("gpt-oss-120b", include_str!("shapes/gpt-oss-120b.json")),
    ("llama-3.1-405b", include_str!("shapes/llama-3.1-405b.json")),
];

/// Why a shape cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// No shape of that name comes with forebay.
    #[error("there is no shape '{name}'; there are {}, and any config.json by its path", known())]
    Unknown {
        /// The name.
        name: String,
    },
    /// Not a `config.json` that says what is needed.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// A kind of model that is not synthesised.
    #[error(
        "model_type is '{0}'; known are qwen3_5_moe, qwen3_moe, mixtral, deepseek_v3, deepseek_v32, kimi_k2, glm_moe_dsa, gpt_oss \
         and llama"
    )]
    Kind(String),
    /// Something is missing, or makes no sense.
    #[error("{name}: {problem}")]
    Value {
        /// The name in the file.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

fn known() -> String {
    SHAPES.map(|(name, _)| name).join(", ")
}

/// The sizes of a model, by the names that `config.json` has for them.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the file's own.
pub struct Config {
    pub model_type: String,
    pub hidden_size: u64,
    pub num_hidden_layers: u64,
    pub num_attention_heads: u64,
    pub num_key_value_heads: Option<u64>,
    pub head_dim: Option<u64>,
    pub intermediate_size: Option<u64>,
    pub vocab_size: u64,
    pub rms_norm_eps: f32,
    pub max_position_embeddings: u64,
    pub rope_theta: Option<f32>,
    pub rope_parameters: Option<Rope>,
    pub rope_scaling: Option<Rope>,
    #[serde(default)]
    pub tie_word_embeddings: bool,
    pub num_experts: Option<u64>,
    pub num_local_experts: Option<u64>,
    pub n_routed_experts: Option<u64>,
    pub num_experts_per_tok: Option<u64>,
    pub moe_intermediate_size: Option<u64>,
    pub shared_expert_intermediate_size: Option<u64>,
    pub n_shared_experts: Option<u64>,
    pub first_k_dense_replace: Option<u64>,
    pub n_group: Option<u64>,
    pub topk_group: Option<u64>,
    pub routed_scaling_factor: Option<f32>,
    pub norm_topk_prob: Option<bool>,
    pub q_lora_rank: Option<u64>,
    pub kv_lora_rank: Option<u64>,
    pub qk_nope_head_dim: Option<u64>,
    pub qk_rope_head_dim: Option<u64>,
    pub v_head_dim: Option<u64>,
    pub linear_conv_kernel_dim: Option<u64>,
    pub linear_key_head_dim: Option<u64>,
    pub linear_num_key_heads: Option<u64>,
    pub linear_num_value_heads: Option<u64>,
    pub linear_value_head_dim: Option<u64>,
    pub full_attention_interval: Option<u64>,
    pub sliding_window: Option<u64>,
}

/// Rotary positions.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the file's own.
pub struct Rope {
    pub rope_type: Option<String>,
    #[serde(rename = "type")]
    pub old_type: Option<String>,
    pub rope_theta: Option<f32>,
    pub factor: Option<f32>,
    pub partial_rotary_factor: Option<f64>,
    pub original_max_position_embeddings: Option<u32>,
    pub mscale_all_dim: Option<f32>,
}

impl Config {
    /// One of [`SHAPES`].
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn named(name: &str) -> Result<Self, ShapeError> {
        let shape = SHAPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, json) = shape.ok_or_else(|| ShapeError::Unknown { name: name.to_owned() })?;
        Self::from_json(json)
    }

    /// What a `config.json` says; of a model that also sees, its language model.
    ///
    /// # Errors
    /// When it is no such file, a size is missing, or a size makes no sense.
    pub fn from_json(json: &str) -> Result<Self, ShapeError> {
        #[derive(Deserialize)]
        struct Outer {
            text_config: Option<serde_json::Value>,
        }
        let outer: Outer = serde_json::from_str(json)?;
        let config: Config = match outer.text_config {
            Some(text) => serde_json::from_value(text)?,
            None => serde_json::from_str(json)?,
        };
        for (name, value) in [
            ("hidden_size", config.hidden_size),
            ("num_hidden_layers", config.num_hidden_layers),
            ("num_attention_heads", config.num_attention_heads),
            ("vocab_size", config.vocab_size),
        ] {
            if !(1..=1 << 24).contains(&value) {
                return Err(ShapeError::Value { name, problem: format!("{value} is not a size of a model") });
            }
        }
        Ok(config)
    }

    /// A size that this kind of model must have.
    pub(super) fn need(&self, name: &'static str, value: Option<u64>) -> Result<u64, ShapeError> {
        match value {
            Some(value) if (1..=1 << 24).contains(&value) => Ok(value),
            Some(value) => Err(ShapeError::Value { name, problem: format!("{value} is not a size of a model") }),
            None => Err(ShapeError::Value { name, problem: format!("missing, which {} needs", self.model_type) }),
        }
    }
}
