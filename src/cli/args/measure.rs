//! Words of the commands that measure, or look at what was measured: `bench`, `probe`, `report` and `replay`.

use std::path::PathBuf;

use clap::Args;
use forebay_infer::kernels::Isa;
use forebay_pager::Backend;
use forebay_prefetch::experts::ExpertPolicyKind;

use super::engine::EngineArgs;
use super::values::{parse_isa, parse_percent, parse_reads, parse_recall, parse_size};

/// What `forebay bench` tells.
const COLUMNS: &str = "\
Columns:\n  \
  bound        1 / max(flash, compute): the time to read the least at the rate of the flash, measured before and after; the time per \
token when everything is resident. Where memory does not hold the model, the flash alone\n  \
  efficiency   tokens/s of the bound\n  \
  least        bytes per token that the window makes unavoidable. Of what every token uses: what is longer than the window. \
Of experts: what remains of the window keeps, byte for byte, those that these very tokens will choose soonest (Belady, with \
bypass), and begins with the best of all that came up before the clock ran\n  \
  read         bytes per second of decoding\n  \
  busy         at least one read was in flight, of the time of decoding\n  \
  stalled      compute waited for a read, of the time of decoding\n  \
  misses       the flash's time, at the rate measured, for what was read and used (all but hints in vain), of the time of \
decoding\n  \
  loaded       experts of which pages were missing when their router had spoken; the others are hits\n  \
  ahead        experts that were read before their router had spoken, of all tokens of a round";

/// `forebay bench`
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub(crate) engine: EngineArgs,
    /// Windows to measure, in percent of the weights [default: 30,50,70]; or give one ceiling with --ram. To know the time of
    /// the kernels alone the whole model is resident once, whatever --ram says, if memory holds it.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', conflicts_with = "ram")]
    pub(crate) windows: Option<Vec<u32>>,
    /// Tokens per measurement.
    #[arg(short, long, default_value_t = 16, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) n: u32,
    /// Tokens of the prompt before [default: 8; with --resident 512].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) prompt_tokens: Option<u32>,
    /// Decode the tokens of this text instead of those that the model likes best: of a mixture of experts, what a real text asks
    /// for.
    #[arg(long, value_name = "FILE", conflicts_with = "resident")]
    pub(crate) text: Option<PathBuf>,
    /// Measure the kernels with all weights in memory instead: a prompt, and decoding behind each of --contexts.
    #[arg(long, conflicts_with_all = ["windows", "ram"])]
    pub(crate) resident: bool,
    /// Tokens in the context when decoding begins; with --resident.
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "0")]
    pub(crate) contexts: Vec<u32>,
    /// How often everything is measured, interleaved; medians are told.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `forebay probe`
#[derive(Debug, Args)]
pub(crate) struct ProbeArgs {
    /// A file of 64 MiB or more, which is only read; or a folder, in which files of 1 GiB and of some 50 MiB are made and removed.
    pub(crate) path: PathBuf,
    /// Write the profile to this file: it can be given wherever a device is asked for.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Threads that compute [default: the cores of this machine].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// How flash is read: auto, uring or pread.
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) backend: Backend,
    /// Instruction set: auto, portable or a level of this machine.
    #[arg(long, default_value = "auto", env = "FOREBAY_ISA", value_name = "NAME", value_parser = parse_isa)]
    pub(crate) isa: Isa,
    /// How often each point is measured, interleaved; medians are kept.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `forebay report` tells.
const REPORT: &str = "\
Figures are of decoding (of the prompt, where nothing was decoded). Shares are of its time:\n  \
  stalled    compute waited for a read\n  \
  computed   the rest: kernels, sampling, and what the program does for itself\n  \
  busy       at least one read of a page was in flight\n\
Pages, counted each time that their step uses them:\n  \
  kept       there since an earlier use\n  \
  ahead      read before they were needed, and there in time; with those kept, the hits\n  \
  late       read ahead, but when they came their step had begun or, of experts, their router had spoken\n  \
  demanded   read because they were missing\n\
Rows of the embedding, a few KiB per token, are in none of these but the stalls.";

/// `forebay report`
#[derive(Debug, Args)]
#[command(after_long_help = REPORT)]
pub(crate) struct ReportArgs {
    /// A timeline.
    pub(crate) timeline: PathBuf,
    /// The page to write [default: the timeline's name, with .html in place of its ending].
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) out: Option<PathBuf>,
    /// Print the figures as JSON instead.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `forebay replay`
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// A routing trace (`route_trace v1`).
    pub(crate) trace: PathBuf,
    /// Memory for experts, in slots of the largest expert.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, conflicts_with = "residency")]
    pub(crate) ram: Option<u64>,
    /// Percent of the experts that memory holds; several with commas.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "12.5,25,50", value_parser = parse_percent)]
    pub(crate) residency: Vec<f64>,
    /// Which policies, beside belady: forecast (ours: who stays), lookahead (the same, and experts of the coming layer are read
    /// ahead), popularity (a plain predictor), lru, lfu, clock [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) policies: Option<Vec<ExpertPolicyKind>>,
    /// Flash time of the lookahead: experts that can be read ahead per visit of a layer while the flash would idle, on
    /// average [default: a quarter of those that a layer chooses].
    #[arg(long, value_name = "READS", value_parser = parse_reads)]
    pub(crate) ahead: Option<f64>,
    /// Model the lookahead as one that names so much of what the router will choose (0 to 1), in place of what can be learnt
    /// from the routing. It peeks at the trace: this shows what such a lookahead is worth, not that there is one.
    #[arg(long, value_name = "RECALL", value_parser = parse_recall)]
    pub(crate) model_recall: Option<f32>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}
