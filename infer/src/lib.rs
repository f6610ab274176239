//! forebay-infer
pub mod gguf;
