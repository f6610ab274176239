//! From a path and a ceiling to something that writes text: the pieces put together on the real machine.

use std::num::NonZero;
use std::path::{Path, PathBuf};

use forebay_pager::{AnyStorage, Backend, Choice, Clock, Pager, Scratch, Storage, SystemClock, Window, storage};
use forebay_prefetch::layout::RowTooLong;
use forebay_prefetch::{Layout, SchedulerError, SchedulerOptions};

use crate::budget::{BelowFloor, Budget, LONGEST_CHUNK, Needs, Wishes};
use crate::gguf;
use crate::kernels::{Isa, KvType, Pool};
use crate::model::weights::{Compute, Weights, segments};
use crate::model::{self, Engine, ModelError, ModelMap, Vectors};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Why a model could not be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum OpenError {
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    #[error("{}: {source}", path.display())]
    Model { path: PathBuf, source: ModelError },
    #[error("{}: {source}", path.display())]
    Tokenizer { path: PathBuf, source: TokenizerError },
    #[error(transparent)]
    BelowFloor(#[from] BelowFloor),
    #[error(transparent)]
    Layout(#[from] RowTooLong),
    #[error(transparent)]
    Window(#[from] forebay_pager::WindowError),
    #[error(transparent)]
    Storage(#[from] forebay_pager::OpenError),
    #[error(transparent)]
    Pager(#[from] forebay_pager::Error),
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

/// A model file whose header was read: small, and all that is needed to plan.
#[derive(Debug)]
pub struct Loaded {
    /// The header. The arrays of the vocabulary are dropped from it.
    pub gguf: gguf::Model,
    /// What is computed, with which weights.
    pub map: ModelMap,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
}

/// Arrays of the header longer than this are dropped once the tokenizer has its own form of them.
const LONGEST_ARRAY_KEPT: usize = 64 << 10;

impl Loaded {
    /// Reads the header of the model at `path`; of a split model, of all its parts.
    ///
    /// # Errors
    /// When the file is damaged, or of a kind that is not supported.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let mut gguf = gguf::Model::open(path)?;
        let at = || path.to_owned();
        let map = ModelMap::new(&gguf).map_err(|source| OpenError::Model { path: at(), source })?;
        let tokenizer =
            Tokenizer::from_metadata(&gguf.metadata).map_err(|source| OpenError::Tokenizer { path: at(), source })?;
        let (tokens, rows) = (tokenizer.vocab_len(), map.decoder.shape.vocab);
        if tokens != rows {
            return Err(OpenError::Model { path: at(), source: ModelError::Vocabulary { tokens, rows } });
        }
        gguf.metadata.drop_arrays_over(LONGEST_ARRAY_KEPT);
        Ok(Loaded { gguf, map, tokenizer })
    }
}

/// How a model is run.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Ceiling of the whole process, in bytes.
    pub ram: u64,
    /// Bytes that the process holds already.
    pub process: u64,
    /// Positions of the KV cache.
    pub context: usize,
    /// How the KV cache keeps keys and values.
    pub kv: KvType,
    /// Threads that compute.
    pub threads: NonZero<usize>,
    /// Instruction set.
    pub isa: Isa,
    /// How flash is read.
    pub backend: Backend,
    /// Reads in flight.
    pub depth: usize,
    /// Length of a page, about; `None` to choose.
    pub page_len: Option<usize>,
    /// Tokens that go through the layers together, at most; `None` to choose.
    pub chunk: Option<usize>,
    /// Policy and prefetch.
    pub scheduler: SchedulerOptions,
}

/// Rows of the embedding that are read at once.
const SCRATCH_FRAMES: usize = 8;
/// The least a scratch frame takes: vectors are read through them too.
const SCRATCH_LEN: usize = 16 << 10;

/// The frames beside the window that a model needs, for single rows of its embedding.
pub fn scratch(map: &ModelMap) -> Scratch {
    Scratch { max_len: map.embedding.row_bytes().max(SCRATCH_LEN), frames: SCRATCH_FRAMES }
}

/// Divides a ceiling without allocating anything.
///
/// # Errors
/// [`BelowFloor`], with the numbers.
pub fn divide(map: &ModelMap, options: &Options) -> Result<Budget, BelowFloor> {
    let (activations_per_token, activations) =
        model::activation_bytes(map, options.context, options.threads.get(), options.isa);
    let shape = &map.decoder.shape;
    let scratch = scratch(map);
    let needs = Needs {
        process: options.process,
        vectors: map.vector_bytes(),
        kv: model::kv_bytes(map, options.kv, options.context, LONGEST_CHUNK),
        state: model::state_bytes(map),
        // Logits, and a sampler's candidates: a token and its weight.
        logits: shape.vocab as u64 * (4 + 8),
        activations,
        activations_per_token,
        scratch: (scratch.frames * (scratch.max_len + 2 * forebay_pager::ALIGN)) as u64,
    };
    let wishes = Wishes { page_len: options.page_len, chunk: options.chunk };
    Budget::divide(options.ram, needs, options.context, &segments(map), wishes)
}

/// An engine on this machine's flash.
pub type SystemEngine = Engine<AnyStorage, SystemClock>;

/// Divides the ceiling, carves the window and opens the flash.
///
/// # Errors
/// See [`OpenError`]; nothing is left behind.
pub fn open_engine(
    gguf: &gguf::Model,
    map: &ModelMap,
    options: &Options,
) -> Result<(SystemEngine, Budget, Choice), OpenError> {
    open_engine_on(gguf, map, options, |storage| storage, SystemClock::new())
}

/// The same on a flash that `wrap` makes of this machine's, and by another clock.
///
/// # Errors
/// See [`OpenError`]; nothing is left behind.
pub fn open_engine_on<S: Storage, C: Clock>(
    gguf: &gguf::Model,
    map: &ModelMap,
    options: &Options,
    wrap: impl FnOnce(AnyStorage) -> S,
    clock: C,
) -> Result<(Engine<S, C>, Budget, Choice), OpenError> {
    let budget = divide(map, options)?;
    let layout = Layout::cut(&segments(map), budget.frame_len)?;
    let window = Window::with_scratch(budget.frame_len, budget.frames, scratch(map))?;
    let (storage, choice) = storage::open(&gguf.files, &window, options.depth, options.backend)?;
    let mut pager = Pager::new(wrap(storage), clock, window, gguf.files.clone(), layout.specs.clone())?;
    let vectors = Vectors::read(&map.vectors, &mut pager)?;
    let _ = pager.take_stats(); // What loading read is no part of a run.
    let weights = Weights::new(map, layout, pager, options.scheduler, budget.chunk)?;
    let compute = Compute { pool: Pool::new(options.threads), isa: options.isa };
    let engine = Engine::new(map, weights, vectors, compute, options.kv, options.context, budget.chunk);
    Ok((engine, budget, choice))
}
