//! From a GGUF file to something that can be run.
//!
//! Read in this order: [`decoder`] (what a model is made of), [`tensors`] (its weights, in the order of the plan), [`arch`]
//! (how each architecture maps to those), [`vectors`] and [`weights`] (how weights are reached: resident, or through the
//! window), [`engine`] (the forward pass; what brings tokens together is in `mixer.rs` and `latent.rs`, what a token does by
//! itself in `channel.rs`, the experts of a chunk in `routing.rs`, what else is done with routers in `routes.rs` and
//! [`record`], what recurrent layers keep in `states.rs`; what the steps are called, in `names.rs`). [`saved`] is the state of a context as bytes.

pub mod arch;
mod channel;
pub mod decoder;
pub mod engine;
mod error;
mod fingerprint;
mod hashed;
mod latent;
mod mixer;
mod names;
pub mod record;
mod rope;
mod routes;
mod routing;
pub mod saved;
mod scratch;
mod states;
pub mod tensors;
pub mod vectors;
pub mod weights;

pub use decoder::{Decoder, MatrixId, Shape, VectorId};
pub use engine::{Engine, EngineError, Progress};
pub use fingerprint::Fingerprint;
pub use names::step_names;
pub use record::RouteRecorder;
pub use saved::{Restored, SavedError};
pub use scratch::{activation_bytes, kv_bytes, state_bytes};
pub use tensors::{Matrix, StepMatrices, Tensors, Vector};
pub use vectors::Vectors;
pub use weights::{Compute, Weights};

use crate::gguf::{self, TensorType};

/// Why a file is no model that can be run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum ModelError {
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    #[error("general.architecture is '{name}', which forebay does not run; it runs {}", supported.join(", "))]
    Architecture { name: String, supported: Vec<&'static str> },
    #[error("{key} is {value}, expected {expected}")]
    Hyperparameter { key: String, value: String, expected: String },
    #[error("tensor {name} is missing")]
    MissingTensor { name: String },
    #[error("tensor {name} is unknown to this architecture: without it the logits would be wrong")]
    UnusedTensor { name: String },
    #[error("tensor {name} has the shape {found:?}, expected {expected:?}")]
    Shape { name: String, found: Vec<u64>, expected: Vec<u64> },
    #[error("tensor {name} has {rows} rows of {row_bytes} bytes: no model in use comes near")]
    TooLarge { name: String, rows: usize, row_bytes: usize },
    #[error("the vocabulary has {tokens} tokens (tokenizer.ggml.tokens), the embedding {rows} (token_embd.weight)")]
    Vocabulary { tokens: usize, rows: usize },
    #[error(
        "tensor {name}: the experts of this file are tensors of their own, as before 2024; convert the model again"
    )]
    SeparateExperts { name: String },
    #[error(
        "tensor {name}: the maps to keys and to values are one tensor in this file, as before April 2025; convert the model \
         again"
    )]
    JoinedMaps { name: String },
    #[error("tensor {name} is stored as {ty}, for which there is no kernel")]
    NoKernel { name: String, ty: TensorType },
}

/// A model's description and where its weights lie. Holds no weights.
#[derive(Debug, Clone)]
pub struct ModelMap {
    /// What is computed.
    pub decoder: Decoder,
    /// The streamed weights in the order of the plan.
    pub matrices: Vec<Matrix>,
    /// Which matrices each step of the plan uses.
    pub steps: Vec<StepMatrices>,
    /// The weights that are resident for good.
    pub vectors: Vec<Vector>,
    /// The token embedding, of which single rows are read.
    pub embedding: Matrix,
}

impl ModelMap {
    /// Describes the model in a file whose header was read.
    ///
    /// # Errors
    /// When the architecture is unknown, a hyperparameter is missing or absurd, or a tensor is missing, not known, of another
    /// shape than the hyperparameters say, or of a type without a kernel.
    pub fn new(model: &gguf::Model) -> Result<Self, ModelError> {
        let mut tensors = Tensors::new(model);
        let decoder = arch::describe(&model.metadata, &mut tensors)?;
        let embedding = tensors.embedding("token_embd.weight", decoder.shape.vocab, decoder.shape.dim)?;
        tensors.check_all_used()?;
        let (matrices, vectors, steps) = tensors.finish();
        Ok(ModelMap { decoder, matrices, steps, vectors, embedding })
    }

    /// Each step's matrices.
    pub fn matrices_by_step(&self) -> impl Iterator<Item = (StepMatrices, &[Matrix])> {
        let mut rest = &self.matrices[..];
        self.steps.iter().map(move |&step| {
            let (matrices, others) = rest.split_at(step.count as usize);
            rest = others;
            (step, matrices)
        })
    }

    /// Bytes of the matrices that every token uses, and of those of all experts.
    pub fn dense_and_expert_bytes(&self) -> (u64, u64) {
        let sum = |experts: bool| {
            let steps = self.matrices_by_step().filter(move |(step, _)| step.chosen.is_some() == experts);
            steps.flat_map(|(_, matrices)| matrices).map(Matrix::all_bytes).sum()
        };
        (sum(false), sum(true))
    }

    /// Bytes that one token uses, which it reads when nothing is resident.
    pub fn streamed_bytes(&self) -> u64 {
        let copies = |step: StepMatrices| u64::from(step.chosen.unwrap_or(1));
        self.matrices_by_step()
            .map(|(step, matrices)| copies(step) * matrices.iter().map(Matrix::bytes).sum::<u64>())
            .sum()
    }

    /// Bytes that one token reads when a window of `window` bytes holds what is best held: what every token uses first. The
    /// experts are counted as if all were chosen equally often; the more that differs, the less is read.
    pub fn read_per_token(&self, window: u64) -> u64 {
        let (dense, experts) = self.dense_and_expert_bytes();
        let used = self.streamed_bytes() - dense;
        let absent = experts.saturating_sub(window.saturating_sub(dense));
        dense.saturating_sub(window) + (used as f64 * absent as f64 / experts.max(1) as f64) as u64
    }

    /// Bytes of the vectors, widened to f32.
    pub fn vector_bytes(&self) -> u64 {
        self.vectors.iter().map(|v| v.len as u64 * 4).sum()
    }
}
