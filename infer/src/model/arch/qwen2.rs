//! `qwen2`: Qwen 1.5, 2 and 2.5. Like Llama with rotary positions in halves and biases on queries, keys and values.

use super::{Describe, Feed, Hyper};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe::usual(shape);
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let feed = Feed::Dense { width: hyper.feed_forward_length()?, activation: Activation::Silu };
    let layers = describe.layers(tensors, |_| feed, |_, attention| attention)?;
    describe.decoder("qwen2", tensors, vec![rope], layers)
}
