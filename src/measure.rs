//! Streamed decoding against its bound, and the kernels against the memory.
//!
//! The bound on tokens per second is `1 / max(flash, compute)`: *flash* is the time to read, at the rate that the flash
//! gives in the same run for reads of the same length and depth, the bytes that the best resident set leaves out;
//! *compute* is the time per token when everything is resident.
//!
//! Of dense weights the best resident set leaves out what is longer than the window. With experts it is held against the tokens
//! that were decoded, whose routing is recorded: what is dense comes first in the window, and what remains of it keeps
//! experts as Belady would, who knows what routers will say, and who finds in it whatever is best of all experts that came up
//! before the clock ran ([`least_read`]). Dense first, as an expert that is kept for its next use is kept for a token
//! at least, in which as many dense bytes would have to be read instead.

use std::path::PathBuf;

use forebay_infer::kernels::ops::argmax;
use forebay_infer::kernels::{Isa, Pool};
use forebay_infer::model::{Engine, EngineError, ModelMap, RouteRecorder};
use forebay_infer::open::{Loaded, OpenError, Options, divide, open_engine};
use forebay_pager::{
    Clock, Nanos, Pattern, Probe, ProbeError, Stats, Storage, SystemClock, Window, WindowError, measure_read_rate,
};
use forebay_prefetch::ExpertStats;
use forebay_prefetch::experts::least_read;
use forebay_prefetch::experts::trace::Trace;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MeasureError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error("the routing was not recorded: {0}")]
    Routing(std::io::Error),
}

/// Passes before the clock runs: the resident set becomes resident in the first.
const WARM_UP: usize = 2;

/// Decoding with one window.
#[derive(Debug, Clone)]
pub struct Decoding {
    /// Bytes of the window.
    pub window: u64,
    /// Bytes of a frame: the length of the reads.
    pub frame_len: usize,
    /// Time per token.
    pub per_token: Nanos,
    /// What the pager counted, over all tokens.
    pub stats: Stats,
    /// What was counted of experts, over all tokens.
    pub experts: ExpertStats,
    /// Tokens measured.
    pub tokens: usize,
    /// What the routers said, from the first token of the prompt on.
    pub routing: Option<Trace>,
    /// How flash was read.
    pub backend: String,
}

/// The least bytes that a window makes a token read, on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Least {
    /// Of what every token uses.
    pub dense: f64,
    /// Of experts.
    pub experts: f64,
    /// Bytes of experts that a token uses.
    pub experts_used: f64,
}

impl Least {
    /// All of it.
    pub fn bytes(&self) -> f64 {
        self.dense + self.experts
    }
}

impl Decoding {
    /// What these tokens read at least in such a window: the [module](self) says how it is counted.
    pub fn least(&self, map: &ModelMap) -> Least {
        let (dense, _) = map.dense_and_expert_bytes();
        let (mut experts, mut experts_used) = (0.0, 0.0);
        if let Some(trace) = &self.routing {
            let timed = self.tokens * map.decoder.experts().count();
            let least = least_read(trace, self.window.saturating_sub(dense), trace.visits().len() - timed);
            let per_token = |bytes: u64| bytes as f64 / self.tokens as f64;
            (experts, experts_used) = (per_token(least.read), per_token(least.needed));
        }
        Least { dense: dense.saturating_sub(self.window) as f64, experts, experts_used }
    }

    /// Bytes per token that had to be read, as they were used and not in the window: all that was read but hints in vain.
    pub fn missed(&self) -> f64 {
        (self.stats.bytes_read - self.stats.bytes_wasted.min(self.stats.bytes_read)) as f64 / self.tokens as f64
    }
}

/// Which tokens are decoded.
#[derive(Debug, Clone, Copy)]
pub enum Course<'a> {
    /// Those that the model likes best, behind so many tokens that say nothing. Small models soon repeat themselves, and then use the same
    /// experts again and again.
    Likeliest {
        /// Tokens of the prompt.
        prompt: usize,
    },
    /// Those of a text, whatever the model would have said.
    Text {
        /// All of them: prompt, warm-up, what is measured.
        tokens: &'a [u32],
        /// How many of them are the prompt.
        prompt: usize,
    },
}

impl Course<'_> {
    fn prompt(&self, vocab: usize) -> Vec<u32> {
        match *self {
            Course::Likeliest { prompt } => prompt_of(prompt, vocab),
            Course::Text { tokens, prompt } => tokens[..prompt].to_vec(),
        }
    }

    /// The token at `position`, behind which these logits were had.
    fn next(&self, position: usize, logits: &[f32]) -> u32 {
        match self {
            Course::Likeliest { .. } => argmax(logits) as u32,
            Course::Text { tokens, .. } => tokens[position],
        }
    }
}

/// Decodes `tokens` tokens of `course` after its prompt and some to warm up.
///
/// # Errors
/// When the model cannot be opened or run so.
///
/// # Panics
/// When a text has fewer tokens than [`context`] says.
pub fn decode(
    loaded: &Loaded,
    options: &Options,
    course: &Course<'_>,
    tokens: usize,
) -> Result<Decoding, MeasureError> {
    let (mut engine, budget, choice) = open_engine(&loaded.gguf, &loaded.map, options)?;
    let first = course.prompt(loaded.map.decoder.shape.vocab);
    engine.record_routes(RouteRecorder::in_memory(&loaded.map, "", first.len()));
    let mut position = first.len();
    let mut next = course.next(position, engine.forward(&first, |_| ())?);
    for _ in 0..WARM_UP {
        position += 1;
        next = course.next(position, engine.forward(&[next], |_| ())?);
    }
    let scheduler = engine.weights_mut().scheduler_mut();
    let _ = (scheduler.pager_mut().take_stats(), scheduler.take_expert_stats());
    let begin = engine.now();
    for _ in 0..tokens {
        position += 1;
        next = course.next(position, engine.forward(&[next], |_| ())?);
    }
    let time = engine.now() - begin;
    let scheduler = engine.weights_mut().scheduler_mut();
    let (stats, experts) = (scheduler.pager_mut().take_stats(), scheduler.take_expert_stats());
    let trace = engine.record_routes(None).map_or(Ok(None), RouteRecorder::into_trace);
    Ok(Decoding {
        window: budget.window(),
        frame_len: budget.frame_len,
        per_token: Nanos(time.0 / tokens as u64),
        stats,
        experts,
        tokens,
        routing: trace.map_err(MeasureError::Routing)?,
        backend: choice.how,
    })
}

/// Tokens of a prompt that says nothing.
fn prompt_of(len: usize, vocab: usize) -> Vec<u32> {
    (0..len).map(|i| ((i * 37 + 11) % vocab) as u32).collect()
}

/// The time that a prompt of `tokens` tokens takes, in an empty context.
///
/// # Errors
/// When the model cannot be run so.
pub fn resident_prompt<S: Storage, C: Clock>(engine: &mut Engine<S, C>, tokens: usize) -> Result<Nanos, MeasureError> {
    engine.clear();
    let prompt = prompt_of(tokens, engine.shape().vocab);
    let begin = engine.now();
    engine.forward(&prompt, |_| ())?;
    Ok(engine.now() - begin)
}

/// The time per token of decoding `tokens` tokens behind a context of `context` tokens.
///
/// # Errors
/// When the model cannot be run so.
pub fn resident_decode<S: Storage, C: Clock>(
    engine: &mut Engine<S, C>,
    context: usize,
    tokens: usize,
) -> Result<Nanos, MeasureError> {
    engine.clear();
    let prompt = prompt_of(context + 1, engine.shape().vocab);
    let mut next = argmax(engine.forward(&prompt, |_| ())?) as u32;
    let begin = engine.now();
    for _ in 0..tokens {
        next = argmax(engine.forward(&[next], |_| ())?) as u32;
    }
    Ok(Nanos((engine.now() - begin).0 / tokens as u64))
}

/// Positions that [`decode`] needs, and tokens of a text: one more than it feeds to the model.
pub fn context(prompt: usize, tokens: usize) -> usize {
    prompt + WARM_UP + tokens + 1
}

/// The ceiling that leaves a window of `window` bytes.
///
/// # Errors
/// When not even an unlimited ceiling is enough.
pub fn ceiling_for_window(map: &ModelMap, options: &Options, window: u64) -> Result<u64, OpenError> {
    let unlimited = Options { ram: u64::MAX / 4, ..*options };
    let budget = divide(map, &unlimited)?;
    // The kernel's share is that of the window asked for, not of one that holds everything.
    let cost = budget.window_cost() as f64 / budget.window() as f64 * window as f64;
    Ok(budget.total() - budget.window_cost() + cost.ceil() as u64)
}

/// Bytes per second of the flash below the model, by reads as the pager does them.
///
/// # Errors
/// When the files cannot be read.
pub fn flash_rate(
    files: &[PathBuf],
    options: &Options,
    read_len: usize,
    bytes: u64,
    clock: &impl Clock,
) -> Result<f64, MeasureError> {
    let Options { depth, backend, .. } = *options;
    let run_in = bytes / 2;
    let (pattern, used, at_most) = (Pattern::Random, false, Nanos(u64::MAX));
    let probe = Probe { pattern, read_len: read_len as u32, depth, used, backend, bytes, run_in, at_most };
    Ok(measure_read_rate(files, &probe, clock)?.bytes_per_s)
}

/// Bytes per second at which this machine reads memory with `threads` threads: what bounds decoding when resident.
///
/// Takes about `bytes` of memory for it, as a window is taken (in huge pages, where there are any: the same bytes in small
/// pages are read more slowly); too little to leave the caches measures those.
///
/// # Errors
/// When the memory cannot be had.
///
/// # Panics
/// When `threads` is zero.
pub fn memory_rate(isa: Isa, threads: usize, bytes: usize) -> Result<f64, WindowError> {
    const ROUNDS: usize = 5;
    const FRAME: usize = 1 << 20;
    let (mut frames, _) = Window::new(FRAME, bytes.div_ceil(FRAME).max(threads))?.into_frames();
    for frame in &mut frames {
        frame.bytes_mut().fill(1);
    }
    let frames: Vec<&[u8]> = frames.iter().map(|frame| frame.bytes()).collect();
    let pool = Pool::new(threads.try_into().expect("at least one thread"));
    let clock = SystemClock::new();
    let rate = |_| {
        let begin = clock.now();
        pool.run(frames.len(), &|i| {
            std::hint::black_box(isa.read_all(frames[i]));
        });
        (frames.len() * FRAME) as f64 / (clock.now() - begin).as_secs_f64()
    };
    Ok(median((0..ROUNDS).map(rate).collect()))
}

/// Products of bytes per second that `threads` threads can do at most on level `isa`; nothing where the level does not tell.
///
/// # Panics
/// When `threads` is zero.
pub fn product_rate(isa: Isa, threads: usize) -> Option<f64> {
    const ROUNDS: u64 = 1_000_000;
    const REPEATS: usize = 5;
    let pool = Pool::new(threads.try_into().expect("at least one thread"));
    let clock = SystemClock::new();
    let products = isa.peak_products(1)? * ROUNDS * threads as u64;
    let rate = |_| {
        let begin = clock.now();
        pool.run(threads, &|_| {
            isa.peak_products(ROUNDS);
        });
        products as f64 / (clock.now() - begin).as_secs_f64()
    };
    Some(median((0..REPEATS).map(rate).collect()))
}

/// Tokens per second that no schedule can pass.
///
/// `read` in bytes per token, `rate` in bytes per second, `compute` per token in seconds: 0 where nobody knows.
pub fn bound(read: f64, rate: f64, compute: f64) -> f64 {
    1.0 / (read / rate).max(compute)
}

/// The value in the middle.
///
/// # Panics
/// When there are no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
