//! Streamed decoding against its bound, and the kernels against the memory.
//!
//! The bound on tokens per second is `1 / max(flash, compute)`: *flash* is the time to read, at the rate that the flash
//! gives in the same run for reads of the same length and depth, the bytes that the best resident set leaves out
//! (streamed bytes minus window); *compute* is the time per token when everything is resident.

use std::path::PathBuf;

use forebay_infer::kernels::ops::argmax;
use forebay_infer::kernels::{Isa, Pool};
use forebay_infer::model::{Engine, EngineError};
use forebay_infer::open::{Loaded, OpenError, Options, divide, open_engine};
use forebay_pager::{
    Clock, Nanos, Probe, ProbeError, Stats, Storage, SystemClock, Window, WindowError, measure_read_rate,
};

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
    /// Tokens measured.
    pub tokens: usize,
    /// How flash was read.
    pub backend: String,
}

/// Decodes `tokens` tokens after a prompt of `prompt` tokens and some to warm up.
///
/// # Errors
/// When the model cannot be opened or run so.
pub fn decode(loaded: &Loaded, options: &Options, prompt: usize, tokens: usize) -> Result<Decoding, MeasureError> {
    let (mut engine, budget, choice) = open_engine(&loaded.gguf, &loaded.map, options)?;
    let first = prompt_of(prompt, loaded.map.decoder.shape.vocab);
    let mut next = argmax(engine.forward(&first, |_| ())?) as u32;
    for _ in 0..WARM_UP {
        next = argmax(engine.forward(&[next], |_| ())?) as u32;
    }
    let _ = engine.weights_mut().scheduler_mut().pager_mut().take_stats();
    let begin = engine.now();
    for _ in 0..tokens {
        next = argmax(engine.forward(&[next], |_| ())?) as u32;
    }
    let time = engine.now() - begin;
    let stats = engine.weights_mut().scheduler_mut().pager_mut().take_stats();
    Ok(Decoding {
        window: budget.window(),
        frame_len: budget.frame_len,
        per_token: Nanos(time.0 / tokens as u64),
        stats,
        tokens,
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

/// Positions that [`decode`] needs.
pub fn context(prompt: usize, tokens: usize) -> usize {
    prompt + WARM_UP + tokens
}

/// The ceiling that leaves a window of `window` bytes.
///
/// # Errors
/// When not even an unlimited ceiling is enough.
pub fn ceiling_for_window(loaded: &Loaded, options: &Options, window: u64) -> Result<u64, OpenError> {
    let unlimited = Options { ram: u64::MAX / 4, ..*options };
    let budget = divide(&loaded.map, &unlimited)?;
    Ok(budget.total() - budget.window() + window)
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
    let probe = Probe { read_len: read_len as u32, depth: options.depth, backend: options.backend, bytes };
    // A flash that has rested gives more than it can keep up (caches, throttles that save up credit): it is run in first.
    measure_read_rate(files, &Probe { bytes: bytes / 2, ..probe }, clock)?;
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
/// `streamed` and `window` in bytes, `rate` in bytes per second, `compute` per token in seconds.
pub fn bound(streamed: u64, window: u64, rate: f64, compute: f64) -> f64 {
    let flash = streamed.saturating_sub(window) as f64 / rate;
    1.0 / flash.max(compute)
}

/// The value in the middle.
///
/// # Panics
/// When there are no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
