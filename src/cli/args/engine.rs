//! What every command that runs a model asks: which model, in how much memory, and how tokens are chosen.

use clap::Args;
use forebay_infer::kernels::{Isa, KvType};
use forebay_pager::Backend;
use forebay_prefetch::{Lookahead, PolicyKind};
use forebay_simulator::flash::IssuingCore;

use super::values::{parse_bias, parse_isa, parse_page, parse_size};

/// Which model, in how much memory, by which means.
#[derive(Debug, Args)]
pub(crate) struct EngineArgs {
    /// A GGUF file (of a split model, any part), or the name of a model that `forebay fetch --list` shows
    /// [default: smollm2-135m-instruct, fetched when it is not there].
    pub(crate) model: Option<String>,
    /// Ceiling of the whole process: window, KV cache, activations, tokenizer and code [default: three quarters of the
    /// memory at hand].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) ram: Option<u64>,
    /// Tokens that the KV cache holds [default: run and bench, what the prompt and -n need; chat, 4096 if a
    /// quarter of the ceiling pays for it; plan, 2048].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ctx: Option<u32>,
    /// How the KV cache is kept: f16; q8_0 in 53 % of the memory, at the price of rounding keys and values to 8 bits, which
    /// changes the logits a little; or f32 in twice the memory, which rounds nothing.
    #[arg(long, default_value_t = KvType::F16, value_name = "TYPE")]
    pub(crate) kv_type: KvType,
    /// Threads that compute [default: the cores of this machine].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// How flash is read: auto, uring, pread or mmap (a baseline: its page cache comes on top of the ceiling).
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) backend: Backend,
    /// Reads in flight. More than the flash needs only takes frames from the resident set.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) depth: u16,
    /// Length of a page, about [default: chosen from the model and the window].
    #[arg(long, value_name = "SIZE", value_parser = parse_page)]
    pub(crate) page: Option<u64>,
    /// Who leaves when a frame is wanted: forecast, lru, lfu or clock.
    #[arg(long, default_value = "forecast", value_name = "NAME")]
    pub(crate) policy: PolicyKind,
    /// Do not read ahead.
    #[arg(long)]
    pub(crate) no_prefetch: bool,
    /// Which experts are read before their router has spoken, behind all that is sure to be needed: off, none; learnt, those that tokens
    /// routed alike chose; router, those and what the next layer's router says of the present hidden state, if it is in memory.
    #[arg(long, default_value_t = Lookahead::default(), value_name = "NAME")]
    pub(crate) lookahead: Lookahead,
    /// Instruction set: auto, portable or a level of this machine.
    #[arg(long, default_value = "auto", env = "FOREBAY_ISA", value_name = "NAME", value_parser = parse_isa)]
    pub(crate) isa: Isa,
}

/// On whose flash.
#[derive(Debug, Args)]
pub(crate) struct DeviceArgs {
    /// Read at the pace of this device (see `forebay devices`; or the path of a profile): each read comes when that device would
    /// have brought it, unless this machine's flash is slower.
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// The capacity of the device in GB, where it comes with several [default: that of the profile].
    #[arg(long, value_name = "GB", requires = "device", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) capacity: Option<u32>,
    /// The kind of core that asks for reads, big or small: a small one is slower than the commands of a phone's flash.
    #[arg(long, default_value_t, value_name = "KIND", requires = "device")]
    pub(crate) core: IssuingCore,
    /// Let virtual time pass instead, for reads and for compute, as on the device: the text is real, and all times told are the
    /// device's.
    #[arg(long, requires = "device")]
    pub(crate) r#virtual: bool,
}

/// How the next token is chosen.
#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temp: f32,
    /// Only the K likeliest tokens; 0 for all.
    #[arg(long, default_value_t = 40, value_name = "K")]
    pub(crate) top_k: u32,
    /// Only the likeliest tokens that make up this share.
    #[arg(long, default_value_t = 0.95, value_name = "P")]
    pub(crate) top_p: f32,
    /// Only tokens at least this likely, relative to the likeliest.
    #[arg(long, default_value_t = 0.05, value_name = "P")]
    pub(crate) min_p: f32,
    /// Divides the logits of tokens seen lately; 1 for none.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub(crate) repeat_penalty: f32,
    /// Subtracted once from the logits of tokens seen lately.
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub(crate) presence_penalty: f32,
    /// Subtracted from the logits of tokens seen lately, once per time seen.
    #[arg(long, default_value_t = 0.0, value_name = "X", allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f32,
    /// How many tokens back "lately" is.
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) repeat_last_n: u32,
    /// Added to the logit of a token: TOKEN=X, and again for more.
    #[arg(long, value_name = "TOKEN=X", value_parser = parse_bias, allow_hyphen_values = true)]
    pub(crate) logit_bias: Vec<(u32, f32)>,
    /// Same seed, same text [default: taken from the clock].
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Stop before this text; again for more.
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
}
