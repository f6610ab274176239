//! Words of `simulate` and of what it asks for: cases and devices.

use std::path::PathBuf;

use clap::Args;
use forebay_prefetch::{Lookahead, PolicyKind};
use forebay_simulator::EngineKind;
use forebay_simulator::flash::IssuingCore;
use forebay_simulator::size::Size;

use super::values::parse_share;

/// A case to simulate.
#[derive(Debug, Args)]
pub(crate) struct CaseArgs {
    /// The device: one that `forebay devices` lists, or the path of a profile.
    #[arg(long, value_name = "NAME")]
    pub(crate) device: String,
    /// The capacity of the device in GB, where it comes with several [default: that of the profile].
    #[arg(long, value_name = "GB")]
    pub(crate) capacity: Option<u32>,
    /// The kind of core that asks for reads, big or small: a small one is slower than the commands of a phone's flash.
    #[arg(long, default_value_t, value_name = "KIND")]
    pub(crate) core: IssuingCore,
    /// The model: a shape as for `forebay synth`, a GGUF file (its header is enough), or a config.json.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: String,
    /// How the weights of a shape are stored: q4_k_m, q4_k, q4_0, q8_0, f16 or mxfp4 (of experts, and q8_0 else; gpt-oss is always
    /// that) [default: q4_k].
    #[arg(long, value_name = "TYPE")]
    pub(crate) quant: Option<String>,
    /// Ceiling of the whole process [default: what the device lets an app have].
    #[arg(long, value_name = "SIZE")]
    pub(crate) ram: Option<Size>,
    /// Length of the window, instead of a ceiling.
    #[arg(long, value_name = "SIZE", conflicts_with = "ram")]
    pub(crate) window: Option<Size>,
    /// Tokens to decode.
    #[arg(long, short = 'n', default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) tokens: u32,
    /// Tokens of the prompt before.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) prompt: u32,
    /// Positions of the KV cache [default: those of prompt and tokens].
    #[arg(long, value_name = "N")]
    pub(crate) ctx: Option<u32>,
    /// How the KV cache is kept.
    #[arg(long, default_value = "f16", value_name = "TYPE")]
    pub(crate) kv_type: String,
    /// Reads in flight.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) depth: u16,
    /// Length of a page, about [default: chosen from the model and the window].
    #[arg(long, value_name = "SIZE")]
    pub(crate) page: Option<Size>,
    /// Experts that a token chooses [default: as many as the model does].
    #[arg(long, value_name = "K")]
    pub(crate) experts_chosen: Option<u32>,
    /// Take the routing from this trace (of `run --trace-out`, or any `route_trace v1`); it is drawn otherwise.
    #[arg(long, value_name = "FILE")]
    pub(crate) routing: Option<PathBuf>,
    /// Of what a router will choose, how much it names when it is asked a layer early (0 to 1), where routing is drawn.
    #[arg(long, default_value_t = 0.8, value_name = "X", value_parser = parse_share)]
    pub(crate) recall: f64,
    /// Who leaves when a frame is wanted: forecast, lru, lfu or clock.
    #[arg(long, default_value = "forecast", value_name = "NAME")]
    pub(crate) policy: PolicyKind,
    /// Which experts are read before their router has spoken: off, learnt or router.
    #[arg(long, default_value_t = Lookahead::default(), value_name = "NAME")]
    pub(crate) lookahead: Lookahead,
    /// Same seed, same simulation.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
    /// Whose way of reading: forebay, or serial, an engine that keeps in memory what every token needs, reads the missing experts of
    /// a layer with --depth threads, waits for all of them, and computes then.
    #[arg(long, default_value = "forebay", value_name = "NAME")]
    pub(crate) engine: EngineKind,
    /// Of the serial engine: memory for experts, of which the least recently used leaves [default: none].
    #[arg(long, value_name = "SIZE")]
    pub(crate) cache: Option<Size>,
}

/// What `forebay simulate` tells.
const FIGURES: &str = "\
Figures, each as worst .. nominal .. best:\n  \
  worst        every figure of the profile at its pessimistic edge, and a device that is warm when the run begins\n  \
  nominal      the profile's values, and a device at rest\n  \
  best         every figure at its optimistic edge\n  \
Where the profile's values, or the other edge, give less than the pessimistic edge, that is the worst, and so for the best: a slow device \
may stall least, as its compute is slow, too. Until it slows down is counted \
from rest, at the mean load of decoding.\n\
The pager, the scheduler and the policies are those of a real run. What stands behind a figure of a profile, and how sure it is: \
`forebay devices NAME`.";

/// `forebay simulate`
#[derive(Debug, Args)]
#[command(after_long_help = FIGURES)]
pub(crate) struct SimulateArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) case: CaseArgs,
    /// Write what happened while decoding, at the profile's values, to FILE: a trace, as of `forebay run --timeline`.
    #[arg(long, value_name = "FILE")]
    pub(crate) timeline: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `forebay devices` lists.
const DEVICE_COLUMNS: &str = "\
Columns:\n  \
  measured     figures of the profile that somebody measured, or that were fitted to measurements; the others are the maker's or \
estimates\n  \
  misses by    the simulated sweep of sizes and depths against the measured one: the mean of the errors, and the largest; - where no \
sweep is known. Where it was one point, or the figures were set by it, it says little";

/// `forebay devices`
#[derive(Debug, Args)]
#[command(after_long_help = DEVICE_COLUMNS)]
pub(crate) struct DevicesArgs {
    /// Show all figures of this one: its name, or the path of a profile.
    pub(crate) name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
