//! The command line's words.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use forebay_infer::gguf::TensorType;
use forebay_infer::kernels::{Isa, KvType};
use forebay_pager::Backend;
use forebay_prefetch::experts::ExpertPolicyKind;
use forebay_prefetch::{Lookahead, PolicyKind};
use forebay_simulator::flash::IssuingCore;
use forebay_simulator::settings::Setting;
use forebay_simulator::size::{NoSize, Size};
use forebay_simulator::sweep::Axis;
use forebay_simulator::target::{Edge, Target};
use forebay_simulator::{EngineKind, Metric};

/// Run language models bigger than memory: the weights are streamed from flash through a bounded window.
#[derive(Debug, Parser)]
#[command(
    name = "forebay",
    version,
    after_help = "Results go to standard output, everything else to standard error.\n\
        Exit codes: 0 done; 1 something failed while running; 2 the command line is wrong; 3 the ceiling (--ram) or the \
        context is too small; 4 the model file (or trace, timeline, or prompt cache) is damaged or of a kind that is not supported, or \
        the prompt cache is of another model; 5 the flash failed to deliver; 6 a model could not be fetched; \
        7 a budget is missed.\n\
        FOREBAY_LOG sets what is logged (warn, info, debug; default warn), FOREBAY_CACHE where fetched models are kept."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Continue a prompt.
    Run(RunArgs),
    /// Talk with a model. When the conversation no longer fits the context its oldest turns are forgotten, and that is said.
    Chat(ChatArgs),
    /// Show what is in a model file.
    Inspect(InspectArgs),
    /// Show how a ceiling would be divided, and the tokens per second to expect from this machine's flash and memory.
    Plan(PlanArgs),
    /// Measure streamed decoding against its bound, with the flash measured in the same run.
    Bench(BenchArgs),
    /// Make one page, to be read offline, of a timeline that `forebay run --timeline` or `forebay simulate --timeline` has written.
    Report(ReportArgs),
    /// Compare the policies for experts on recorded routing, with the offline optimum (Belady).
    Replay(ReplayArgs),
    /// Make a model of a given shape that was never trained, to measure with; it may be larger than the disk.
    Synth(SynthArgs),
    /// Tell how a model would run on a device that is not there.
    Simulate(SimulateArgs),
    /// Measure this machine, and make a device of it that can be simulated.
    Probe(ProbeArgs),
    /// List the devices that can be simulated, and what is known of them.
    Devices(DevicesArgs),
    /// Get a model from the package index and keep it in the cache folder.
    Fetch(FetchArgs),
    /// Simulate the cases of a budget file, and fail where one does not reach what the file requires.
    Budget(BudgetArgs),
    /// Simulate a case along axes, as a table or a plot, or find what a target needs.
    Sweep(SweepArgs),
    /// Try the pager and the scheduler in random scenarios on drawn devices, with faults, and check what must hold.
    Swarm(SwarmArgs),
}

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

fn parse_share(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 1.0)
}

fn parse_quant(text: &str) -> Result<TensorType, String> {
    let types = forebay_infer::synth::blocks::TYPES;
    let named = types.iter().find(|ty| ty.to_string().eq_ignore_ascii_case(text) && **ty != TensorType::F32);
    named.copied().ok_or_else(|| format!("'{text}' is not among q4_k, q4_0, q8_0, f16 and mxfp4"))
}

/// A size in bytes; see [`Size`].
pub(crate) fn parse_size(text: &str) -> Result<u64, NoSize> {
    text.parse().map(|Size(bytes)| bytes)
}

fn parse_page(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text).map_err(|e| e.to_string())?;
    if (4096..=64 << 20).contains(&bytes) { Ok(bytes) } else { Err("a page has 4 KiB to 64 MiB".into()) }
}

fn parse_isa(name: &str) -> Result<Isa, String> {
    Isa::from_name(name).map_err(|e| e.to_string())
}

fn parse_percent(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 100.0)
}

fn parse_reads(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 1e6)
}

fn parse_recall(text: &str) -> Result<f32, String> {
    number_within(text, 0.0, 1.0).map(|recall| recall as f32)
}

fn number_within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    match f64::from_str(text) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("'{text}' is no number from {least} to {most}")),
    }
}

fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let (token, bias) = text.split_once('=').ok_or("write TOKEN=X")?;
    let token = token.parse().map_err(|e| format!("'{token}' is no token number: {e}"))?;
    let bias = bias.parse().map_err(|e| format!("'{bias}' is no number: {e}"))?;
    Ok((token, bias))
}

/// What is in a budget file.
const BUDGET_FILE: &str = "\
The file:
  [defaults]                # fields of a case for all budgets
  tokens = 100
  [[budget]]
  name = \"phones\"
  device = [\"iphone-17-pro-256gb\", \"oneplus-15r\"]   # of lists, all combinations are simulated
  model = \"qwen3.5-397b-a17b\"
  ram = [\"6GiB\"]
  require = [\"tok_s >= 0.5\", \"peak_ram <= 6GiB\", \"ttft_s <= 60\"]
  judge = \"worst\"           # the edge of each figure's band that is judged: worst (default), nominal or best
  allow_regression = \"5%\"  # how much worse than in the baseline a required figure may be; without it, any

Fields of a case: device, capacity, core, model, quant, ram, tokens, prompt, context, kv-type, depth, page, experts-chosen, routing, \
recall, policy, lookahead, engine, seed. Devices that end in .toml, models in .gguf or .json, and routing traces are files beside the budget file.

Figures that can be required, with >=, <=, > or <: tok_s, ttft_s, gb_per_token, stall, compute, flash_busy, hit_rate (0 to 1, or \
percent), peak_ram (a size), j_per_token, throttle_s (inf: never).

Exit codes: 0 all is within budget; 7 a case is not, or cannot be simulated; 2 the budget file or the baseline is broken.";

/// `forebay budget`
#[derive(Debug, Args)]
#[command(after_long_help = BUDGET_FILE)]
pub(crate) struct BudgetArgs {
    /// The budget file.
    #[arg(default_value = "forebay.toml")]
    pub(crate) file: PathBuf,
    /// What the figures were before: a case that got worse than `allow_regression` says fails, even where it does what is
    /// required.
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Write the figures as they are now to the baseline, instead of comparing them.
    #[arg(long, requires = "baseline")]
    pub(crate) update_baseline: bool,
    /// Write everything there is to know to FILE, as JSON; infinite figures are null.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write test results to FILE, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write the table to FILE, as Markdown: in GitHub Actions, to "$GITHUB_STEP_SUMMARY".
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

/// `forebay sweep`
#[derive(Debug, Args)]
pub(crate) struct SweepArgs {
    /// A field of a case and its values: device=a,b; ram=2GiB..12GiB:1GiB; depth=1..32:*2; quant, policy, page, experts-chosen, ...
    /// (`budget --help` lists them). Again for more: all combinations, the first axis slowest.
    #[arg(long, value_name = "FIELD=VALUES", required = true)]
    pub(crate) axis: Vec<Axis>,
    /// The device, where it is no axis.
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,
    /// The model, where it is no axis.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Another field that is the same for all; again for more.
    #[arg(long, value_name = "FIELD=VALUE", value_parser = parse_setting)]
    pub(crate) set: Vec<Setting>,
    /// Write the table to FILE instead of standard output: axes (sizes in bytes), each figure at its worst, nominal and best, and why
    /// there are none.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Draw to FILE (.svg or .png): along the first axis of several numbers, a line for each combination of the others.
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// What is drawn; the names are those of the table.
    #[arg(long, value_name = "FIGURE", default_value = "tok_s", requires = "plot")]
    pub(crate) metric: Metric,
    /// Find the smallest ceiling on the axis ram that meets TARGET ("tok_s >= 1"), for each value of the axis quant (finest first),
    /// instead of the table. Searched by halving, neighbours verified.
    #[arg(long, value_name = "TARGET", conflicts_with_all = ["csv", "plot"])]
    pub(crate) advise: Option<Target>,
    /// Which edge of its band has to meet it: worst, nominal or best.
    #[arg(long, value_name = "EDGE", default_value = "worst", requires = "advise")]
    pub(crate) judge: Edge,
}

fn parse_setting(text: &str) -> Result<Setting, String> {
    let (field, value) = text.split_once('=').ok_or("write FIELD=VALUE")?;
    Setting::from_text(field, value).map_err(|e| e.to_string())
}

/// `forebay swarm`
#[derive(Debug, Args)]
#[command(after_long_help = "\
Each seed is a scenario: a model, a window, a queue, a policy, a device, faults, and a caller. What breaks is told with the scenario \
and the command that runs it again; the exit code is 1 then, and 0 when everything held.")]
pub(crate) struct SwarmArgs {
    /// How many scenarios.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub(crate) seeds: u64,
    /// The seed of the first; the others follow.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) first: u64,
    /// Go on until it is interrupted, or too much has broken.
    #[arg(long, conflicts_with = "seeds")]
    pub(crate) forever: bool,
    /// Run this one alone, and tell all of it.
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "first", "forever"])]
    pub(crate) seed: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
