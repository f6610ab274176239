//! `llama`: Llama 1-3, SmolLM, Mistral. Rotary positions in interleaved pairs, SwiGLU.

use super::{Describe, Hyper};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Attention, Decoder, Layer, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe { shape, head_norms: false, post_norms: false };
    let rope = hyper.rope(&shape, RopeStyle::Norm)?;
    let window = hyper.sliding_window()?;
    let layers = (0..shape.layers)
        .map(|i| {
            Ok(Layer {
                attention: Attention { window, ..describe.attention(tensors, i)? },
                feed_forward: describe.feed_forward(tensors, i, Activation::Silu)?,
            })
        })
        .collect::<Result<_, ModelError>>()?;
    describe.decoder("llama", tensors, vec![rope], layers)
}
