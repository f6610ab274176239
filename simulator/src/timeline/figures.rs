//! What a run was like, in numbers.

use std::collections::BTreeMap;

use forebay_prefetch::StepKind;
use serde::Serialize;

use super::fates::{Hints, Uses};
use super::histogram::{Distribution, Edges};
use super::passes::{self, around, split};
use super::resident::{Residency, residency};
use super::sums::{PassSums, Spent, Sums, sums};
use super::{Facts, Timeline};

/// What the figures are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The tokens behind the prompt.
    Decode,
    /// The prompt, as nothing was decoded.
    Prompt,
}

/// How fast the prompt was read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PromptFigures {
    /// Its tokens that went through the layers.
    pub tokens: u64,
    /// Seconds.
    pub time_s: f64,
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Share of the time that compute waited.
    pub stall: f64,
    /// Bytes that were read.
    pub bytes_read: u64,
}

/// Rates and shares of the phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Tokens.
    pub tokens: u64,
    /// Seconds.
    pub time_s: f64,
    /// Tokens per second.
    pub tokens_per_s: f64,
    /// Pages that were read.
    pub reads: u64,
    /// Bytes that were read for pages.
    pub bytes_read: u64,
    /// The same per token.
    pub bytes_per_token: f64,
    /// Seconds that compute waited for a read.
    pub stall_s: f64,
    /// The others.
    pub compute_s: f64,
    /// Share of the time that compute waited.
    pub stall: f64,
    /// The rest.
    pub compute: f64,
    /// Share of the time that a read was in flight.
    pub flash_busy: f64,
    /// Share of the pages used that were there before they were wanted.
    pub hit_rate: f64,
    /// The same of experts' pages alone, where there are some.
    pub expert_hit_rate: Option<f64>,
}

/// What some steps cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// Which steps.
    pub name: String,
    /// Seconds.
    pub time_s: f64,
    /// Of these, the ones that compute waited.
    pub stall_s: f64,
    /// How the pages came to be there.
    pub uses: Uses,
}

/// Everything that a report tells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// What was run.
    pub facts: Facts,
    /// Experts of a layer; 0 without.
    pub experts: u32,
    /// Events at the end that were not kept: the figures are of what comes before.
    pub lost_events: u64,
    /// Seconds from the begin to the first token behind the prompt; `None` when there is none.
    pub first_token_s: Option<f64>,
    /// The prompt, if there was one.
    pub prompt: Option<PromptFigures>,
    /// What all the others are of.
    pub phase: Phase,
    /// Rates and shares.
    pub rate: Rate,
    /// How the pages came to be there.
    pub uses: Uses,
    /// Reads ahead.
    pub hints: Hints,
    /// By kind of step; the embedding comes first.
    pub by_kind: Vec<Share>,
    /// By layer; the embedding comes first and the head last.
    pub by_layer: Vec<Share>,
    /// Each pass.
    pub passes: Vec<PassSums>,
    /// Bytes of reads.
    pub read_sizes: Distribution,
    /// Nanoseconds of reads.
    pub latencies: Distribution,
    /// Who was resident.
    pub residency: Residency,
}

impl Figures {
    /// Those of `timeline`; `None` when no pass is in it.
    pub fn of(timeline: &Timeline<'_>) -> Option<Figures> {
        let all = passes::passes(timeline);
        let (prompt, decode) = split(timeline, &all);
        let phase = if decode.is_empty() { Phase::Prompt } else { Phase::Decode };
        let shown = if decode.is_empty() { prompt } else { decode };
        let sum = sums(timeline, shown)?;
        let first_token = around(decode).map(|span| (span.from - timeline.begin).as_secs_f64());
        Some(Figures {
            facts: timeline.facts.clone(),
            experts: timeline.steps.iter().filter_map(|step| Some(step.experts?.experts)).max().unwrap_or(0),
            lost_events: timeline.lost,
            first_token_s: first_token,
            prompt: sums(timeline, prompt).map(|sum| prompt_figures(&sum)),
            phase,
            rate: rate(timeline, &sum),
            uses: sum.uses(),
            hints: sum.hints,
            by_kind: by_kind(timeline, &sum),
            by_layer: by_layer(timeline, &sum),
            read_sizes: Distribution::of(sum.sizes, Edges::Binary),
            latencies: Distribution::of(sum.latencies, Edges::Decimal),
            passes: sum.passes,
            residency: residency(timeline, sum.span),
        })
    }
}

/// 0 where nothing was divided.
fn per(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

fn prompt_figures(sum: &Sums) -> PromptFigures {
    let time_s = sum.span.length().as_secs_f64();
    PromptFigures {
        tokens: sum.tokens(),
        time_s,
        tokens_per_s: per(sum.tokens() as f64, time_s),
        stall: per(sum.stall().as_secs_f64(), time_s),
        bytes_read: sum.bytes(),
    }
}

fn rate(timeline: &Timeline<'_>, sum: &Sums) -> Rate {
    let (time, stall) = (sum.span.length(), sum.stall());
    let (time_s, compute) = (time.as_secs_f64(), time - stall);
    let mut experts = Uses::default();
    for (step, spent) in timeline.steps.iter().zip(&sum.steps) {
        if step.experts.is_some() {
            experts.add(spent.uses);
        }
    }
    Rate {
        tokens: sum.tokens(),
        time_s,
        tokens_per_s: per(sum.tokens() as f64, time_s),
        reads: sum.sizes.len() as u64,
        bytes_read: sum.bytes(),
        bytes_per_token: per(sum.bytes() as f64, sum.tokens() as f64),
        stall_s: stall.as_secs_f64(),
        compute_s: compute.as_secs_f64(),
        stall: per(stall.as_secs_f64(), time_s),
        compute: per(compute.as_secs_f64(), time_s),
        flash_busy: per(sum.busy.as_secs_f64(), time_s),
        hit_rate: sum.uses().hit_rate(),
        expert_hit_rate: (experts.all() > 0).then(|| experts.hit_rate()),
    }
}

fn share(name: String, spent: Spent) -> Share {
    let Spent { time, stall, uses } = spent;
    Share { name, time_s: time.as_secs_f64(), stall_s: stall.as_secs_f64(), uses }
}

/// The embedding is no step of the plan.
const EMBEDDING: &str = "embedding";

fn embedding(timeline: &Timeline<'_>, sum: &Sums) -> Share {
    share(EMBEDDING.into(), sum.steps[timeline.steps.len()])
}

fn by_kind(timeline: &Timeline<'_>, sum: &Sums) -> Vec<Share> {
    let of_kind = |kind: StepKind| {
        let mut spent: Option<Spent> = None;
        for (_, more) in timeline.steps.iter().zip(&sum.steps).filter(|(step, _)| step.name.kind == kind) {
            spent.get_or_insert_default().add(more);
        }
        spent.map(|spent| share(kind.name().into(), spent))
    };
    [embedding(timeline, sum)].into_iter().chain(StepKind::ALL.into_iter().filter_map(of_kind)).collect()
}

fn by_layer(timeline: &Timeline<'_>, sum: &Sums) -> Vec<Share> {
    let mut layers: BTreeMap<u32, Spent> = BTreeMap::new();
    for (step, spent) in timeline.steps.iter().zip(&sum.steps) {
        layers.entry(step.name.layer.unwrap_or(u32::MAX)).or_default().add(spent);
    }
    let name = |layer| if layer == u32::MAX { "head".to_owned() } else { format!("layer {layer}") };
    let layers = layers.into_iter().map(|(layer, spent)| share(name(layer), spent));
    [embedding(timeline, sum)].into_iter().chain(layers).collect()
}
