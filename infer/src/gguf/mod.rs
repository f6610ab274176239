//! The GGUF model format.
mod types;
pub use types::TensorType;
