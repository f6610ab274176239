//! `forebay bench --resident`

use forebay::infer::model::ModelMap;
use forebay::infer::open::{OpenError, Options, divide, open_engine};
use forebay::measure::{median, memory_rate, product_rate, resident_decode, resident_prompt};
use serde::Serialize;

use super::args::BenchArgs;
use super::engine::check_at_hand;
use super::{Failure, show};

/// Decoding behind a context: medians over the rounds.
#[derive(Debug, Serialize)]
struct Row {
    context: usize,
    tokens_per_s: f64,
    /// Keys and values that are read for a token, besides the weights.
    kv_bytes: u64,
    /// Weights, keys and values per second, as a share of what memory gives.
    memory_share: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    model: String,
    threads: usize,
    isa: String,
    rounds: u32,
    tokens: u32,
    weight_bytes: u64,
    memory_bytes_per_s: f64,
    prompt_tokens: usize,
    prompt_tokens_per_s: f64,
    /// Products of weights and activations that a token of a prompt takes.
    products_per_token: u64,
    /// Products per second that the cores could do at most; not known for every instruction set level.
    peak_products_per_s: Option<f64>,
    decode: Vec<Row>,
}

/// What one round showed.
struct Sample {
    memory: f64,
    peak: Option<f64>,
    prompt: f64,
    decode: Vec<f64>,
}

pub(crate) fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let loaded = args.engine.load()?;
    let (prompt, tokens) = (args.prompt_tokens.unwrap_or(512) as usize, args.n as usize);
    let contexts: Vec<usize> = args.contexts.iter().map(|&context| context as usize).collect();
    let deepest = contexts.iter().copied().max().unwrap_or(0);
    let options = args.engine.options(prompt.max(deepest + 1 + tokens), None)?;
    let options = Options { ram: u64::MAX / 4, ..options };
    check_at_hand(&divide(&loaded.map, &options).map_err(OpenError::from)?)?;
    let (mut engine, ..) = open_engine(&loaded.gguf, &loaded.map, &options)?;
    let weight_bytes = loaded.map.streamed_bytes();
    let threads = options.threads.get();

    let bar = show::count_bar("measuring", u64::from(args.rounds) * (contexts.len() as u64 + 1) + 1);
    resident_prompt(&mut engine, prompt)?;
    bar.inc(1);
    let mut samples = Vec::new();
    for _ in 0..args.rounds {
        let memory = memory_rate(options.isa, threads, weight_bytes as usize).map_err(OpenError::from)?;
        let peak = product_rate(options.isa, threads);
        let prompt = resident_prompt(&mut engine, prompt)?;
        bar.inc(1);
        let mut decode = Vec::new();
        for &context in &contexts {
            decode.push(resident_decode(&mut engine, context, tokens)?.as_secs_f64());
            bar.inc(1);
        }
        samples.push(Sample { memory, peak, prompt: prompt.as_secs_f64(), decode });
    }
    bar.finish_and_clear();
    let memory = median(samples.iter().map(|s| s.memory).collect());
    let row = |(i, &context): (usize, &usize)| {
        let seconds = median(samples.iter().map(|s| s.decode[i]).collect());
        // The middle of what the tokens measured see.
        let kv_bytes = engine.kv_bytes_at(context + tokens / 2);
        let memory_share = (weight_bytes + kv_bytes) as f64 / seconds / memory;
        Row { context, tokens_per_s: 1.0 / seconds, kv_bytes, memory_share }
    };
    let report = Report {
        model: loaded.gguf.files[0].file_name().unwrap_or_default().to_string_lossy().into_owned(),
        threads,
        isa: options.isa.to_string(),
        rounds: args.rounds,
        tokens: args.n,
        weight_bytes,
        memory_bytes_per_s: memory,
        prompt_tokens: prompt,
        prompt_tokens_per_s: prompt as f64 / median(samples.iter().map(|s| s.prompt).collect()),
        products_per_token: products_per_token(&loaded.map),
        peak_products_per_s: samples.iter().map(|s| s.peak).collect::<Option<_>>().map(median),
        decode: contexts.iter().enumerate().map(row).collect(),
    };
    if args.json { show::json(&report) } else { table(&report) }
}

/// The weights of all matrices but the head, which the tokens of a prompt do without.
fn products_per_token(map: &ModelMap) -> u64 {
    let body = map.matrices_by_step().take(map.steps.len().saturating_sub(1));
    let products = body.map(|(step, matrices)| {
        let of_one: u64 = matrices.iter().map(|m| m.rows as u64 * m.cols as u64).sum();
        u64::from(step.chosen.unwrap_or(1)) * of_one
    });
    products.sum()
}

fn table(report: &Report) -> Result<(), Failure> {
    show::line(&format!(
        "{}: {} of weights per token; {} threads, {}; memory reads {:.1} GB/s",
        report.model,
        show::size(report.weight_bytes),
        report.threads,
        report.isa,
        report.memory_bytes_per_s / 1e9,
    ))?;
    let rate = report.products_per_token as f64 * report.prompt_tokens_per_s;
    let share = |peak: f64| format!(", {:.1} % of the cores' {:.0} G", rate / peak * 100.0, peak / 1e9);
    show::line(&format!(
        "prompt of {} tokens: {:.1} tokens/s: {:.0} G products/s{}",
        report.prompt_tokens,
        report.prompt_tokens_per_s,
        rate / 1e9,
        report.peak_products_per_s.map(share).unwrap_or_default(),
    ))?;
    show::line("context    tokens/s   ms/token   keys and values   of the memory's rate")?;
    for row in &report.decode {
        show::line(&format!(
            "{:>7} {:>11.2} {:>10.2} {:>17} {:>20.1} %",
            row.context,
            row.tokens_per_s,
            1e3 / row.tokens_per_s,
            show::size(row.kv_bytes),
            row.memory_share * 100.0,
        ))?;
    }
    show::line(&format!("medians of {} rounds of {} tokens; all weights resident", report.rounds, report.tokens))
}
