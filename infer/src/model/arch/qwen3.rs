//! `qwen3`: like `qwen2` without the biases, and with an RMSNorm over each head of queries and keys.

use super::{Describe, Feed, HeadNorms, Hyper};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe { head_norms: HeadNorms::Each, ..Describe::usual(shape) };
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let feed = Feed::Dense { width: hyper.feed_forward_length()?, activation: Activation::Silu };
    let layers = describe.layers(tensors, |_| feed, |_, attention| attention)?;
    describe.decoder("qwen3", tensors, vec![rope], layers)
}
