//! `llama`: Llama 1-3, SmolLM, Mistral. Rotary positions in interleaved pairs, SwiGLU.

use super::{Describe, Hyper};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Attention, Decoder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe { shape, head_norms: false, post_norms: false };
    let rope = hyper.rope(&shape, RopeStyle::Norm)?;
    let window = hyper.sliding_window()?;
    let layers = describe.layers(tensors, Activation::Silu, |_, attention| Attention { window, ..attention })?;
    describe.decoder("llama", tensors, vec![rope], layers)
}
