//! `deepseek2`: DeepSeek V2 and V3, Kimi K2, GLM-4.7-Flash. Attention to latents, whose queries may be made by way of a shorter
//! vector; each query has a part that meets the latent and a part that is turned. The first layers are dense; then V2 scores
//! experts by softmax, and groups of them by their best; V3 by sigmoid with a correction, and groups by their two best.

use super::moe::Shared;
use super::{Describe, Feed, Hyper, MOST_LAYERS, MOST_WIDTH, Mixture, YARN_MAGNITUDE, usual_magnitude};
use crate::model::ModelError;
use crate::model::decoder::{
    Activation, Decoder, Groups, Latent, LatentDims, Layer, Mixer, QueryUp, Rope, RopeScaling, RopeStyle, Scoring,
    Shape,
};
use crate::model::tensors::Tensors;

pub(super) fn describe(hyper: &Hyper<'_>, tensors: &mut Tensors<'_>) -> Result<Decoder, ModelError> {
    let joined = "blk.0.attn_kv_b.weight";
    if tensors.has(joined) {
        return Err(ModelError::JoinedMaps { name: joined.to_owned() });
    }
    let dims = dims(hyper)?;
    let shape =
        Shape { kv_heads: 1, head_dim: dims.key(), value_dim: dims.rank, ..hyper.shape_without_predictors(tensors)? };
    let describe = Describe::usual(shape);
    let mut rope = hyper.rope(&shape, RopeStyle::Norm)?;
    let stretch = stretch(hyper, &mut rope)?;
    let dense_layers = hyper.size_or_0("leading_dense_block_count", MOST_LAYERS)?;
    let width = if dense_layers > 0 { hyper.feed_forward_length()? } else { 0 };
    let mixture = (dense_layers < shape.layers).then(|| mixture(hyper, tensors, dense_layers)).transpose()?;
    let layers = (0..shape.layers).map(|layer| {
        let feed = match mixture {
            Some(mixture) if layer >= dense_layers => Feed::Experts(mixture),
            _ => Feed::Dense { width, activation: Activation::Silu },
        };
        let mixer = Mixer::Latent(latent(&describe, tensors, layer, dims, hyper)?);
        Ok(Layer { mixer, channel: describe.channel(tensors, layer, feed)? })
    });
    let layers = layers.collect::<Result<_, ModelError>>()?;
    Ok(Decoder {
        attention_scale: stretch * stretch / (dims.query() as f32).sqrt(),
        ..describe.decoder("deepseek2", tensors, vec![rope], layers)?
    })
}

fn dims(hyper: &Hyper<'_>) -> Result<LatentDims, ModelError> {
    let turned = hyper.size("rope.dimension_count", MOST_WIDTH)?;
    let query = hyper.size("attention.key_length_mla", MOST_WIDTH)?;
    if query <= turned {
        let (key, value) = (hyper.key("attention.key_length_mla"), query.to_string());
        let expected = format!("more than the {turned} elements that are turned");
        return Err(ModelError::Hyperparameter { key, value, expected });
    }
    Ok(LatentDims {
        rank: hyper.size("attention.kv_lora_rank", MOST_WIDTH)?,
        plain: query - turned,
        turned,
        value: hyper.size("attention.value_length_mla", MOST_WIDTH)?,
    })
}

/// What YaRN multiplies queries and keys with. Here it is a part of the scale of the scores; what is turned keeps its length.
fn stretch(hyper: &Hyper<'_>, rope: &mut Rope) -> Result<f32, ModelError> {
    let slope = hyper.multiplier("rope.scaling.yarn_log_multiplier")?;
    let (Some(slope), RopeScaling::Yarn { factor, attention_factor, .. }) = (slope, &mut rope.scaling) else {
        return Ok(1.0);
    };
    // Takes back what rotary positions with YaRN usually multiply with.
    if hyper.multiplier(YARN_MAGNITUDE)?.is_none() {
        *attention_factor /= usual_magnitude(*factor);
    }
    Ok(1.0 + slope * libm::logf(*factor))
}

fn mixture(hyper: &Hyper<'_>, tensors: &Tensors<'_>, dense_layers: usize) -> Result<Mixture, ModelError> {
    let usual = hyper.mixture(hyper.expert_length()?)?;
    let shared = hyper.size_or_0("expert_shared_count", MOST_WIDTH / usual.width)?;
    // Where the file does not say it: the correction came with V3, and so did the sigmoid.
    let corrected = tensors.has(&format!("blk.{dense_layers}.exp_probs_b.bias"));
    let scoring = hyper.expert_scoring(if corrected { Scoring::Sigmoid } else { Scoring::Softmax })?;
    let best = if scoring == Scoring::Softmax { 1 } else { 2 };
    Ok(Mixture {
        scoring,
        groups: hyper.expert_groups(&usual)?.map(|groups| Groups { best, ..groups }),
        normalise: hyper.flag("expert_weights_norm")?,
        scale: hyper.multiplier("expert_weights_scale")?.unwrap_or(1.0),
        shared: (shared > 0).then(|| Shared { width: shared * usual.width, gated: false }),
        ..usual
    })
}

fn latent(
    describe: &Describe,
    tensors: &mut Tensors<'_>,
    layer: usize,
    dims: LatentDims,
    hyper: &Hyper<'_>,
) -> Result<Latent, ModelError> {
    let Shape { dim, heads, .. } = describe.shape;
    let LatentDims { rank, plain, value, .. } = dims;
    let name = |part: &str| format!("blk.{layer}.{part}");
    let queries = heads * dims.query();
    // V2-Lite's file may name a rank and have none.
    let short = !tensors.has(&name("attn_q.weight"));
    let norm = tensors.vector(&name("attn_norm.weight"), dim)?;
    let latent_norm = tensors.vector(&name("attn_kv_a_norm.weight"), rank)?;
    tensors.step();
    let (query, query_rank) = if short {
        let rank = hyper.size("attention.q_lora_rank", MOST_WIDTH)?;
        (describe.linear(tensors, &name("attn_q_a"), rank, dim)?, Some(rank))
    } else {
        (describe.linear(tensors, &name("attn_q"), queries, dim)?, None)
    };
    let compress = describe.linear(tensors, &name("attn_kv_a_mqa"), dims.key(), dim)?;
    let query_up = match query_rank {
        None => None,
        Some(rank) => {
            let norm = tensors.vector(&name("attn_q_a_norm.weight"), rank)?;
            tensors.step();
            Some(QueryUp { rank, norm, up: describe.linear(tensors, &name("attn_q_b"), queries, rank)? })
        }
    };
    tensors.step();
    let key = tensors.head_matrices(&name("attn_k_b.weight"), heads, rank, plain)?;
    tensors.step();
    let value = tensors.head_matrices(&name("attn_v_b.weight"), heads, value, rank)?;
    tensors.step();
    let output = describe.linear(tensors, &name("attn_output"), dim, heads * dims.value)?;
    Ok(Latent { norm, query, query_up, compress, latent_norm, key, value, rope: 0, output, dims })
}
