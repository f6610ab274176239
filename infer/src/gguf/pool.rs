//! Tensors that share bytes: a stretch of the file that more than one tensor may lie in.
//!
//! A file that stands for a model larger than the disk (`forebay synth`) declares such a pool by two keys, an addition of
//! forebay's to the format. Tensors that lie in the pool as a whole may overlap one another; all others have their own bytes.

use super::Tensor;
use super::error::Error;
use super::value::Value;

/// Where the pool begins, counted like the offsets of tensors.
pub(super) const OFFSET: &str = "forebay.pool.offset";
/// How long it is.
pub(super) const BYTES: &str = "forebay.pool.bytes";

/// A stretch of a file that tensors share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Where in the file it begins.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

impl Pool {
    /// The pool that `keys` declare, if they do, of a file whose tensors begin at `data_start`.
    pub(super) fn declared<'a>(
        key: impl Fn(&str) -> Option<Value<'a>>,
        data_start: u64,
    ) -> Result<Option<Pool>, Error> {
        let number = |name: &str| match key(name) {
            None => Ok(None),
            Some(value) => match value.integer().and_then(|n| u64::try_from(n).ok()) {
                Some(n) => Ok(Some(n)),
                None => Err(Error::field(format_args!("key \"{name}\""), "not a count of bytes")),
            },
        };
        match (number(OFFSET)?, number(BYTES)?) {
            (Some(offset), Some(bytes)) => match data_start.checked_add(offset) {
                Some(offset) if offset.checked_add(bytes).is_some() => Ok(Some(Pool { offset, bytes })),
                _ => Err(Error::field(format_args!("key \"{BYTES}\""), "the pool ends beyond 16 EiB")),
            },
            (None, None) => Ok(None),
            (Some(_), None) => {
                Err(Error::field(format_args!("key \"{BYTES}\""), format!("missing, but there is {OFFSET}")))
            }
            (None, Some(_)) => {
                Err(Error::field(format_args!("key \"{OFFSET}\""), format!("missing, but there is {BYTES}")))
            }
        }
    }

    /// Whether the tensor lies in it as a whole.
    pub fn holds(&self, tensor: &Tensor) -> bool {
        tensor.offset >= self.offset && tensor.end() <= self.offset + self.bytes
    }

    /// Whether some of the tensor's bytes are in it.
    pub(super) fn cuts(&self, tensor: &Tensor) -> bool {
        tensor.offset < self.offset + self.bytes && tensor.end() > self.offset
    }
}
