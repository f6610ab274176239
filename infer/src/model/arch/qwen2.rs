//! `qwen2`: Qwen 1.5, 2 and 2.5. Like Llama with rotary positions in halves and biases on queries, keys and values.

use super::{Describe, Hyper};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe { shape, head_norms: false, post_norms: false };
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let layers = describe.layers(tensors, Activation::Silu, |_, attention| attention)?;
    describe.decoder("qwen2", tensors, vec![rope], layers)
}
