//! `gemma3`: five layers with a sliding window to each one that sees everything, rotary positions of their own for each
//! kind, RMSNorm before and after each block, GeGLU, a scaled embedding.

use super::{Describe, Feed, HeadNorms, Hyper};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Attention, Decoder, Rope, RopeScaling, RopeStyle};
use crate::model::tensors::Tensors;

/// Every sixth layer is global, unless the file says otherwise.
const PATTERN: usize = 6;
/// Base of the rotary positions of the layers with a window, which the file does not name.
const LOCAL_ROPE_BASE: f32 = 10_000.0;
/// The layers of the 27B model, which alone scales attention by the width per head instead of the head's length.
const LAYERS_27B: usize = 62;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe { head_norms: HeadNorms::Each, post_norms: true, ..Describe::usual(shape) };
    let global = hyper.rope(&shape, RopeStyle::Neox)?;
    let base = hyper.positive_or("rope.freq_base_swa", LOCAL_ROPE_BASE)?;
    let local = Rope { base, scaling: RopeScaling::None, ..global.clone() };
    let (global_rope, local_rope) = (0, 1);
    let window = hyper.sliding_window()?;
    let global_layers = hyper.global_layers(shape.layers, PATTERN)?;
    let feed = Feed::Dense { width: hyper.feed_forward_length()?, activation: Activation::GeluTanh };
    let layers = describe.layers(
        tensors,
        |_| feed,
        |i, attention| match window {
            Some(_) if !global_layers[i] => Attention { rope: local_rope, window, ..attention },
            _ => Attention { rope: global_rope, ..attention },
        },
    )?;
    let scaled = if shape.layers == LAYERS_27B { (shape.dim / shape.heads).max(1) } else { shape.head_dim };
    Ok(Decoder {
        embedding_scale: (shape.dim as f32).sqrt(),
        attention_scale: 1.0 / (scaled as f32).sqrt(),
        attention_softcap: hyper.softcap("attn_logit_softcapping")?,
        logit_softcap: hyper.softcap("final_logit_softcapping")?,
        ..describe.decoder("gemma3", tensors, vec![global, local], layers)?
    })
}
