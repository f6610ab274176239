//! The GGUF model format: reading headers (versions 2 and 3, little-endian, split files) and writing files.
//!
//! Only headers are read here, never tensor data: that is the pager's work. A header is input from strangers, so every number in
//! it is checked before it is used, and what is wrong is an [`Error`] that names the file, the field and the byte.
//!
//! Where the format leaves a choice: arrays of arrays, tensors with a dimension of zero, empty names, and bools other than 0
//! and 1 are errors; keys and scalar strings are UTF-8, strings in arrays may be any bytes; padding behind the last tensor may be
//! missing; tensors may lie in any order and with gaps.
#![forbid(unsafe_code)]

mod cursor;
mod error;
mod metadata;
mod model;
mod parse;
mod pool;
mod split;
mod tensor;
pub(crate) mod types;
mod value;
pub mod write;

pub use error::{Error, ErrorKind};
pub use metadata::Metadata;
pub use model::Model;
pub use parse::{Header, parse};
pub use pool::Pool;
pub use tensor::Tensor;
pub(crate) use tensor::size as tensor_size;
pub use types::TensorType;
pub use value::{Array, Strings, Value, ValueType};
