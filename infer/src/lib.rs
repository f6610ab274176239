//! forebay-infer
pub mod gguf;
pub mod kernels;
pub mod tokenizer;
pub mod chat;
pub mod sampler;
pub mod stream;
