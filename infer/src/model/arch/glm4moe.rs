//! `glm4moe`: GLM-4.5. The first layers are dense; then a sigmoid scores the experts, whose choice is corrected by a bias and
//! may be one in groups, beside shared ones that are computed as one. Rotary positions for a part of each head.

use super::moe::Shared;
use super::{Describe, Feed, HeadNorms, Hyper, MOST_LAYERS, MOST_WIDTH, Mixture};
use crate::model::ModelError;
use crate::model::decoder::{Activation, Decoder, RopeStyle, Scoring};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let shape = hyper.shape_without_predictors(tensors)?;
    let head_norms = if tensors.has("blk.0.attn_q_norm.weight") { HeadNorms::Each } else { HeadNorms::None };
    let describe = Describe { head_norms, ffn_norm: "post_attention_norm", ..Describe::usual(shape) };
    let rope = hyper.rope(&shape, RopeStyle::Neox)?;
    let usual = hyper.mixture(hyper.expert_length()?)?;
    let shared = hyper.size_or_0("expert_shared_count", MOST_WIDTH / usual.width)?;
    let mixture = Mixture {
        scoring: hyper.expert_scoring(Scoring::Sigmoid)?,
        groups: hyper.expert_groups(&usual)?,
        normalise: hyper.flag("expert_weights_norm")?,
        scale: hyper.multiplier("expert_weights_scale")?.unwrap_or(1.0),
        shared: (shared > 0).then(|| Shared { width: shared * usual.width, gated: false }),
        ..usual
    };
    let dense_layers = hyper.size_or_0("leading_dense_block_count", MOST_LAYERS)?;
    let width = if dense_layers > 0 { hyper.feed_forward_length()? } else { 0 };
    let feed = |layer| match layer {
        _ if layer < dense_layers => Feed::Dense { width, activation: Activation::Silu },
        _ => Feed::Experts(mixture),
    };
    let layers = describe.layers(tensors, feed, |_, attention| attention)?;
    describe.decoder("glm4moe", tensors, vec![rope], layers)
}
