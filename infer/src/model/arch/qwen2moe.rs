//! `qwen2moe`: `qwen2` with experts, and a shared expert whose weight is a sigmoid. The weights of the others are those of the
//! softmax as they are.

use super::moe::Shared;
use super::{Describe, Feed, Hyper, Mixture};
use crate::model::ModelError;
use crate::model::decoder::{Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe::usual(shape);
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let width = match hyper.shared_length()? {
        Some(width) => width,
        None => hyper.feed_forward_length()?,
    };
    let shared = Some(Shared { width, gated: true });
    let mixture = Mixture { shared, ..hyper.mixture(hyper.expert_length()?)? };
    let layers = describe.layers(tensors, |_| Feed::Experts(mixture), |_, attention| attention)?;
    describe.decoder("qwen2moe", tensors, vec![rope], layers)
}
