//! The kernels: weights of each type with one token and with many, and what a step of a model costs besides.

use forebay_infer::gguf::TensorType;
use forebay_infer::kernels::{Activations, Formats, Isa, Panels, Part, Pool, Width, matmul};
use forebay_infer::open::Loaded;
use forebay_infer::synth::{Config, Synthesis};
use forebay_pager::{Clock as _, SystemClock, Window};
use forebay_simulator::profile::WeightType;

use super::{MachineError, Options};
use crate::measure::{median, resident_decode};

/// How fast weights of a type are multiplied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelRate {
    /// The type.
    pub ty: WeightType,
    /// With one token, in bytes of weights per second.
    pub decode_bytes_s: f64,
    /// With many, in operations per second, two for each weight and token.
    pub prefill_flop_s: f64,
}

const COLS: usize = 2048;
/// Bytes of the matrix for one token: more than caches hold.
const BYTES: usize = 96 << 20;
/// Rows of the matrix for many, and how many they are.
const ROWS: usize = 2048;
const TOKENS: usize = 256;
const REPEATS: usize = 5;

/// The rates of all types that profiles know and kernels multiply.
pub(super) fn rates(options: &Options, mut progress: impl FnMut(f64)) -> Vec<KernelRate> {
    let known: Vec<(WeightType, TensorType)> =
        WeightType::ALL.into_iter().filter_map(|ty| Some((ty, tensor_type(ty)?))).collect();
    let rate = |(i, &(ty, tensor)): (usize, &(WeightType, TensorType))| {
        progress(i as f64 / known.len() as f64);
        let row = tensor.row_bytes(COLS).expect("a multiple of every block");
        let one = seconds(options, tensor, BYTES / row, 1);
        let many = seconds(options, tensor, ROWS, TOKENS);
        KernelRate {
            ty,
            decode_bytes_s: (BYTES / row * row) as f64 / one,
            prefill_flop_s: 2.0 * (ROWS * COLS * TOKENS) as f64 / many,
        }
    };
    known.iter().enumerate().map(rate).collect()
}

fn tensor_type(ty: WeightType) -> Option<TensorType> {
    let named = TensorType::ALL.into_iter().find(|tensor| tensor.to_string().eq_ignore_ascii_case(ty.name()));
    named.filter(|tensor| tensor.has_kernel())
}

/// The time of one product of `rows` rows with `tokens` tokens.
fn seconds(options: &Options, ty: TensorType, rows: usize, tokens: usize) -> f64 {
    let bytes = rows * ty.row_bytes(COLS).expect("a multiple of every block");
    // The memory of a window, as weights lie in it.
    let Ok(window) = Window::new(bytes.next_multiple_of(2 << 20), 1) else { return f64::INFINITY };
    let (mut frames, _) = window.into_frames();
    fill(ty, frames[0].bytes_mut());
    let mut product = Product::new(options, ty, rows, tokens);
    let mut time = |_| product.seconds(&frames[0].bytes()[..bytes]);
    time(0);
    median((0..REPEATS).map(time).collect())
}

/// Rows with tokens, again and again.
struct Product {
    ty: TensorType,
    isa: Isa,
    pool: Pool,
    activations: Activations,
    panels: Panels,
    rows: usize,
    out: Vec<f32>,
}

impl Product {
    fn new(options: &Options, ty: TensorType, rows: usize, tokens: usize) -> Self {
        let (pool, isa, formats) = (Pool::new(options.threads), options.isa, Formats::of(ty));
        let x: Vec<f32> = (0..tokens * COLS).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut activations = Activations::new(tokens, &[Width::one(COLS)], formats);
        activations.prepare(&pool, isa, &x, COLS, formats);
        let panels = Panels::new(isa, options.threads.get(), COLS);
        Product { ty, isa, pool, activations, panels, rows, out: vec![0.0; tokens * rows] }
    }

    /// How long the product with the rows in `bytes` takes.
    fn seconds(&mut self, bytes: &[u8]) -> f64 {
        let Product { ty, isa, pool, activations, panels, rows, out } = self;
        let clock = SystemClock::new();
        let begin = clock.now();
        let part = Part { ty: *ty, cols: COLS, bytes, head: 0, first_out: 0 };
        matmul(pool, *isa, &[part], activations, panels, out, *rows);
        (clock.now() - begin).as_secs_f64()
    }
}

/// Weights of small scales and any quants. No product may be subnormal, which many processors are slow with.
fn fill(ty: TensorType, bytes: &mut [u8]) {
    // A tiny normal in the high byte of each half-precision number.
    bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = if i % 2 == 1 { 0x10 } else { i as u8 });
    if ty == TensorType::MXFP4 {
        // Its scale is a byte: the exponent of 2, as in a float.
        bytes.chunks_mut(ty.block_bytes()).for_each(|block| block[0] = 0x70);
    }
}

/// Bytes of a page, and of all pages: more than caches hold.
const PAGE: usize = 256 << 10;
const PAGES: usize = 256;
/// About what a page takes to come.
const WAIT: std::time::Duration = std::time::Duration::from_micros(150);

/// What a page takes longer where threads have slept before, in seconds.
#[expect(clippy::disallowed_methods, reason = "to wait is what is measured")]
pub(super) fn wake(options: &Options) -> Result<f64, MachineError> {
    let ty = TensorType::Q4_K;
    let row = ty.row_bytes(COLS).expect("a multiple of every block");
    let rows = PAGE / row;
    let (mut frames, _) = Window::new(PAGE, PAGES)?.into_frames();
    frames.iter_mut().for_each(|frame| fill(ty, frame.bytes_mut()));
    let mut product = Product::new(options, ty, rows, 1);
    let mut time = |wait: bool| {
        let pages = frames.iter().map(|frame| {
            if wait {
                std::thread::sleep(WAIT);
            }
            product.seconds(&frame.bytes()[..rows * row])
        });
        median(pages.collect())
    };
    time(false);
    let busy = time(false);
    Ok((time(true) - busy).max(0.0))
}

/// A small model, which is decoded with all of it in memory: what its steps take besides its weights is what is left.
const SMALL: &str = r#"{ "model_type": "llama", "hidden_size": 768, "num_hidden_layers": 24, "num_attention_heads": 12,
    "num_key_value_heads": 4, "intermediate_size": 2048, "vocab_size": 4096, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048 }"#;
const DECODED: usize = 48;

/// What a step of a model takes besides its weights, in seconds. The model is a file among the system's temporary ones for a while.
pub(super) fn step(options: &Options, rates: &[KernelRate]) -> Result<f64, MachineError> {
    let at = |source| MachineError::File { path: std::env::temp_dir(), source };
    let file = tempfile::Builder::new().prefix("forebay-probe-").suffix(".gguf").tempfile().map_err(at)?;
    let config = Config::from_json(SMALL).expect("a shape");
    let synthesis = Synthesis::new(&config, TensorType::Q4_K, 1 << 30, 0, "probe").expect("it is small");
    synthesis.write(std::io::BufWriter::new(file.as_file()), |_| ()).map_err(|e| at(std::io::Error::other(e)))?;
    let loaded = Loaded::open(file.path())?;
    let run = forebay_infer::open::Options {
        ram: u64::MAX / 4,
        process: 0,
        context: 2 * DECODED,
        kv: forebay_infer::kernels::KvType::F16,
        threads: options.threads,
        isa: options.isa,
        backend: options.backend,
        depth: 4,
        page_len: None,
        chunk: None,
        scheduler: Default::default(),
    };
    let (mut engine, ..) = forebay_infer::open::open_engine(&loaded.gguf, &loaded.map, &run)?;
    let mut time = |_| resident_decode(&mut engine, 0, DECODED).map(|time| time.as_secs_f64());
    time(0)?;
    let token = median((0..REPEATS).map(time).collect::<Result<_, _>>()?);
    let rate = rates.iter().find(|rate| rate.ty == WeightType::Q4K).map_or(f64::INFINITY, |rate| rate.decode_bytes_s);
    let weights = loaded.map.streamed_bytes() as f64 / rate;
    Ok(((token - weights) / loaded.map.steps.len() as f64).max(0.0))
}
