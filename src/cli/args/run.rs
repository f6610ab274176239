//! Words of the commands that write text: `run` and `chat`.

use std::path::PathBuf;

use clap::Args;

use super::engine::{DeviceArgs, EngineArgs, SamplingArgs};

/// What `--stats` tells, and `--json` with it.
const STATISTICS: &str = "\
Statistics are of decoding, but for those of the prompt. Shares are of its time:\n  \
  busy       at least one read was in flight\n  \
  stalled    compute waited for a read; a stall is one such wait\n  \
  misses     what was read and used: all that was read but hints in vain. Their flash time is what the flash takes for them at \
the rate that it had while busy (`forebay bench` measures that by itself)\n\
Of experts, each counted once for a layer and pass (a token, or a chunk of a prompt):\n  \
  needed     those chosen\n  \
  loaded     of these, those of which pages were missing when their router had spoken; the others are hits\n  \
  read       in a chunk: reads of an expert that were started, hints included; it counts again when one of its pages does";

/// `forebay run`
#[derive(Debug, Args)]
#[command(after_long_help = STATISTICS)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) sampling: SamplingArgs,
    /// The prompt.
    #[arg(short, long, value_name = "TEXT", required_unless_present = "file")]
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file; `-` for standard input.
    #[arg(short, long, value_name = "PATH", conflicts_with = "prompt")]
    pub(crate) file: Option<PathBuf>,
    /// Tokens to write at most.
    #[arg(short, long, default_value_t = 256, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) n: u32,
    /// What the model is told before the prompt.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    pub(crate) system: Option<String>,
    /// Continue the prompt as it is, without the model's chat template.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Go on after the end-of-text token.
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Print statistics on standard error (`--help` tells what is counted).
    #[arg(long)]
    pub(crate) stats: bool,
    /// Keep in FILE what the model makes of the prompt, and read only what FILE does not know of it. The text is the same. After
    /// the prompt FILE is written anew, unless all of the prompt was in it. A prompt that goes on from the one in FILE reuses
    /// all of that one; another that begins like it reuses the common beginning, but not of models with recurrent layers, nor
    /// with sliding windows that have moved on. FILE contains the prompt, and belongs to the model and the type of the KV cache.
    #[arg(long, value_name = "FILE", conflicts_with = "trace_out")]
    pub(crate) prompt_cache: Option<PathBuf>,
    /// Record what the routers choose, as a routing trace that `forebay replay` reads.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace_out: Option<PathBuf>,
    /// Keep a journal of the run and write it to FILE as a trace, which Perfetto and chrome://tracing open, and `forebay report`. The
    /// text is the same. The journal's memory is part of the ceiling: at most 24 MB, and a sixteenth of it.
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    /// Print one JSON object instead of the text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `forebay chat`
#[derive(Debug, Args)]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) device: DeviceArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) sampling: SamplingArgs,
    /// What the model is told before the conversation.
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// Tokens of one answer at most.
    #[arg(short, long, default_value_t = 1024, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) n: u32,
}
