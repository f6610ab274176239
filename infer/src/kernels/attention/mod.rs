//! Attention over the cache.
//!
//! # Specification
//!
//! A head of a token sees the positions up to the token's own, or as many of them as a window has. They fall into segments of
//! 256, at multiples of 256 from position zero. Of each segment it sees something of, in the order of the positions:
//!
//! 1. **Scores.** The dot product of query and key is one accumulator, to which the products are added in the order of the
//!    elements, fused: `a = fma(q[i], k[i], a)`. Where 32 elements of a key share a scale `d`, each block of 32 has an
//!    accumulator `b` of its own, `b = fma(q[i], float(quant[i]), b)`, and then `a = fma(b, d, a)`. The score is `a *
//!    scale`, and where the model caps it `cap * tanh(score * (1 / cap))`.
//! 2. **Weights.** `max` is the largest score, of no less than the least finite number (minus infinity weighs
//!    nothing then); NaNs are not looked at. The weights are `w = exp(score - max)`. They are summed in 32 accumulators,
//!    `sum[p mod 32] += w` for position `p`.
//! 3. **Values.** Element `i` of `out` is one accumulator, from the first position seen to the last: `out = fma(w, v[i], out)`.
//!    Where 32 elements of a value share a scale `d` it is `fma(w * d, float(quant[i]), out)`.
//!
//! Then the segments come together in their order: `(M, S, O)` is what the first one gives, and with each other one, and
//! with `N` the larger of `M` and `max`, `old = exp(M - N)` and `new = exp(max - N)`, it becomes, element by element,
//! `(N, fma(sum, new, S * old), fma(out, new, O * old))`.
//!
//! Where the head has a sink, whose logit is `s`, that comes after the last segment: one more score, whose value is zero. With
//! `N` the larger of `M` and `s`, `old = exp(M - N)` and `new = exp(s - N)`, it becomes `(N, S * old, O * old)`, and then `new`
//! is added to the first accumulator of `S`.
//!
//! In the end the accumulators of `S` are folded ([`fold32`](super::order::fold32)) and summed
//! ([`tree8`](super::order::tree8)), and the result is `O * (1 / S)`.
//!
//! None of it depends on how many tokens are in the batch, so a prompt in pieces gives the same bits as in one; nor on how
//! many heads or tokens a kernel takes at a time, nor on who does which segment.
//!
//! # Work
//!
//! The query heads that share a head of keys and values, of several tokens, are the rows of a small matrix: a vector of
//! keys or values, once read and widened, meets all of them. A task has one head of keys and values and some tokens, and
//! goes through the segments; the segment stays in the second-level cache for all its rows. One token alone gives few
//! tasks, so there each segment is a task, and another run brings the results together.

mod segment;
mod tasks;

use self::segment::{Results, Scores};
use self::tasks::Call;
use super::kv::{KvLayer, LANES};
use super::shared::SharedOut;
use super::{Isa, KvCache, KvShape, Pool};

/// Positions whose weights refer to one largest score: a part of the specification.
pub(super) const SEGMENT: usize = 256;
/// Tiles of a segment.
const TILES: usize = SEGMENT / LANES;
/// Rows of queries that a task has, about: enough that the kernels, and not the cache they read, set the pace.
const TASK_ROWS: usize = 64;
/// The most rows that any level takes at a time.
const MOST_ROWS: usize = 12;

/// What attention of a layer depends on besides its inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention<'a> {
    /// Heads of queries, a multiple of the heads of keys: each of those serves as many neighbouring query heads.
    pub heads: usize,
    /// What the scores are multiplied by.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// How many positions a token sees, its own included; all where there is none.
    pub window: Option<usize>,
    /// The logit of each head's sink, a score that takes its share of the weights and gives nothing.
    pub sinks: Option<&'a [f32]>,
}

/// The memory that [`attend`] works in.
#[derive(Debug)]
pub struct Scratch {
    /// For each thread: queries, weights, and the results so far.
    threads: Vec<f32>,
    /// The results of each segment of one token.
    segments: Vec<f32>,
    sizes: Sizes,
}

/// Lengths, in floats.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sizes {
    /// Rows of queries of a task, at most.
    rows: usize,
    queries: usize,
    weights: usize,
    /// The results of one segment, for the rows that a kernel takes at a time.
    partial: usize,
    /// The results of one row.
    result: usize,
    /// Segments that a token may see.
    segments: usize,
}

impl Sizes {
    /// For `heads` heads of queries and a cache of `shape`. Saturates where a damaged header asks for the impossible.
    const fn new(heads: usize, shape: &KvShape) -> Self {
        let group = match shape.heads {
            0 => 0,
            kv_heads => heads / kv_heads,
        };
        let rows = if group > TASK_ROWS { group } else { TASK_ROWS };
        let result = Results::len(shape.stripes());
        Self {
            rows,
            queries: rows.saturating_mul(shape.key_blocks() * LANES),
            weights: TILES * MOST_ROWS * LANES,
            partial: MOST_ROWS * result,
            result,
            // A window may begin and end in the middle of one.
            segments: shape.positions.div_ceil(SEGMENT).saturating_add(1),
        }
    }

    /// Whole cache lines, and one more so that no two threads write to one.
    const fn thread(&self) -> usize {
        let results = self.rows.saturating_mul(self.result);
        (self.queries.saturating_add(self.weights + self.partial).saturating_add(results) / 16 + 2) * 16
    }

    const fn segments(&self, heads: usize) -> usize {
        heads.saturating_mul(self.segments).saturating_mul(self.result)
    }
}

impl Scratch {
    /// For `threads` threads, `heads` heads of queries, and layers of `shape` or with fewer positions.
    pub fn new(threads: usize, heads: usize, shape: &KvShape) -> Self {
        let sizes = Sizes::new(heads, shape);
        Self { threads: vec![0.0; threads * sizes.thread()], segments: vec![0.0; sizes.segments(heads)], sizes }
    }

    /// The bytes that [`Scratch::new`] takes from memory.
    pub const fn bytes(threads: usize, heads: usize, shape: &KvShape) -> usize {
        let sizes = Sizes::new(heads, shape);
        threads.saturating_mul(sizes.thread()).saturating_add(sizes.segments(heads)).saturating_mul(size_of::<f32>())
    }
}

/// Attention of consecutive tokens, the first of which is at `position`. The queries of token `t`, a row of heads, begin
/// at `queries[t * stride]`; `out` will have a row of heads for each token. The keys and values of all positions up to each
/// token's own must be in layer `layer` of `cache`.
///
/// # Panics
///
/// The lengths do not fit each other or the cache, a token sees more positions than the cache keeps, or `scratch` was made
/// for fewer threads, heads or positions, or for other dimensions.
#[expect(clippy::too_many_arguments, reason = "they are of different kinds, and each is named at the call")]
pub fn attend(
    pool: &Pool,
    isa: Isa,
    attention: &Attention<'_>,
    cache: &KvCache,
    layer: usize,
    position: usize,
    queries: &[f32],
    stride: usize,
    scratch: &mut Scratch,
    out: &mut [f32],
) {
    let (heads, shape) = (attention.heads, cache.shape(layer));
    assert!(shape.heads > 0 && heads.is_multiple_of(shape.heads), "{heads} heads with {} of keys", shape.heads);
    let (query_row, out_row) = (heads * shape.key_dim, heads * shape.value_dim);
    assert!(out_row > 0 && out.len().is_multiple_of(out_row), "{} outputs in rows of {out_row}", out.len());
    let tokens = out.len() / out_row;
    if tokens == 0 {
        return;
    }
    assert!(query_row <= stride && (tokens - 1) * stride + query_row <= queries.len(), "queries of {tokens} tokens");
    assert!(attention.sinks.is_none_or(|sinks| sinks.len() == heads), "not a sink for each of {heads} heads");
    let end = position + tokens;
    let begin = attention.window.map_or(0, |window| (position + 1).saturating_sub(window));
    assert!(end - begin <= shape.tiles() * LANES, "{} positions of {} that are kept", end - begin, shape.positions);
    let mut sizes = Sizes::new(heads, &shape);
    assert!(sizes.segments <= scratch.sizes.segments, "more segments than the scratch is for");
    sizes.segments = scratch.sizes.segments;
    assert_eq!(sizes, scratch.sizes, "a scratch of another shape");
    let call = Call {
        isa,
        window: attention.window,
        scores: Scores { scale: attention.scale, softcap: attention.softcap },
        sinks: attention.sinks,
        shape,
        group: heads / shape.heads,
        position,
        tokens,
        queries,
        stride,
        out: SharedOut::new(out),
        sizes,
    };
    match cache.layer(layer) {
        KvLayer::F32(kv) => call.run(kv, pool, scratch),
        KvLayer::F16(kv) => call.run(kv, pool, scratch),
        KvLayer::Q8(kv) => call.run(kv, pool, scratch),
    }
}
