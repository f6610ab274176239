//! What can go wrong in a pass.

use forebay_prefetch::SchedulerError;

/// Why a pass could not be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The weights could not be had.
    #[error(transparent)]
    Weights(#[from] SchedulerError),
    /// The weights of an expert could not be had.
    #[error("layer {layer}, expert {expert}: {source}")]
    Expert {
        /// The layer.
        layer: usize,
        /// The expert.
        expert: u32,
        /// What happened, and where.
        source: forebay_pager::Error,
    },
    /// A token that the vocabulary does not have.
    #[error("token {token} is not in the vocabulary of {vocab} tokens")]
    Token {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocab: usize,
    },
    /// The KV cache is full.
    #[error("the context of {context} tokens is full: {position} are in it, and {tokens} more do not fit")]
    ContextFull {
        /// Positions of the KV cache.
        context: usize,
        /// Positions taken.
        position: usize,
        /// Tokens that were to be added.
        tokens: usize,
    },
}
