//! `forebay plan`

use forebay::infer::budget::RESERVE;
use forebay::infer::open::{OpenError, Options, divide};
use forebay::measure::{bound, flash_rate, memory_rate};
use forebay::pager::SystemClock;
use serde::Serialize;

use super::args::PlanArgs;
use super::{Failure, show};

/// Context for which `plan` counts the KV cache when none is given.
const DEFAULT_CONTEXT: usize = 2048;
/// Bytes of memory read to measure it, at most: more than caches hold.
const PROBE_MEMORY: u64 = 256 << 20;
/// What is taken for granted of experts. `forebay bench` counts those that its tokens chose instead.
const EVEN: &str = "if all experts are chosen equally often, whatever came before; less if not";
/// Bytes of flash read to measure it.
const PROBE_BYTES: u64 = 512 << 20;

#[derive(Debug, Serialize)]
struct Report {
    ceiling: u64,
    process: u64,
    resident_vectors: u64,
    context: usize,
    kv_type: &'static str,
    kv_cache: u64,
    recurrent_states: u64,
    logits: u64,
    activations: u64,
    prompt_chunk: usize,
    embedding_rows: u64,
    page_tables: u64,
    reserve: u64,
    window: u64,
    page_bytes: usize,
    frames: usize,
    pages: usize,
    weight_bytes: u64,
    expert_bytes: u64,
    streamed_bytes: u64,
    read_per_token: u64,
    /// What `read_per_token` and `prediction` take for granted.
    assumption: Option<&'static str>,
    embedding_bytes_on_flash: u64,
    prediction: Option<Prediction>,
}

/// From this machine's measured flash and memory. Decoding when resident is taken to be bound by the memory.
#[derive(Debug, Serialize)]
struct Prediction {
    flash_bytes_per_s: f64,
    memory_bytes_per_s: f64,
    tokens_per_s: f64,
    bound_by: &'static str,
}

pub(crate) fn plan(args: PlanArgs) -> Result<(), Failure> {
    let loaded = args.engine.load()?;
    let context = args.engine.ctx.map_or(DEFAULT_CONTEXT, |c| c as usize);
    let options = args.engine.options(context, None)?;
    let budget = divide(&loaded.map, &options).map_err(OpenError::from)?;
    let streamed = loaded.map.streamed_bytes();
    let (dense, experts) = loaded.map.dense_and_expert_bytes();
    let read_per_token =
        if budget.frames >= budget.frames_for_all { 0 } else { loaded.map.read_per_token(budget.window()) };
    let predict = || -> Result<Prediction, Failure> {
        let spinner = show::spinner("measuring flash and memory");
        let files = &loaded.gguf.files;
        let flash = flash_rate(files, &options, budget.frame_len, PROBE_BYTES, &SystemClock::new())?;
        let prediction = predict(flash, &options, streamed, read_per_token)?;
        spinner.finish_and_clear();
        Ok(prediction)
    };
    let report = Report {
        ceiling: budget.ceiling,
        process: budget.needs.process,
        resident_vectors: budget.needs.vectors,
        context,
        kv_type: options.kv.name(),
        kv_cache: budget.needs.kv,
        recurrent_states: budget.needs.state,
        logits: budget.needs.logits,
        activations: budget.activations(),
        prompt_chunk: budget.chunk,
        embedding_rows: budget.needs.scratch,
        page_tables: budget.tables,
        reserve: RESERVE,
        window: budget.window(),
        page_bytes: budget.frame_len,
        frames: budget.frames,
        pages: budget.frames_for_all,
        weight_bytes: dense + experts,
        expert_bytes: experts,
        streamed_bytes: streamed,
        read_per_token,
        assumption: (experts > 0).then_some(EVEN),
        embedding_bytes_on_flash: loaded.map.embedding.bytes(),
        prediction: if args.no_measure { None } else { Some(predict()?) },
    };
    if args.json { show::json(&report) } else { table(&report) }
}

fn predict(flash: f64, options: &Options, streamed: u64, read: u64) -> Result<Prediction, OpenError> {
    let probe = PROBE_MEMORY.min(options.ram / 2) as usize;
    let memory = memory_rate(options.isa, options.threads.get(), probe)?;
    let compute = streamed as f64 / memory;
    let tokens_per_s = bound(read as f64, flash, compute);
    let bound_by = if tokens_per_s < 1.0 / compute { "flash" } else { "memory" };
    Ok(Prediction { flash_bytes_per_s: flash, memory_bytes_per_s: memory, tokens_per_s, bound_by })
}

fn table(r: &Report) -> Result<(), Failure> {
    let row =
        |what: &str, bytes: u64, note: String| show::line(&format!("{what:22} {:>12}  {note}", show::size(bytes)));
    row("ceiling", r.ceiling, String::new())?;
    row("  process", r.process, "code, tokenizer, allocator, as measured now".into())?;
    row("  resident vectors", r.resident_vectors, "norms and biases".into())?;
    row("  KV cache", r.kv_cache, format!("{} positions, {}", r.context, r.kv_type))?;
    if r.recurrent_states > 0 {
        row("  recurrent states", r.recurrent_states, "twice, so that a failed pass changes nothing".into())?;
    }
    row("  logits", r.logits, "and the sampler's candidates".into())?;
    row("  activations", r.activations, format!("prompts in chunks of {} tokens", r.prompt_chunk))?;
    row("  embedding rows", r.embedding_rows, "read one by one".into())?;
    row("  page tables", r.page_tables, "where each page lies and what it is".into())?;
    row("  reserve", r.reserve, "stacks, rings, what cannot be counted".into())?;
    row("  window", r.window, format!("{} of {} pages of {}", r.frames, r.pages, show::size(r.page_bytes as u64)))?;
    show::line("")?;
    if r.expert_bytes > 0 {
        row("weights", r.weight_bytes, format!("of them experts {}", show::size(r.expert_bytes)))?;
    }
    row("used by a token", r.streamed_bytes, "streamed weights".into())?;
    row("read for a token", r.read_per_token, "what the window cannot keep".into())?;
    if let Some(assumption) = r.assumption {
        show::line(&format!("{:22} {:>12}  {assumption}", "", ""))?;
    }
    if let Some(p) = &r.prediction {
        show::line("")?;
        show::line(&format!(
            "flash {:.0} MB/s, memory {:.0} MB/s (measured): at most {:.2} tokens/s, bound by {}",
            p.flash_bytes_per_s / 1e6,
            p.memory_bytes_per_s / 1e6,
            p.tokens_per_s,
            p.bound_by
        ))?;
    }
    Ok(())
}
