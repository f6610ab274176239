//! forebay-infer
pub mod gguf;
pub mod kernels;
