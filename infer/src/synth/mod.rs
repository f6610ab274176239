//! Models that were never trained, in the shape of models that were: every tensor of the true size, every token of the true work.
//!
//! They are there to measure with, where the real weights are too large for the disk at hand: the matrices that a token needs
//! only some of may share a pool of bytes ([`gguf::Pool`](crate::gguf::Pool)), so that the file is as small as is wanted, and the reads
//! and products of every token are still those of the model.
//!
//! What such a model says is a walk through its vocabulary. Which experts it chooses is drawn to be like what real models
//! choose; [`routing`] says how, and measures it.
//!
//! Read in this order: [`config`] (what the model is like), [`blueprint`] (its keys and tensors), [`blocks`] (numbers as blocks of
//! a type), [`hidden`] (what tokens look like inside), [`routing`], [`mod@file`] (what goes where), [`shape`] (the same without a file).

pub mod blocks;
pub mod blueprint;
pub mod config;
pub mod file;
pub mod hidden;
mod recipes;
pub mod routing;
pub mod shape;

pub use config::{Config, SHAPES, ShapeError};
pub use file::{SynthError, Synthesis};
pub use shape::{DescribeError, Quant, describe};
