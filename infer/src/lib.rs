//! forebay-infer
pub mod gguf;
pub mod kernels;
pub mod tokenizer;
