//! A report as one page of HTML that needs nothing else: no network, no scripts to be read, and light or dark as its reader.
//!
//! `charts` draws, `heat` and `token` draw two pictures of their own, `words` writes numbers; `page.html` puts it together.

mod charts;
mod heat;
mod token;
mod words;

use minijinja::{Environment, Value};
use serde::Serialize;

use self::charts::{Columns, Curve, columns, curve, histogram};
use self::heat::{HeatMap, heat_map};
use self::token::{TokenStrip, token_strip};
use self::words::{duration, memory, number, percent};
use super::figures::{Figures, Phase, Share};
use super::histogram::Distribution;
use super::{ClockKind, Timeline};

const TEMPLATE: &str = include_str!("page.html");

/// The page of a timeline and its figures.
///
/// # Errors
/// When the template cannot be rendered, which nothing in a timeline causes.
pub fn render(timeline: &Timeline<'_>, figures: &Figures) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    // The ending of its name is what makes every string be escaped.
    environment.add_template("page.html", TEMPLATE)?;
    environment.get_template("page.html")?.render(Value::from_serialize(page(timeline, figures)))
}

/// What the template shows.
#[derive(Serialize)]
struct Page<'a> {
    model: &'a str,
    program: &'static str,
    facts: Vec<Fact>,
    decode: bool,
    lost: Option<String>,
    tiles: Vec<Tile>,
    time: Vec<Part>,
    pages: Vec<Part>,
    speed: Curve,
    reads: Curve,
    reads_unit: &'static str,
    heat: HeatMap,
    kinds: Vec<Kind>,
    layers: Columns,
    sizes: Columns,
    size_note: String,
    latencies: Columns,
    latency_note: String,
    hints: Vec<Fact>,
    token: Option<TokenStrip>,
}

#[derive(Serialize)]
struct Fact {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Tile {
    name: &'static str,
    value: String,
    unit: &'static str,
    note: String,
}

/// A part of a bar that stands for all.
#[derive(Serialize)]
struct Part {
    name: &'static str,
    class: &'static str,
    share: String,
    /// Percent, for the width.
    width: f64,
    note: String,
}

/// A line of the table by kind of step.
#[derive(Serialize)]
struct Kind {
    name: String,
    time: String,
    stall: String,
    /// Percent of the longest.
    compute_width: f64,
    stall_width: f64,
    pages: String,
    hits: String,
}

fn page<'a>(timeline: &Timeline<'_>, f: &'a Figures) -> Page<'a> {
    let tokens = f.rate.tokens.max(1) as f64;
    let per_pass = |value: fn(&super::PassSums) -> f64| -> Vec<f64> { f.passes.iter().map(value).collect() };
    let mut read = per_pass(|p| p.bytes as f64 / 1e6 / f64::from(p.tokens.max(1)));
    let mut reads_unit = "MB";
    if read.iter().any(|&megabytes| megabytes >= 1e3) {
        read.iter_mut().for_each(|value| *value /= 1e3);
        reads_unit = "GB";
    }
    let layer = |share: &Share| {
        let ms = |s: f64| s * 1e3 / tokens;
        let label = share.name.strip_prefix("layer ").unwrap_or(&share.name).to_owned();
        (label, [ms(share.time_s - share.stall_s), ms(share.stall_s)])
    };
    Page {
        model: &f.facts.model,
        program: concat!("forebay ", env!("CARGO_PKG_VERSION")),
        facts: facts(f),
        decode: f.phase == Phase::Decode,
        lost: (f.lost_events > 0).then(|| number(f.lost_events as f64)),
        tiles: tiles(f),
        time: parts_of_time(f),
        pages: parts_of_pages(f),
        speed: curve(&per_pass(|p| f64::from(p.tokens) * 1e9 / p.nanos.max(1) as f64)),
        reads: curve(&read),
        reads_unit,
        heat: heat_map(&f.residency),
        kinds: kinds(f),
        layers: columns(f.by_layer.iter().filter(|share| share.name != "embedding").map(layer).collect()),
        sizes: histogram(&f.read_sizes.bars, memory),
        size_note: spread(&f.read_sizes, memory),
        latencies: histogram(&f.latencies.bars, of_nanos),
        latency_note: spread(&f.latencies, of_nanos),
        hints: hints(f),
        token: token_strip(timeline, f.phase),
    }
}

fn of_nanos(nanos: f64) -> String {
    duration(nanos / 1e9)
}

fn spread(distribution: &Distribution, label: fn(f64) -> String) -> String {
    let label = |value: u64| label(value as f64);
    let Distribution { count, p50, p99, max, .. } = *distribution;
    match count {
        0 => "nothing was read".into(),
        _ if p50 == max => format!("half or more of {}, none beyond", label(max)),
        _ => format!("half up to {}, 99 % up to {}, at most {}", label(p50), label(p99), label(max)),
    }
}

fn facts(f: &Figures) -> Vec<Fact> {
    let fact = |name, value| Fact { name, value };
    let run = &f.facts;
    let clock = match run.clock {
        ClockKind::System => "that of the machine",
        ClockKind::Virtual => "simulated",
    };
    let experts = match f.experts {
        0 => String::new(),
        experts => format!(", {experts} experts in a layer"),
    };
    vec![
        fact("Flash", run.flash.clone()),
        fact("Time", clock.into()),
        fact("Ceiling", memory(run.ceiling as f64)),
        fact(
            "Window",
            format!(
                "{} frames of {}: {}",
                run.frames,
                memory(run.frame_len as f64),
                memory((run.frames as f64) * run.frame_len as f64)
            ),
        ),
        fact("Reads in flight", format!("up to {}", run.depth)),
        fact("Model", format!("{} layers{experts}", run.layers)),
    ]
}

fn tiles(f: &Figures) -> Vec<Tile> {
    let rate = &f.rate;
    let tile = |name, (value, unit): (String, &'static str), note: String| Tile { name, value, unit, note };
    let (read, unit) = words::split_decimal(rate.bytes_per_token);
    let mut tiles = vec![
        tile(
            "tokens/s",
            (number(rate.tokens_per_s), ""),
            format!("{} tokens in {}", rate.tokens, duration(rate.time_s)),
        ),
        tile("read per token", (read, unit), format!("{} reads in all", number(rate.reads as f64))),
        tile("stalled", (percent(rate.stall), "%"), format!("{} waiting for reads", duration(rate.stall_s))),
        tile("computed", (percent(rate.compute), "%"), duration(rate.compute_s)),
        tile("flash busy", (percent(rate.flash_busy), "%"), "a read was in flight".into()),
        tile(
            "hit rate",
            (percent(rate.hit_rate), "%"),
            match rate.expert_hit_rate {
                Some(experts) => format!("of experts' pages {} %", percent(experts)),
                None => "pages there in time".into(),
            },
        ),
    ];
    if let Some(first) = f.first_token_s {
        let note = match &f.prompt {
            Some(prompt) => format!("prompt of {}: {} tokens/s", prompt.tokens, number(prompt.tokens_per_s)),
            None => format!("prompt of {}", f.facts.prompt_tokens),
        };
        let (value, unit) = words::split_duration(first);
        tiles.push(tile("to the first token", (value, unit), note));
    }
    tiles
}

fn parts_of_time(f: &Figures) -> Vec<Part> {
    let part = |name, class, share: f64, seconds: f64| Part {
        name,
        class,
        share: format!("{} %", percent(share)),
        width: 100.0 * share,
        note: duration(seconds),
    };
    vec![
        part("computed", "compute", f.rate.compute, f.rate.compute_s),
        part("stalled", "stall", f.rate.stall, f.rate.stall_s),
    ]
}

fn parts_of_pages(f: &Figures) -> Vec<Part> {
    let all = f.uses.all().max(1) as f64;
    let part = |name, class, count: u64| Part {
        name,
        class,
        share: format!("{} %", percent(count as f64 / all)),
        width: 100.0 * count as f64 / all,
        note: number(count as f64),
    };
    vec![
        part("kept", "kept", f.uses.kept),
        part("read ahead", "ahead", f.uses.ahead),
        part("read ahead, late", "late", f.uses.late),
        part("demanded", "demanded", f.uses.demanded),
    ]
}

fn kinds(f: &Figures) -> Vec<Kind> {
    let longest = f.by_kind.iter().map(|share| share.time_s).fold(0.0, f64::max).max(1e-12);
    let tokens = f.rate.tokens.max(1) as f64;
    let kind = |share: &Share| {
        let used = share.uses.all();
        Kind {
            name: share.name.clone(),
            time: duration(share.time_s / tokens),
            stall: duration(share.stall_s / tokens),
            compute_width: 100.0 * (share.time_s - share.stall_s) / longest,
            stall_width: 100.0 * share.stall_s / longest,
            pages: number(used as f64 / tokens),
            hits: if used > 0 { format!("{} %", percent(share.uses.hit_rate())) } else { "-".into() },
        }
    };
    f.by_kind.iter().map(kind).collect()
}

fn hints(f: &Figures) -> Vec<Fact> {
    let fact = |name, count: u64| Fact { name, value: number(count as f64) };
    vec![
        fact("started", f.hints.read),
        fact("used", f.hints.used),
        fact("of these late", f.hints.late),
        fact("wasted", f.hints.wasted),
    ]
}
