//! `qwen3moe`: `qwen3` with experts, whose weights are divided by their sum.

use super::{Describe, Feed, HeadNorms, Hyper, Mixture};
use crate::model::ModelError;
use crate::model::decoder::{Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe { head_norms: HeadNorms::Each, ..Describe::usual(shape) };
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let mixture = Mixture { normalise: true, ..hyper.mixture(hyper.expert_length()?)? };
    let layers = describe.layers(tensors, |_| Feed::Experts(mixture), |_, attention| attention)?;
    describe.decoder("qwen3moe", tensors, vec![rope], layers)
}
