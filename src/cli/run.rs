//! `forebay run`

use std::io::Read as _;
use std::path::Path;

use forebay::infer::budget::Budget;
use forebay::infer::chat::{ChatError, ChatTemplate, Message};
use forebay::infer::generate::{self, Finish, GenerateError, Generated, Limits, Listener, Prompt};
use forebay::infer::open::{Loaded, SystemEngine};
use forebay::infer::sampler::{Sampler, SamplerParams};
use forebay::infer::stream::TextStream;
use forebay::infer::tokenizer::EncodeOptions;
use forebay::machine;
use forebay::pager::{Choice, Nanos};
use forebay::prefetch::ExpertStats;
use indicatif::ProgressBar;
use serde::Serialize;

use super::args::{RunArgs, SamplingArgs};
use super::prompt_cache::PromptCache;
use super::{Failure, engine, show, trace};

/// What `--json` prints, and `--stats` tells.
#[derive(Debug, Serialize)]
struct Report {
    text: String,
    tokens: Vec<u32>,
    finish: &'static str,
    prompt_tokens: usize,
    /// Of these, the ones that the prompt cache had.
    prompt_reused: usize,
    /// Time that this took.
    prompt_reuse_s: f64,
    /// Time that the others took.
    prompt_s: f64,
    decode_s: f64,
    prompt_tokens_per_s: f64,
    decode_tokens_per_s: f64,
    seed: u64,
    memory: Memory,
    flash: Flash,
    experts: Option<Experts>,
}

#[derive(Debug, Serialize)]
struct Memory {
    ceiling: u64,
    window: u64,
    frames: usize,
    pages: usize,
    page_bytes: usize,
    kv_cache: u64,
    activations: u64,
    peak_resident: Option<u64>,
}

/// Of decoding alone.
#[derive(Debug, Serialize)]
struct Flash {
    how: String,
    reads: u64,
    bytes_read: u64,
    bytes_per_token: u64,
    stall_s: f64,
    busy_s: f64,
    bytes_per_busy_s: f64,
    latency_p50_s: f64,
    latency_p99_s: f64,
    hints_used: u64,
    hints_late: u64,
    hints_wasted: u64,
}

/// Of decoding alone, where the model has experts.
#[derive(Debug, Serialize)]
struct Experts {
    used_per_token: f64,
    /// Of these, the ones that were not resident when the router had spoken.
    loads_per_token: f64,
    hit_rate: f64,
    stalls_per_token: f64,
    stall_s: f64,
    /// Experts read before their router had spoken; what it then chose of them, and of these the incomplete; the others.
    hints: u64,
    hints_used: u64,
    hints_late: u64,
    hints_wasted: u64,
}

pub(crate) fn run(args: RunArgs) -> Result<(), Failure> {
    let loaded = args.engine.load()?;
    let prompt = prompt_tokens(&args, &loaded)?;
    let context = args.engine.ctx.map_or(prompt.len() + args.n as usize, |c| c as usize);
    warn_beyond_training(&loaded, context);
    let params = args.sampling.params();
    let mut sampler = Sampler::new(params.clone(), loaded.tokenizer.vocab_len())?;
    let mut stream = args.sampling.stream()?;

    let options = args.engine.options(context, Some(prompt.len()))?;
    let (mut engine, budget, choice) = engine::open(&loaded, &options)?;
    if let Some(path) = &args.trace_out {
        engine.record_routes(Some(trace::create(path, &loaded, prompt.len())?));
    }
    let mut printer = Printer::new(!args.json);
    let read = read_prompt(&args, &loaded, &mut engine, &mut sampler, &prompt, &mut printer)?;
    let limits = Limits { tokens: args.n as usize, ignore_eos: args.ignore_eos };
    let written = generate::write(&mut engine, &loaded.tokenizer, &mut sampler, &mut stream, limits, &mut printer)?;
    if let (Some(path), Some(recorder)) = (&args.trace_out, engine.record_routes(None)) {
        recorder.finish().map_err(|source| trace::failure(path, source))?;
    }
    if let Some(failure) = printer.failure {
        return Err(failure);
    }
    if !args.json {
        show::line("")?;
        tell_if_cut(written.finish, args.n, context);
    }
    let report = report(printer.text, &read, params.seed, written, &budget, &choice);
    if args.stats {
        tell(&report);
    }
    if args.json {
        show::json(&report)?;
    }
    read.saved
}

/// What became of the prompt.
struct Read {
    tokens: usize,
    /// Of these, the ones that the prompt cache had.
    reused: usize,
    reuse_time: Nanos,
    /// For the others.
    time: Nanos,
    /// Whether the prompt cache could be written. The text is to come, whatever becomes of that file.
    saved: Result<(), Failure>,
}

/// Brings the prompt into the context: what the prompt cache has from there, the rest by way of the layers.
fn read_prompt(
    args: &RunArgs,
    loaded: &Loaded,
    engine: &mut SystemEngine,
    sampler: &mut Sampler,
    prompt: &[u32],
    printer: &mut Printer,
) -> Result<Read, Failure> {
    let begin = engine.now();
    let cache = args.prompt_cache.as_deref().map(|path| PromptCache::open(path, loaded, engine)).transpose()?;
    let known = cache.as_ref().map(|cache| cache.restore(engine, prompt)).transpose()?;
    let reused = known.map_or(0, |known| known.tokens);
    let reuse_time = engine.now() - begin;
    let time = generate::read(engine, sampler, Prompt { tokens: prompt, known: reused, seen: 0 }, printer)?;
    // Now: the sampler is about to change the logits.
    let saved = match (cache, known) {
        (Some(cache), Some(known)) if !known.complete => cache.save(engine, prompt),
        _ => Ok(()),
    };
    Ok(Read { tokens: prompt.len(), reused, reuse_time, time, saved })
}

/// Says so when the text was cut off, and what allows more.
pub(crate) fn tell_if_cut(finish: Finish, tokens: u32, context: usize) {
    match finish {
        Finish::Length => eprintln!("[stopped after {tokens} tokens; -n allows more]"),
        Finish::ContextFull => eprintln!("[the context of {context} tokens is full; --ctx allows more]"),
        Finish::EndOfText | Finish::Stop | Finish::Cancelled => {}
    }
}

/// The tokens to begin with: the prompt in the model's chat template, or as it is.
fn prompt_tokens(args: &RunArgs, loaded: &Loaded) -> Result<Vec<u32>, Failure> {
    let text = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => read(path)?,
        (None, None) => unreachable!("the command line asks for one of them"),
    };
    let raw = |text: &str| loaded.tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: true });
    let tokens = if args.raw {
        raw(&text)
    } else {
        match ChatTemplate::from_metadata(&loaded.gguf.metadata, &loaded.tokenizer) {
            Ok(template) => {
                let system = args.system.iter().map(|s| Message::new("system", s));
                let messages: Vec<_> = system.chain([Message::new("user", text)]).collect();
                loaded.tokenizer.encode_chat(&template.render(&messages, true)?)
            }
            Err(ChatError::NoTemplate) if args.system.is_none() => {
                tracing::info!("the model has no chat template: the prompt is continued as it is");
                raw(&text)
            }
            Err(error) => return Err(error.into()),
        }
    };
    if tokens.is_empty() {
        return Err(GenerateError::EmptyPrompt.into());
    }
    Ok(tokens)
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the prompt's file")]
fn read(path: &Path) -> Result<String, Failure> {
    let at = |source| Failure::Io { what: path.display().to_string(), source };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(at)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(at)
}

/// Writing further than the model was trained for works, and gives worse text.
pub(crate) fn warn_beyond_training(loaded: &Loaded, context: usize) {
    let trained = loaded.map.decoder.shape.context;
    if context > trained {
        tracing::warn!("a context of {context} tokens is longer than the {trained} that the model was trained for");
    }
}

impl SamplingArgs {
    pub(crate) fn params(&self) -> SamplerParams {
        SamplerParams {
            temperature: self.temp,
            top_k: self.top_k as usize,
            top_p: self.top_p,
            min_p: self.min_p,
            last_n: self.repeat_last_n as usize,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.unwrap_or_else(machine::seed),
        }
    }

    pub(crate) fn stream(&self) -> Result<TextStream, Failure> {
        TextStream::new(&self.stop).map_err(|e| Failure::Usage(format!("--stop: {e}")))
    }
}

/// Shows the progress of the prompt, then the text.
pub(crate) struct Printer {
    live: bool,
    bar: Option<ProgressBar>,
    pub(crate) text: String,
    pub(crate) failure: Option<Failure>,
}

impl Printer {
    /// `live` prints the text as it comes; else it is only kept.
    pub(crate) fn new(live: bool) -> Self {
        Printer { live, bar: None, text: String::new(), failure: None }
    }
}

impl Listener for Printer {
    fn prompt(&mut self, done: usize, total: usize) {
        let bar = self.bar.get_or_insert_with(|| show::prompt_bar(done as u64, total as u64));
        bar.set_position(done as u64);
        if done == total {
            bar.finish_and_clear();
            self.bar = None;
        }
    }

    fn text(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        if self.live
            && let Err(failure) = show::out(text)
        {
            self.failure = Some(failure);
        }
        self.failure.is_none()
    }
}

fn report(text: String, prompt: &Read, seed: u64, w: Generated, budget: &Budget, choice: &Choice) -> Report {
    let (prompt_s, decode_s) = (prompt.time.as_secs_f64(), w.decode_time.as_secs_f64());
    let rate = |tokens: usize, seconds: f64| if tokens == 0 { 0.0 } else { tokens as f64 / seconds };
    let stats = &w.decode_stats;
    let passes = w.decode_passes.max(1);
    Report {
        text,
        finish: w.finish.name(),
        prompt_tokens: prompt.tokens,
        prompt_reused: prompt.reused,
        prompt_reuse_s: prompt.reuse_time.as_secs_f64(),
        prompt_s,
        decode_s,
        prompt_tokens_per_s: rate(prompt.tokens - prompt.reused, prompt_s),
        decode_tokens_per_s: rate(w.decode_passes, decode_s),
        seed,
        memory: Memory {
            ceiling: budget.ceiling,
            window: budget.window(),
            frames: budget.frames,
            pages: budget.frames_for_all,
            page_bytes: budget.frame_len,
            kv_cache: budget.needs.kv,
            activations: budget.activations(),
            peak_resident: machine::peak_process_bytes(),
        },
        flash: Flash {
            how: choice.how.clone(),
            reads: stats.reads,
            bytes_read: stats.bytes_read,
            bytes_per_token: stats.bytes_read / passes as u64,
            stall_s: stats.stall.as_secs_f64(),
            busy_s: stats.busy.as_secs_f64(),
            bytes_per_busy_s: stats.read_rate(),
            latency_p50_s: stats.latency.percentile(50.0).as_secs_f64(),
            latency_p99_s: stats.latency.percentile(99.0).as_secs_f64(),
            hints_used: stats.hints_used,
            hints_late: stats.hints_late,
            hints_wasted: stats.hints_wasted,
        },
        experts: experts(&w.decode_experts, passes),
        tokens: w.tokens,
    }
}

fn experts(stats: &ExpertStats, passes: usize) -> Option<Experts> {
    let per_token = |count: u64| count as f64 / passes as f64;
    (stats.used > 0).then(|| Experts {
        used_per_token: per_token(stats.used),
        loads_per_token: per_token(stats.loads),
        hit_rate: 1.0 - stats.loads as f64 / stats.used as f64,
        stalls_per_token: per_token(stats.stalls),
        stall_s: stats.stall.as_secs_f64(),
        hints: stats.hints,
        hints_used: stats.hints_used,
        hints_late: stats.hints_late,
        hints_wasted: stats.hints_wasted,
    })
}

/// The report for people, on standard error.
fn tell(r: &Report) {
    let (m, f) = (&r.memory, &r.flash);
    eprintln!();
    let read = r.prompt_tokens - r.prompt_reused;
    eprintln!("prompt   {read} tokens in {:.2} s: {:.2} tokens/s", r.prompt_s, r.prompt_tokens_per_s);
    if r.prompt_reused > 0 {
        eprintln!("         {} tokens from the prompt cache in {:.2} s", r.prompt_reused, r.prompt_reuse_s);
    }
    eprintln!(
        "decode   {} tokens in {:.2} s: {:.2} tokens/s ({})",
        r.tokens.len(),
        r.decode_s,
        r.decode_tokens_per_s,
        r.finish
    );
    eprintln!(
        "memory   ceiling {}, peak {}; window {} ({} of {} pages of {}), KV cache {}, activations {}",
        show::size(m.ceiling),
        m.peak_resident.map_or("unknown".into(), show::size),
        show::size(m.window),
        m.frames,
        m.pages,
        show::size(m.page_bytes as u64),
        show::size(m.kv_cache),
        show::size(m.activations),
    );
    eprintln!("flash    {}", f.how);
    eprintln!(
        "         {} per token, {:.0} MB/s while busy, busy {:.1} %, stalled {:.1} % of decoding",
        show::size(f.bytes_per_token),
        f.bytes_per_busy_s / 1e6,
        f.busy_s / r.decode_s * 100.0,
        f.stall_s / r.decode_s * 100.0,
    );
    eprintln!(
        "         latency {:.2} ms (p99 {:.2} ms); hints used {}, of them late {}, wasted {}",
        f.latency_p50_s * 1e3,
        f.latency_p99_s * 1e3,
        f.hints_used,
        f.hints_late,
        f.hints_wasted,
    );
    if let Some(e) = &r.experts {
        eprintln!(
            "experts  {:.1} per token, of them {:.1} loaded ({:.1} % hits); {:.1} stalls per token, {:.1} % of decoding",
            e.used_per_token,
            e.loads_per_token,
            e.hit_rate * 100.0,
            e.stalls_per_token,
            e.stall_s / r.decode_s * 100.0,
        );
        eprintln!(
            "         {} read ahead of the router: used {}, of them late {}, wasted {}",
            e.hints, e.hints_used, e.hints_late, e.hints_wasted,
        );
    }
}
