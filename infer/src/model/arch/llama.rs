//! `llama`: Llama 1-3, SmolLM, Mistral; with experts Mixtral. Rotary positions in interleaved pairs, SwiGLU.

use super::{Describe, Feed, Hyper, Mixture};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Attention, Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe::usual(shape);
    let rope = hyper.rope(&shape, RopeStyle::Norm)?;
    let window = hyper.sliding_window()?;
    let width = hyper.feed_forward_length()?;
    let feed = if hyper.is_mixture()? {
        // The softmax over the chosen is the softmax over all, divided by the sum of the chosen.
        Feed::Experts(Mixture { normalise: true, ..hyper.mixture(width)? })
    } else {
        Feed::Dense { width, activation: Activation::Silu }
    };
    let layers = describe.layers(tensors, |_| feed, |_, attention| Attention { window, ..attention })?;
    describe.decoder("llama", tensors, vec![rope], layers)
}
