//! `qwen35moe`: Qwen3.5 with experts. Like `qwen3next`, but the value heads take the key heads in turn, and the rates of the
//! recurrence come from two matrices.

use super::{Hyper, qwen3next};
use crate::model::ModelError;
use crate::model::decoder::{Decoder, HeadOrder};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    qwen3next::hybrid("qwen35moe", HeadOrder::Tiled, hyper, tensors)
}
