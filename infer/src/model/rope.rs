//! From the description of rotary positions to their table.

use super::decoder::{Rope, RopeScaling};
use super::vectors::Vectors;
use crate::kernels::{RopeParams, RopeTable};

/// The table of `rope` for chunks of up to `chunk` tokens.
pub(super) fn rope_table(rope: &Rope, vectors: &Vectors, chunk: usize) -> RopeTable {
    let plain = RopeParams::new(rope.style, rope.dims, rope.base);
    let params = match rope.scaling {
        RopeScaling::None => plain,
        RopeScaling::Linear { factor } => RopeParams { freq_scale: 1.0 / factor, ..plain },
        RopeScaling::Yarn { factor, original_context, attention_factor, beta_fast, beta_slow } => RopeParams {
            freq_scale: 1.0 / factor,
            ext_factor: 1.0,
            attn_factor: attention_factor,
            beta_fast,
            beta_slow,
            original_context: original_context as usize,
            ..plain
        },
    };
    RopeTable::new(params, rope.factors.map(|id| &vectors[id]), chunk)
}
