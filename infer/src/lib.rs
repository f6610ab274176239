//! Model formats, kernels, the forward pass, tokenizer and sampler, on top of the forebay pager.
//!
//! | module | what |
//! |---|---|
//! | [`gguf`] | reads (and writes) model files |
//! | [`kernels`] | the arithmetic: one numeric specification, several instruction sets |
//! | [`model`] | architectures, weights behind the window, the forward pass |
//! | [`tokenizer`] | text to tokens and back, with the vocabulary of the file |
//! | [`chat`] | conversations as the model's template writes them |
//! | [`sampler`] | the next token from the logits |
//! | [`stream`] | the tokens' bytes as text: whole characters, no stop strings |
//! | [`mod@generate`] | the loop around these |
//! | [`synth`] | models of a given shape that were never trained, to measure with |
//! | [`budget`] | how a ceiling on the process is divided |
//! | [`mod@open`] | all of these put together on this machine |

#![cfg_attr(test, allow(clippy::disallowed_methods))] // Tests make files and threads.
#![deny(unsafe_code)]

pub mod budget;
pub mod chat;
pub mod generate;
pub mod gguf;
pub mod kernels;
pub mod model;
pub mod open;
pub mod sampler;
pub mod stream;
pub mod synth;
pub mod tokenizer;
