//! `granitemoe`: Granite 3 with experts, with or without a shared one. Like Llama, but the embedding, the scores of attention,
//! what comes to the residual stream and the logits each have a multiplier.

use super::moe::Shared;
use super::{Describe, Feed, Hyper, Mixture};
use crate::model::ModelError;
use crate::model::decoder::{Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe::usual(shape);
    let rope = hyper.rope(&shape, RopeStyle::Norm)?;
    let shared = hyper.shared_length()?.map(|width| Shared { width, gated: false });
    // The softmax over the chosen is the softmax over all, divided by the sum of the chosen.
    let mixture = Mixture { shared, normalise: true, ..hyper.mixture(hyper.feed_forward_length()?)? };
    let layers = describe.layers(tensors, |_| Feed::Experts(mixture), |_, attention| attention)?;
    let usual = describe.decoder("granitemoe", tensors, vec![rope], layers)?;
    Ok(Decoder {
        embedding_scale: hyper.multiplier("embedding_scale")?.unwrap_or(1.0),
        attention_scale: hyper.multiplier("attention.scale")?.unwrap_or(usual.attention_scale),
        residual_scale: hyper.multiplier("residual_scale")?.unwrap_or(1.0),
        logit_scale: 1.0 / hyper.multiplier("logit_scale")?.unwrap_or(1.0),
        ..usual
    })
}
