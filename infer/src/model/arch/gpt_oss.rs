//! `gpt-oss`: every other layer sees a window of positions, and each head has a sink, so that it need not look at anything.
//! Experts get the softmax of the chosen ones' outputs, and their gate is clamped. All projections have biases.

use super::{Describe, Feed, Hyper, Mixture};
use crate::model::ModelError;
use crate::model::decoder::{Attention, Decoder, Gating, RopeStyle, Scoring};
use crate::model::tensors::Tensors;

/// The second of every two layers is global, unless the file says otherwise.
const PATTERN: usize = 2;
/// The file does not name these.
const GATING: Gating = Gating::Clamped { alpha: 1.702, limit: 7.0 };

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape(tensors)?;
    let describe = Describe { sinks: true, ffn_norm: "post_attention_norm", ..Describe::usual(shape) };
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let usual = hyper.mixture(hyper.expert_length()?)?;
    let mixture = Mixture { scoring: Scoring::SoftmaxOfChosen, gating: GATING, ..usual };
    let window = hyper.sliding_window()?;
    let global_layers = hyper.global_layers(shape.layers, PATTERN)?;
    let layers = describe.layers(
        tensors,
        |_| Feed::Experts(mixture),
        |i, attention| Attention { window: window.filter(|_| !global_layers[i]), ..attention },
    )?;
    describe.decoder("gpt-oss", tensors, vec![rope], layers)
}
