//! Attention over the cache.
//!
//! One task is one head of one token. For the positions it sees, oldest first:
//! 1. the scores are dot products of floats times `scale`, capped where the model caps;
//! 2. the weights are `exp(score - max)`, their sum is taken in 8 lanes, position `i` of those seen in lane `i mod 8`;
//! 3. each element of the output is the sum of `weight * value` over the positions in their order, then divided by the
//!    sum of the weights.
//!
//! None of it depends on how many tokens are in the batch, so a prompt in pieces gives the same bits as in one.

use super::kv::KvLayer;
use super::level::{Level, with_level};
use super::shared::{SharedOut, each_with_scratch};
use super::{Isa, KvCache, Pool, ops};

/// What attention of a layer depends on besides its inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Heads of queries, a multiple of the heads of keys: each of those serves as many neighbouring query heads.
    pub heads: usize,
    /// What the scores are multiplied by.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// How many positions a token sees, its own included; all where there is none.
    pub window: Option<usize>,
}

/// The memory that [`attend`] works in: scores and sums for each thread.
#[derive(Debug)]
pub struct Scratch {
    rows: Vec<f32>,
    row: usize,
    max_positions: usize,
}

impl Scratch {
    /// For `threads` threads, up to `max_positions` positions seen by a token, and values of up to `max_value_dim`.
    pub fn new(threads: usize, max_positions: usize, max_value_dim: usize) -> Self {
        let row = Self::row(max_positions, max_value_dim);
        Self { rows: vec![0.0; threads * row], row, max_positions }
    }

    /// The bytes that [`Scratch::new`] takes from memory.
    pub const fn bytes(threads: usize, max_positions: usize, max_value_dim: usize) -> usize {
        threads * Self::row(max_positions, max_value_dim) * size_of::<f32>()
    }

    /// Whole cache lines, and one more so that no two threads write to one.
    const fn row(max_positions: usize, max_value_dim: usize) -> usize {
        (max_positions + max_value_dim).next_multiple_of(16) + 16
    }
}

/// Attention of consecutive tokens, the first of which is at `position`: `queries` has a row of heads for each token, and so
/// will `out`. The keys and values of all positions up to each token's own must be in layer `layer` of `cache`.
///
/// # Panics
///
/// The lengths do not fit each other or the cache, or `scratch` was made for fewer threads, positions or elements.
#[expect(clippy::too_many_arguments, reason = "they are of different kinds, and each is named at the call")]
pub fn attend(
    pool: &Pool,
    isa: Isa,
    attention: &Attention,
    cache: &KvCache,
    layer: usize,
    position: usize,
    queries: &[f32],
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let kv = cache.layer(layer);
    let (heads, shape) = (attention.heads, kv.shape);
    assert!(shape.heads > 0 && heads.is_multiple_of(shape.heads), "{heads} heads with {} of keys", shape.heads);
    let (query_row, out_row) = (heads * shape.key_dim, heads * shape.value_dim);
    assert!(
        query_row > 0 && queries.len().is_multiple_of(query_row),
        "{} queries in rows of {query_row}",
        queries.len()
    );
    let tokens = queries.len() / query_row;
    assert_eq!(out.len(), tokens * out_row, "outputs of {tokens} tokens");
    let out = SharedOut::new(out);
    let max_positions = scratch.max_positions;
    each_with_scratch(pool, tokens * heads, &mut scratch.rows, scratch.row, &|task, scratch| {
        // Heads that share keys come one after the other, and find them in a cache.
        let (token, head) = (task / heads, task % heads);
        let end = position + token + 1;
        let begin = attention.window.map_or(0, |window| end.saturating_sub(window));
        let len = end - begin;
        assert!(len <= max_positions && len <= shape.positions, "{len} positions in a scratch for {max_positions}");
        let (scores, sums) = scratch.split_at_mut(max_positions);
        let (scores, sums) = (&mut scores[..len], &mut sums[..shape.value_dim]);
        let query = &queries[token * query_row + head * shape.key_dim..][..shape.key_dim];
        one_head(isa, attention, kv, head / (heads / shape.heads), begin, query, scores, sums);
        for (i, &sum) in sums.iter().enumerate() {
            out.set(token * out_row + head * shape.value_dim + i, sum);
        }
    });
}

/// One head of one token, which sees as many positions as there are `scores`, the first of them `begin`.
#[expect(clippy::too_many_arguments, reason = "the inside of one loop")]
fn one_head(
    isa: Isa,
    attention: &Attention,
    kv: KvLayer<'_>,
    kv_head: usize,
    begin: usize,
    query: &[f32],
    scores: &mut [f32],
    sums: &mut [f32],
) {
    let KvLayer { shape, keys, values } = kv;
    let keys = &keys[kv_head * shape.positions * shape.key_dim..][..shape.positions * shape.key_dim];
    let values = &values[kv_head * shape.positions * shape.value_dim..][..shape.positions * shape.value_dim];
    // The positions are one run of slots, or two where they go over the end of the cache.
    let first = begin % shape.positions;
    let before_end = scores.len().min(shape.positions - first);
    let (old, new) = scores.split_at_mut(before_end);
    with_level!(isa, level => {
        level.dots(query, &keys[first * shape.key_dim..], old);
        level.dots(query, keys, new);
    });
    ops::scale(scores, attention.scale);
    if let Some(cap) = attention.softcap {
        ops::softcap(scores, cap);
    }
    let sum = ops::exp_of_difference_to_max(scores);
    sums.fill(0.0);
    let (old, new) = scores.split_at(before_end);
    with_level!(isa, level => {
        level.weighted_sum(old, &values[first * shape.value_dim..], sums);
        level.weighted_sum(new, values, sums);
    });
    for x in sums {
        *x /= sum;
    }
}
