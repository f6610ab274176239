//! Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024): a recurrence that takes the place of attention; and the gate of the
//! attention that goes with it.
//!
//! # Specification
//!
//! A row has, for one token, what the projections give: queries and keys of all key heads and values of all value heads
//! (the *mixed* channels), a gate `z` for each element of the values, and for each value head two numbers `b` and `a`.
//!
//! 1. **Rates.** `beta = sigmoid(b)`, `decay = exp(rate * softplus(a + bias))`, where `softplus(x) = max(x, 0) +
//!    log1p(exp(-|x|))`.
//! 2. **Convolution.** Each channel has one accumulator, to which the products of taps and inputs are added, fused, the
//!    oldest input first; then `silu`. Before the first token all inputs are zero.
//! 3. **Norm.** Each head of queries and keys is multiplied by `1 / sqrt(sum(x * x) + 1e-6)`, queries also by `1 /
//!    sqrt(key_dim)` (the two factors first by each other). The squares are rounded and summed as in
//!    [`ops::rms_norm`].
//! 4. **Recurrence**, token by token, for each value head with a state `S` of `key_dim` rows of `value_dim` elements. Sums
//!    over the rows have four accumulators, row `i` is added, fused, to number `i mod 4`, and they are summed `(0 + 1) + (2 +
//!    3)`. With `m = sum(k[i] * S[i])` and `d = beta * fma(-decay, m, v)`, each row becomes `S[i] = fma(k[i], d, decay *
//!    S[i])`, and the output is `sum(q[i] * S[i])` with the new rows.
//! 5. **Output.** Each head has an RMSNorm ([`ops::rms_norm`]), and is multiplied by `silu(z)`.
//!
//! None of it depends on how many tokens there are at once or on who does which part. The state lies as `[value head][stripe][row of
//! the key][16 elements of the value]`, a last stripe padded with zeros: a stripe is small enough for the first-level cache,
//! and depends on no other.

mod recurrence;

use self::recurrence::Recurrence;
use super::experts::sigmoid;
use super::level::with_level;
use super::shared::{SharedOut, each_chunk};
use super::simd::{Simd, Work};
use super::{Isa, Pool, math, ops};

/// Elements of a stripe of the state.
const LANES: usize = 16;
/// Elements that make a task worth claiming.
const PIECE: usize = 1024;
/// Tasks per thread when there is enough to share.
const TASKS_PER_THREAD: usize = 4;
/// Added to the sum of squares of a query or a key: the model's definition, whatever the epsilon of its norms.
const L2_EPS: f32 = 1e-6;

/// Which value heads use which key head, and how their rates lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadOrder {
    /// Neighbouring value heads share a key head. For each key head there are `b` of its value heads, then `a` of them.
    Grouped,
    /// Value heads take the key heads in turn. There are `b` of all, then `a` of all.
    Tiled,
}

/// Sizes of a DeltaNet layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeltaShape {
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values: a multiple of them.
    pub value_heads: usize,
    /// Elements of a query or a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Inputs that the convolution sees, the present one included.
    pub taps: usize,
    /// How value heads belong to key heads.
    pub order: HeadOrder,
}

impl DeltaShape {
    /// Elements of the values of a token, and of its gates and outputs.
    pub const fn value_len(&self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Elements of the queries and keys of a token.
    const fn keys_len(&self) -> usize {
        2 * self.key_heads * self.key_dim
    }

    /// Channels of the convolution: queries, keys and values of a token.
    pub const fn mixed_len(&self) -> usize {
        self.keys_len() + self.value_len()
    }

    /// Elements of a token's row: channels, gates, and two rates for each value head.
    pub const fn row_len(&self) -> usize {
        self.mixed_len() + self.value_len() + 2 * self.value_heads
    }

    /// Elements of what is kept between tokens: the inputs that the convolution will see again, then the states.
    pub const fn state_len(&self) -> usize {
        self.past_len() + self.value_heads * self.stripes() * self.key_dim * LANES
    }

    const fn past_len(&self) -> usize {
        (self.taps - 1) * self.mixed_len()
    }

    const fn stripes(&self) -> usize {
        self.value_dim.div_ceil(LANES)
    }

    const fn key_head(&self, head: usize) -> usize {
        match self.order {
            HeadOrder::Grouped => head / (self.value_heads / self.key_heads),
            HeadOrder::Tiled => head % self.key_heads,
        }
    }

    /// Where in a row `b` and `a` of a value head are.
    const fn rates(&self, head: usize) -> [usize; 2] {
        let (first, shared) = (self.mixed_len() + self.value_len(), self.value_heads / self.key_heads);
        match self.order {
            HeadOrder::Grouped => {
                let b = first + head / shared * 2 * shared + head % shared;
                [b, b + shared]
            }
            HeadOrder::Tiled => [first + head, first + self.value_heads + head],
        }
    }
}

/// A DeltaNet layer between its projections.
#[derive(Debug, Clone, Copy)]
pub struct DeltaNet<'a> {
    /// Sizes.
    pub shape: DeltaShape,
    /// Weights of the convolution: for each tap, the oldest first, one per channel.
    pub taps: &'a [f32],
    /// What the softplus is multiplied with, for each value head: not above zero.
    pub rate: &'a [f32],
    /// What is added to `a`, for each value head.
    pub bias: &'a [f32],
    /// Weights of the norm of a head's output.
    pub norm: &'a [f32],
    /// Its epsilon.
    pub eps: f32,
}

impl DeltaNet<'_> {
    /// Fills `out` with the outputs of consecutive tokens, whose rows are `rows`; of those the rates are used up. `before` is
    /// what the token before them left (zeros where there was none), `after` becomes what the last of them leaves. `mixed` is
    /// room for the channels of all tokens.
    ///
    /// # Panics
    ///
    /// The lengths do not fit each other.
    pub fn run(
        &self,
        pool: &Pool,
        isa: Isa,
        rows: &mut [f32],
        (before, after): (&[f32], &mut [f32]),
        mixed: &mut [f32],
        out: &mut [f32],
    ) {
        let shape = &self.shape;
        let tokens = rows.len() / shape.row_len();
        assert_eq!(rows.len(), tokens * shape.row_len(), "whole rows");
        assert_eq!([before.len(), after.len()], [shape.state_len(); 2], "elements of a state");
        assert_eq!(
            [mixed.len(), out.len()],
            [tokens * shape.mixed_len(), tokens * shape.value_len()],
            "{tokens} tokens"
        );
        self.set_rates(pool, isa, rows);
        let rows = &*rows;
        let (past, state) = before.split_at(shape.past_len());
        let (new_past, new_state) = after.split_at_mut(shape.past_len());
        let inputs = Inputs { shape, past, rows };
        for (i, row) in new_past.chunks_exact_mut(shape.mixed_len()).enumerate() {
            row.copy_from_slice(inputs.row(tokens + i));
        }
        let (keys, values) = mixed.split_at_mut(tokens * shape.keys_len());
        self.convolve(pool, isa, inputs, Channels::Keys, keys);
        self.convolve(pool, isa, inputs, Channels::Values, values);
        let recurrence = Recurrence { shape, rows, keys, values, out: SharedOut::new(out) };
        recurrence.run(pool, isa, state, new_state);
        self.norm_outputs(pool, isa, rows, out);
    }

    /// `b` and `a` become `beta` and `decay`, where they are.
    fn set_rates(&self, pool: &Pool, isa: Isa, rows: &mut [f32]) {
        struct Rates<'a>(&'a DeltaNet<'a>, &'a mut [f32]);
        impl Work for Rates<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Self(DeltaNet { shape, rate, bias, .. }, rows) = self;
                for row in rows.chunks_exact_mut(shape.row_len()) {
                    for (head, (rate, bias)) in rate.iter().zip(*bias).enumerate() {
                        let [b, a] = shape.rates(head);
                        row[b] = sigmoid(row[b]);
                        row[a] = math::exp(rate * softplus(row[a] + bias));
                    }
                }
            }
        }
        assert_eq!([self.rate.len(), self.bias.len()], [self.shape.value_heads; 2], "one of each for a head");
        let task = elements_of_a_task(pool, rows.len(), self.shape.row_len());
        each_chunk(pool, rows, task, &|_, rows| {
            with_level!(isa, level => level.run(Rates(self, rows)));
        });
    }

    /// Fills `out` with some of the channels of all tokens, head by head.
    fn convolve(&self, pool: &Pool, isa: Isa, inputs: Inputs<'_>, channels: Channels, out: &mut [f32]) {
        struct Heads<'a>(&'a DeltaNet<'a>, Inputs<'a>, Channels, usize, &'a mut [f32]);
        impl Work for Heads<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Self(delta, inputs, channels, first, out) = self;
                let (heads, dim, column) = channels.of(&delta.shape);
                for (i, out) in out.chunks_exact_mut(dim).enumerate() {
                    let (token, head) = ((first + i) / heads, (first + i) % heads);
                    delta.convolve_head(inputs, token, column + head * dim, out);
                    if channels == Channels::Keys {
                        norm_key(out, head < delta.shape.key_heads);
                    }
                }
            }
        }
        assert_eq!(self.taps.len(), self.shape.taps * self.shape.mixed_len(), "the weights of a convolution");
        let (_, dim, _) = channels.of(&self.shape);
        each_chunk(pool, out, elements_of_a_task(pool, out.len(), dim), &|first, out| {
            with_level!(isa, level => level.run(Heads(self, inputs, channels, first / dim, out)));
        });
    }

    /// Channels from `column` on, of one token.
    #[inline(always)]
    fn convolve_head(&self, inputs: Inputs<'_>, token: usize, column: usize, out: &mut [f32]) {
        out.fill(0.0);
        for (tap, weights) in self.taps.chunks_exact(self.shape.mixed_len()).enumerate() {
            let (input, weights) = (&inputs.row(token + tap)[column..], &weights[column..]);
            for (out, (x, weight)) in out.iter_mut().zip(input.iter().zip(weights)) {
                *out = x.mul_add(*weight, *out);
            }
        }
        for out in out {
            *out = ops::silu(*out);
        }
    }

    /// Each head's output is normed and meets its gate.
    fn norm_outputs(&self, pool: &Pool, isa: Isa, rows: &[f32], out: &mut [f32]) {
        struct Heads<'a>(&'a DeltaNet<'a>, &'a [f32], usize, &'a mut [f32]);
        impl Work for Heads<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Self(DeltaNet { shape, norm, eps, .. }, rows, first, out) = self;
                ops::rms_norm_in_place(out, norm, *eps);
                for (i, out) in out.chunks_exact_mut(shape.value_dim).enumerate() {
                    let (token, head) = ((first + i) / shape.value_heads, (first + i) % shape.value_heads);
                    let gates = &rows[token * shape.row_len() + shape.mixed_len() + head * shape.value_dim..];
                    for (out, z) in out.iter_mut().zip(gates) {
                        *out *= ops::silu(*z);
                    }
                }
            }
        }
        let dim = self.shape.value_dim;
        assert_eq!(self.norm.len(), dim, "the weights of a norm");
        each_chunk(pool, out, elements_of_a_task(pool, out.len(), dim), &|first, out| {
            with_level!(isa, level => level.run(Heads(self, rows, first / dim, out)));
        });
    }
}

/// Elements of a task, in whole rows of `row`, where there are `len` in all.
fn elements_of_a_task(pool: &Pool, len: usize, row: usize) -> usize {
    (len / (pool.threads() * TASKS_PER_THREAD)).max(PIECE).div_ceil(row) * row
}

/// `ln(1 + exp(x))`, without an exponential that overflows.
#[inline(always)]
fn softplus(x: f32) -> f32 {
    // A NaN fails the comparison, and goes on in the logarithm.
    let positive = if x > 0.0 { x } else { 0.0 };
    positive + libm::log1pf(math::exp(-x.abs()))
}

/// A query or a key becomes as long as one, a query then shorter by the root of its elements.
#[inline(always)]
fn norm_key(x: &mut [f32], query: bool) {
    let mut lanes = [0.0f64; 8];
    for chunk in x.chunks(8) {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(x * x);
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    let scale = 1.0 / (sum as f32 + L2_EPS).sqrt();
    ops::scale(x, if query { scale * (1.0 / (x.len() as f32).sqrt()) } else { scale });
}

/// What the convolution sees: the inputs before these tokens, then theirs.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    shape: &'a DeltaShape,
    past: &'a [f32],
    rows: &'a [f32],
}

impl<'a> Inputs<'a> {
    /// The channels of input `index`, counted from the oldest that the first token sees.
    #[inline(always)]
    fn row(&self, index: usize) -> &'a [f32] {
        let Self { shape, past, rows } = self;
        match index.checked_sub(shape.taps - 1) {
            None => &past[index * shape.mixed_len()..][..shape.mixed_len()],
            Some(token) => &rows[token * shape.row_len()..][..shape.mixed_len()],
        }
    }
}

/// Channels whose heads have one length.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Channels {
    /// Queries and keys.
    Keys,
    Values,
}

impl Channels {
    /// Heads, elements of one, and the channel of the first.
    #[inline(always)]
    fn of(self, shape: &DeltaShape) -> (usize, usize, usize) {
        match self {
            Self::Keys => (2 * shape.key_heads, shape.key_dim, 0),
            Self::Values => (shape.value_heads, shape.value_dim, shape.keys_len()),
        }
    }
}

/// `out *= sigmoid(gates)`: the gate of attention.
///
/// # Panics
///
/// The lengths differ.
pub fn gate(pool: &Pool, isa: Isa, gates: &[f32], out: &mut [f32]) {
    struct Piece<'a>(&'a [f32], &'a mut [f32]);
    impl Work for Piece<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            for (out, gate) in self.1.iter_mut().zip(self.0) {
                *out *= sigmoid(*gate);
            }
        }
    }
    assert_eq!(gates.len(), out.len(), "gates");
    each_chunk(pool, out, elements_of_a_task(pool, out.len(), 1), &|first, out| {
        with_level!(isa, level => level.run(Piece(&gates[first..first + out.len()], out)));
    });
}
