//! `qwen3next`: most layers are gated DeltaNet, the others attention whose output has a gate, with norms of queries and keys and
//! rotary positions for a part of each head. All have experts, whose weights are divided by their sum, and a shared expert whose
//! weight is a sigmoid.

use super::moe::Shared;
use super::{Describe, Feed, HeadNorms, Hyper, Mixture};
use crate::model::ModelError;
use crate::model::decoder::{Decoder, HeadOrder, RopeStyle};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    hybrid("qwen3next", HeadOrder::Grouped, hyper, tensors)
}

/// With the value heads in one order or another.
pub(super) fn hybrid(
    name: &'static str,
    order: HeadOrder,
    hyper: &Hyper<'_>,
    tensors: &mut Tensors<'_>,
) -> Result<Decoder, ModelError> {
    let shape = hyper.shape_without_predictors(tensors)?;
    let describe = Describe {
        head_norms: HeadNorms::Each,
        ffn_norm: "post_attention_norm",
        gated: true,
        recurrent: Some(hyper.recurrent(order)?),
        ..Describe::usual(shape)
    };
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let shared = hyper.shared_length()?.map(|width| Shared { width, gated: true });
    let mixture = Mixture { shared, normalise: true, ..hyper.mixture(hyper.expert_length()?)? };
    let layers = describe.layers(tensors, |_| Feed::Experts(mixture), |_, attention| attention)?;
    describe.decoder(name, tensors, vec![rope], layers)
}
