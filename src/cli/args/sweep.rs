//! Words of the commands that simulate many cases: `budget`, `sweep` and `swarm`.

use std::path::PathBuf;

use clap::Args;
use forebay_simulator::Metric;
use forebay_simulator::settings::Setting;
use forebay_simulator::sweep::Axis;
use forebay_simulator::target::{Edge, Target};

use super::values::parse_setting;

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
    /// Print what was found for the target as JSON, with all that was tried; infinite figures are null.
    #[arg(long, requires = "advise")]
    pub(crate) json: bool,
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
