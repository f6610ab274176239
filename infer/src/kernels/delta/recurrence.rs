//! The recurrence over the tokens: see the [specification](super).

use super::{DeltaShape, LANES, TASKS_PER_THREAD};
use crate::kernels::level::with_level;
use crate::kernels::shared::{SharedOut, each_chunk};
use crate::kernels::simd::{Simd, Work};
use crate::kernels::{Isa, Pool};

/// The recurrence of all tokens, once their channels and rates are there.
#[derive(Clone, Copy)]
pub(super) struct Recurrence<'a> {
    pub(super) shape: &'a DeltaShape,
    pub(super) rows: &'a [f32],
    /// Queries, then keys of each token.
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) out: SharedOut<'a>,
}

impl Recurrence<'_> {
    /// From the state `before` the tokens to the one `after` them.
    pub(super) fn run(self, pool: &Pool, isa: Isa, before: &[f32], after: &mut [f32]) {
        let stripe = self.shape.key_dim * LANES;
        let share = after.len() / stripe / (pool.threads() * TASKS_PER_THREAD);
        each_chunk(pool, after, share.max(1) * stripe, &|first, states| {
            states.copy_from_slice(&before[first..first + states.len()]);
            for (i, state) in states.chunks_exact_mut(stripe).enumerate() {
                let index = first / stripe + i;
                let (head, stripe) = (index / self.shape.stripes(), index % self.shape.stripes());
                let work = Stripe { all: self, head, first: stripe * LANES, state: state.as_chunks_mut().0 };
                with_level!(isa, level => level.run(work));
            }
        });
    }
}

/// The recurrence of a stripe.
struct Stripe<'a> {
    all: Recurrence<'a>,
    /// Among the value heads.
    head: usize,
    /// The stripe's first element of a value.
    first: usize,
    /// A row for each element of a key.
    state: &'a mut [[f32; LANES]],
}

impl Work for Stripe<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { all: Recurrence { shape, rows, keys, values, out }, head, first, state } = self;
        let (dim, key_head, [beta, decay]) = (shape.key_dim, shape.key_head(head), shape.rates(head));
        let len = LANES.min(shape.value_dim - first);
        for (token, row) in rows.chunks_exact(shape.row_len()).enumerate() {
            let heads = &keys[token * shape.keys_len()..][..shape.keys_len()];
            let query = &heads[key_head * dim..][..dim];
            let key = &heads[(shape.key_heads + key_head) * dim..][..dim];
            let at = token * shape.value_len() + head * shape.value_dim + first;
            let mut lanes = [0.0; LANES];
            lanes[..len].copy_from_slice(&values[at..at + len]);
            let (beta, decay) = (simd.splat(row[beta]), row[decay]);

            let known = recall(simd, state, key);
            let surprise = simd.mul_add(simd.splat(-decay), known, simd.load(&lanes));
            let change = simd.mul(beta, surprise);
            simd.store(learn(simd, state, query, key, simd.splat(decay), change), &mut lanes);
            out.set_all(at, &lanes[..len]);
        }
    }
}

/// `sum(key[i] * state[i])`.
#[inline(always)]
fn recall<S: Simd>(simd: S, state: &[[f32; LANES]], key: &[f32]) -> S::V {
    let mut sums = [simd.splat(0.0); 4];
    let ((rows, last_rows), (keys, last_keys)) = (state.as_chunks::<4>(), key.as_chunks::<4>());
    for (rows, keys) in rows.iter().zip(keys) {
        recall_rows(simd, rows, keys, &mut sums);
    }
    recall_rows(simd, last_rows, last_keys, &mut sums);
    total(simd, sums)
}

/// Of up to four rows.
#[inline(always)]
fn recall_rows<S: Simd>(simd: S, rows: &[[f32; LANES]], keys: &[f32], sums: &mut [S::V; 4]) {
    for (sum, (row, key)) in sums.iter_mut().zip(rows.iter().zip(keys)) {
        *sum = simd.mul_add(simd.splat(*key), simd.load(row), *sum);
    }
}

/// Each row becomes `fma(key[i], change, decay * state[i])`. Returns `sum(query[i] * state[i])`.
#[inline(always)]
fn learn<S: Simd>(simd: S, state: &mut [[f32; LANES]], query: &[f32], key: &[f32], decay: S::V, change: S::V) -> S::V {
    let mut sums = [simd.splat(0.0); 4];
    let (rows, last_rows) = state.as_chunks_mut::<4>();
    let ((queries, last_queries), (keys, last_keys)) = (query.as_chunks::<4>(), key.as_chunks::<4>());
    for (rows, (queries, keys)) in rows.iter_mut().zip(queries.iter().zip(keys)) {
        learn_rows(simd, rows, queries, keys, [decay, change], &mut sums);
    }
    learn_rows(simd, last_rows, last_queries, last_keys, [decay, change], &mut sums);
    total(simd, sums)
}

/// Of up to four rows.
#[inline(always)]
fn learn_rows<S: Simd>(
    simd: S,
    rows: &mut [[f32; LANES]],
    queries: &[f32],
    keys: &[f32],
    [decay, change]: [S::V; 2],
    sums: &mut [S::V; 4],
) {
    for (sum, (row, (query, key))) in sums.iter_mut().zip(rows.iter_mut().zip(queries.iter().zip(keys))) {
        let new = simd.mul_add(simd.splat(*key), change, simd.mul(decay, simd.load(row)));
        simd.store(new, row);
        *sum = simd.mul_add(simd.splat(*query), new, *sum);
    }
}

#[inline(always)]
fn total<S: Simd>(simd: S, [a, b, c, d]: [S::V; 4]) -> S::V {
    simd.add(simd.add(a, b), simd.add(c, d))
}
