//! Words of the commands about models: what is in them, where they come from, and how they would be divided.

use std::path::PathBuf;

use clap::Args;
use forebay_infer::gguf::TensorType;

use super::engine::EngineArgs;
use super::values::{parse_quant, parse_size};

/// `forebay inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A GGUF file, or the name of a model that `forebay fetch --list` shows.
    pub(crate) model: Option<String>,
    /// List every tensor.
    #[arg(long)]
    pub(crate) tensors: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `forebay plan`
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) engine: EngineArgs,
    /// Do not measure this machine: show the division only.
    #[arg(long)]
    pub(crate) no_measure: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `forebay fetch`
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// The model's name [default: smollm2-135m-instruct].
    pub(crate) name: Option<String>,
    /// List what can be fetched.
    #[arg(long)]
    pub(crate) list: bool,
}

/// A model to make.
#[derive(Debug, Args)]
pub(crate) struct SynthArgs {
    /// qwen3.5-397b-a17b, qwen3-235b-a22b, deepseek-v3, gpt-oss-120b, llama-3.1-405b, or the path of a config.json.
    #[arg(long, value_name = "NAME")]
    pub(crate) shape: String,
    /// How large the file may be. Of a larger model, the matrices of experts share what is left (of a dense one, all matrices of
    /// its layers): the reads and the work of a token are those of the model all the same.
    #[arg(long, default_value = "40GiB", value_name = "SIZE", value_parser = parse_size)]
    pub(crate) disk: u64,
    /// How weights are stored: q4_k, q4_0, q8_0, f16 or mxfp4 (of experts, and q8_0 else). gpt-oss is always mxfp4.
    #[arg(long, default_value = "q4_k", value_name = "TYPE", value_parser = parse_quant)]
    pub(crate) quant: TensorType,
    /// Another seed gives other weights.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Replace OUT if it is there.
    #[arg(long)]
    pub(crate) force: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// The GGUF file to make.
    pub(crate) out: PathBuf,
}
