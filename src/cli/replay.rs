//! `forebay replay`
#![allow(clippy::disallowed_methods)] // It opens the trace that it is given.

use std::fs::File;
use std::io::BufReader;

use forebay::prefetch::experts::ExpertPolicyKind;
use forebay::prefetch::experts::replay::{Budget, Outcome, Tally, replay as run};
use forebay::prefetch::experts::trace::{Phase, Trace};
use serde::Serialize;

use super::args::ReplayArgs;
use super::{Failure, show};

/// Expert reads ahead per visit of a layer, by default, for each expert that it chooses: what flash at 15 % of the memory's rate
/// (1.5 beside 10 GB/s) has time for, more or less, while a layer is computed, in models whose dense part of a layer is about
/// as large as the experts chosen.
const AHEAD_PER_CHOICE: f64 = 0.25;

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    arch: String,
    layers: usize,
    experts_per_layer: usize,
    experts_chosen: usize,
    slot_bytes: u64,
    prompt_tokens: usize,
    decode_tokens: usize,
    ahead_per_layer: f64,
    model_recall: Option<f32>,
    sizes: Vec<Size>,
}

/// Everything at one size of the memory.
#[derive(Debug, Serialize)]
struct Size {
    residency_percent: f64,
    experts: usize,
    bytes: u64,
    policies: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    policy: &'static str,
    decode: Figures,
    prompt: Figures,
}

#[derive(Debug, Serialize)]
struct Figures {
    needs: u64,
    hits: u64,
    hit_rate: f64,
    /// `None` where the optimum has no hits.
    percent_of_belady: Option<f64>,
    misses: u64,
    read_ahead: u64,
    read_ahead_used: u64,
    demand_bytes: u64,
    read_ahead_bytes: u64,
    bytes_per_token: f64,
}

pub(crate) fn replay(args: ReplayArgs) -> Result<(), Failure> {
    let path = &args.trace;
    let file = File::open(path).map_err(|source| Failure::Io { what: path.display().to_string(), source })?;
    let trace = Trace::read(BufReader::new(file)).map_err(|source| Failure::Trace { path: path.clone(), source })?;
    let ahead = args.ahead.unwrap_or(AHEAD_PER_CHOICE * trace.used() as f64);
    let mut kinds = args.policies.clone().unwrap_or_else(|| ExpertPolicyKind::ALL.to_vec());
    kinds.retain(|&kind| kind != ExpertPolicyKind::Belady);
    let capacities = match args.ram {
        Some(ram) => vec![usize::try_from(ram / trace.largest_expert()).unwrap_or(usize::MAX)],
        None => args.residency.iter().map(|r| (trace.expert_count() as f64 * r / 100.0) as usize).collect(),
    };
    let size = |&capacity: &usize| {
        let capacity = capacity.min(trace.expert_count());
        compare(&trace, &kinds, capacity, ahead, args.model_recall)
    };
    let header = trace.header();
    let report = Report {
        model: header.model.clone(),
        arch: header.arch.clone(),
        layers: header.grid.layers,
        experts_per_layer: header.grid.experts,
        experts_chosen: header.used,
        slot_bytes: trace.largest_expert(),
        prompt_tokens: trace.tokens(Phase::Prompt),
        decode_tokens: trace.tokens(Phase::Decode),
        ahead_per_layer: ahead,
        model_recall: args.model_recall,
        sizes: capacities.iter().map(size).collect(),
    };
    if args.json { show::json(&report) } else { table(&report) }
}

/// The optimum, then the policies asked for.
fn compare(trace: &Trace, kinds: &[ExpertPolicyKind], capacity: usize, ahead: f64, recall: Option<f32>) -> Size {
    let outcome = |kind: ExpertPolicyKind| {
        let ahead = if kind == ExpertPolicyKind::Lookahead { ahead } else { 0.0 };
        run(trace, &mut *kind.build(trace, capacity, recall), Budget { capacity, ahead })
    };
    let best = outcome(ExpertPolicyKind::Belady);
    let line = |kind: ExpertPolicyKind, outcome: &Outcome| Line {
        policy: kind.name(),
        decode: figures(&outcome.decode, &best.decode),
        prompt: figures(&outcome.prompt, &best.prompt),
    };
    let mut policies = vec![line(ExpertPolicyKind::Belady, &best)];
    policies.extend(kinds.iter().map(|&kind| line(kind, &outcome(kind))));
    Size {
        residency_percent: 100.0 * capacity as f64 / trace.expert_count() as f64,
        experts: capacity,
        bytes: capacity as u64 * trace.largest_expert(),
        policies,
    }
}

fn figures(tally: &Tally, best: &Tally) -> Figures {
    Figures {
        needs: tally.needs,
        hits: tally.hits,
        hit_rate: tally.hit_rate(),
        percent_of_belady: (best.hits > 0).then(|| 100.0 * tally.hits as f64 / best.hits as f64),
        misses: tally.misses(),
        read_ahead: tally.hints,
        read_ahead_used: tally.used_hints,
        demand_bytes: tally.demand_bytes,
        read_ahead_bytes: tally.hint_bytes,
        bytes_per_token: tally.bytes_per_token(),
    }
}

fn table(r: &Report) -> Result<(), Failure> {
    show::line(&format!("{} ({})", r.model, r.arch))?;
    show::line(&format!(
        "{} layers of {} experts, {} chosen; a slot of memory is {}",
        r.layers,
        r.experts_per_layer,
        r.experts_chosen,
        show::size(r.slot_bytes)
    ))?;
    let (prompt, decode) = (r.prompt_tokens, r.decode_tokens);
    show::line(&format!(
        "counted: {decode} tokens of decoding, after a prompt of {prompt} that begins with nothing in memory"
    ))?;
    show::line("hit: the expert was in memory when its router had spoken")?;
    show::line("belady: the optimum without reading ahead; only the lookahead reads ahead")?;
    let source = match r.model_recall {
        Some(recall) => format!("MODELLED by peeking at the trace: names {:.0} % of the choices", 100.0 * recall),
        None => "learnt from the routing alone".into(),
    };
    show::line(&format!("lookahead: up to {:.2} reads ahead per layer, {source}", r.ahead_per_layer))?;
    for size in &r.sizes {
        show::line("")?;
        let memory = show::size(size.bytes);
        show::line(&format!("{:.1} % of the experts in memory: {} in {memory}", size.residency_percent, size.experts))?;
        show::line("policy       hit rate  of belady     read/token  ahead/token  of it used")?;
        for line in &size.policies {
            show::line(&row(line, decode))?;
        }
    }
    Ok(())
}

fn row(line: &Line, tokens: usize) -> String {
    let f = &line.decode;
    let of_belady = f.percent_of_belady.map_or_else(|| "-".into(), |percent| format!("{percent:.1} %"));
    let mut row = format!(
        "{:12} {:>6.1} % {of_belady:>10} {:>14}",
        line.policy,
        100.0 * f.hit_rate,
        show::size(f.bytes_per_token as u64)
    );
    if f.read_ahead > 0 {
        let ahead = f.read_ahead_bytes / tokens.max(1) as u64;
        let used = 100.0 * f.read_ahead_used as f64 / f.read_ahead as f64;
        row += &format!(" {:>12} {used:>9.0} %", show::size(ahead));
    }
    row
}
