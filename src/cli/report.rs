//! What a run cost: `--json` and `--stats`.

use forebay::infer::budget::Budget;
use forebay::infer::generate::{Chunk, Generated, PromptRead};
use forebay::machine;
use forebay::pager::{Choice, Nanos};
use forebay::prefetch::{ExpertStats, PassExperts};
use serde::Serialize;

use super::show;

/// What `--json` prints, and `--stats` tells. Shares are of the time of decoding.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
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
    prompt_experts: Option<PromptExperts>,
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
    /// Of these, what was used: all but hints in vain.
    missed_bytes_per_token: u64,
    bytes_per_s: f64,
    bytes_per_busy_s: f64,
    busy_s: f64,
    busy: f64,
    stalls_per_token: f64,
    stall_s: f64,
    stall: f64,
    /// What the flash takes for what was used, at the rate that it had while busy.
    flash_time_of_misses: f64,
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
    /// Read on demand and ahead.
    bytes_per_token: u64,
    stalls_per_token: f64,
    stall_s: f64,
    stall: f64,
    /// Experts read before their router had spoken; what it then chose of them, and of these the incomplete; the others.
    hints: u64,
    hints_used: u64,
    hints_late: u64,
    hints_wasted: u64,
}

/// Of the prompt, where the model has experts. Each chunk goes layer by layer.
#[derive(Debug, Serialize)]
struct PromptExperts {
    needed: u64,
    /// Reads that were started, on demand or ahead.
    read: u64,
    /// The most reads of one expert in one chunk.
    most_reads_in_a_chunk: u8,
    chunks: Vec<PromptChunk>,
}

#[derive(Debug, Serialize)]
struct PromptChunk {
    tokens: usize,
    needed: u64,
    read: u64,
    most_reads: u8,
}

/// What became of the prompt.
pub(crate) struct Prompted {
    pub(crate) tokens: usize,
    /// Of these, the ones that the prompt cache had.
    pub(crate) reused: usize,
    pub(crate) reuse_time: Nanos,
    /// The others.
    pub(crate) read: PromptRead,
}

/// The report of a run that wrote `text` after a prompt.
pub(crate) fn report(
    text: String,
    prompt: &Prompted,
    seed: u64,
    w: Generated,
    budget: &Budget,
    choice: &Choice,
) -> Report {
    let (prompt_s, decode_s) = (prompt.read.time.as_secs_f64(), w.decode_time.as_secs_f64());
    let rate = |tokens: usize, seconds: f64| if tokens == 0 { 0.0 } else { tokens as f64 / seconds };
    let stats = &w.decode_stats;
    let passes = w.decode_passes.max(1);
    let missed = stats.bytes_read.saturating_sub(stats.bytes_wasted);
    let share = |time: f64| if decode_s > 0.0 { time / decode_s } else { 0.0 };
    let busy_s = stats.busy.as_secs_f64();
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
        prompt_experts: prompt_experts(&prompt.read.chunks),
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
            missed_bytes_per_token: missed / passes as u64,
            bytes_per_s: share(stats.bytes_read as f64),
            bytes_per_busy_s: stats.read_rate(),
            busy_s,
            busy: share(busy_s),
            stalls_per_token: stats.stalls as f64 / passes as f64,
            stall_s: stats.stall.as_secs_f64(),
            stall: share(stats.stall.as_secs_f64()),
            flash_time_of_misses: share(busy_s * missed as f64 / (stats.bytes_read as f64).max(1.0)),
            latency_p50_s: stats.latency.percentile(50.0).as_secs_f64(),
            latency_p99_s: stats.latency.percentile(99.0).as_secs_f64(),
            hints_used: stats.hints_used,
            hints_late: stats.hints_late,
            hints_wasted: stats.hints_wasted,
        },
        experts: experts(&w.decode_experts, passes, decode_s),
        tokens: w.tokens,
    }
}

fn experts(stats: &ExpertStats, passes: usize, decode_s: f64) -> Option<Experts> {
    let per_token = |count: u64| count as f64 / passes as f64;
    (stats.used > 0).then(|| Experts {
        used_per_token: per_token(stats.used),
        loads_per_token: per_token(stats.loads),
        hit_rate: stats.hit_rate(),
        bytes_per_token: stats.bytes / passes as u64,
        stalls_per_token: per_token(stats.stalls),
        stall_s: stats.stall.as_secs_f64(),
        stall: stats.stall.as_secs_f64() / decode_s,
        hints: stats.hints,
        hints_used: stats.hints_used,
        hints_late: stats.hints_late,
        hints_wasted: stats.hints_wasted,
    })
}

fn prompt_experts(chunks: &[Chunk]) -> Option<PromptExperts> {
    let chunk = |&Chunk { tokens, experts }: &Chunk| {
        let PassExperts { needed, reads, most_reads } = experts;
        PromptChunk { tokens, needed, read: reads, most_reads }
    };
    let chunks: Vec<PromptChunk> = chunks.iter().map(chunk).collect();
    let of = |count: fn(&PromptChunk) -> u64| chunks.iter().map(count).sum();
    let (needed, read) = (of(|c| c.needed), of(|c| c.read));
    let most_reads_in_a_chunk = chunks.iter().map(|c| c.most_reads).max().unwrap_or(0);
    (needed > 0).then_some(PromptExperts { needed, read, most_reads_in_a_chunk, chunks })
}

impl Report {
    /// For people, on standard error.
    pub(crate) fn tell(&self) {
        self.tell_speed();
        self.tell_flash();
        self.tell_experts();
    }

    fn tell_speed(&self) {
        eprintln!();
        let read = self.prompt_tokens - self.prompt_reused;
        eprintln!("prompt   {read} tokens in {:.2} s: {:.2} tokens/s", self.prompt_s, self.prompt_tokens_per_s);
        if self.prompt_reused > 0 {
            eprintln!("         {} tokens from the prompt cache in {:.2} s", self.prompt_reused, self.prompt_reuse_s);
        }
        if let Some(p) = &self.prompt_experts {
            eprintln!(
                "         {} chunks: {} experts needed, {} read; most reads of one expert in a chunk: {}",
                p.chunks.len(),
                p.needed,
                p.read,
                p.most_reads_in_a_chunk,
            );
        }
        eprintln!(
            "decode   {} tokens in {:.2} s: {:.2} tokens/s ({})",
            self.tokens.len(),
            self.decode_s,
            self.decode_tokens_per_s,
            self.finish
        );
        let m = &self.memory;
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
    }

    fn tell_flash(&self) {
        let f = &self.flash;
        eprintln!("flash    {}", f.how);
        eprintln!(
            "         {} per token, {:.2} GB/s ({:.2} GB/s while busy); busy {:.1} %, stalled {:.1} % of decoding, \
             {:.1} times per token",
            show::size(f.bytes_per_token),
            f.bytes_per_s / 1e9,
            f.bytes_per_busy_s / 1e9,
            f.busy * 100.0,
            f.stall * 100.0,
            f.stalls_per_token,
        );
        eprintln!(
            "         misses {} per token: their flash time is {:.1} % of decoding",
            show::size(f.missed_bytes_per_token),
            f.flash_time_of_misses * 100.0,
        );
        eprintln!(
            "         latency {:.2} ms (p99 {:.2} ms); hints used {}, of them late {}, wasted {}",
            f.latency_p50_s * 1e3,
            f.latency_p99_s * 1e3,
            f.hints_used,
            f.hints_late,
            f.hints_wasted,
        );
    }

    fn tell_experts(&self) {
        let Some(e) = &self.experts else { return };
        eprintln!(
            "experts  {:.1} per token, of them {:.1} loaded ({:.1} % hits), {} read; {:.1} stalls per token, {:.1} % of decoding",
            e.used_per_token,
            e.loads_per_token,
            e.hit_rate * 100.0,
            show::size(e.bytes_per_token),
            e.stalls_per_token,
            e.stall * 100.0,
        );
        eprintln!(
            "         {} read ahead of the router: used {}, of them late {}, wasted {}",
            e.hints, e.hints_used, e.hints_late, e.hints_wasted,
        );
    }
}
