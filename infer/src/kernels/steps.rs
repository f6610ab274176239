//! What happens to the activations between matrix products: for all tokens of a batch, on the pool, with a level's vectors.
//!
//! Each element depends on its own token alone and is computed as [`ops`] says, so neither the threads nor the way in
//! which tokens are shared out change a bit.

use std::ops::Range;

use super::level::with_level;
use super::shared::{each_chunk, each_pair};
use super::simd::{Simd, Work};
use super::{Isa, Pool, RopeTable, ops};

/// Elements that make a task worth claiming.
const PIECE: usize = 2048;
/// Pieces per thread when there is enough to share.
const PIECES_PER_THREAD: usize = 4;

/// How many rows of `row` elements a task has, where there are `len` elements in all.
fn rows_of_a_task(pool: &Pool, len: usize, row: usize) -> usize {
    (len / (pool.threads() * PIECES_PER_THREAD)).max(PIECE).div_ceil(row)
}

/// `out = x / sqrt(mean(x * x) + eps) * weight`, for each `weight.len()` elements: see [`ops::rms_norm`].
///
/// # Panics
///
/// The lengths differ, or are not whole rows, or `weight` is empty.
pub fn norm(pool: &Pool, isa: Isa, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    struct Norm<'a>(&'a [f32], &'a [f32], f32, &'a mut [f32]);
    impl Work for Norm<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, _: S) {
            ops::rms_norm(self.0, self.1, self.2, self.3);
        }
    }
    assert_eq!(x.len(), out.len(), "a norm");
    let task = rows_of_a_task(pool, x.len(), weight.len()) * weight.len();
    each_chunk(pool, out, task, &|first, out| {
        let work = Norm(&x[first..first + out.len()], weight, eps, out);
        with_level!(isa, level => level.run(work));
    });
}

/// `x += norm(y + bias)`: what a block gives comes to the residual stream.
#[derive(Debug, Clone, Copy)]
pub struct Residual<'a> {
    /// Added to each row first.
    pub bias: Option<&'a [f32]>,
    /// The weight and the `eps` of an RMSNorm.
    pub norm: Option<(&'a [f32], f32)>,
    /// Elements of a row.
    pub row: usize,
}

impl Residual<'_> {
    /// Adds `y` to `x`. What is left in `y` is of no use.
    ///
    /// # Panics
    ///
    /// The lengths differ, or are not whole rows.
    pub fn add(&self, pool: &Pool, isa: Isa, x: &mut [f32], y: &mut [f32]) {
        struct Rows<'a>(&'a Residual<'a>, &'a mut [f32], &'a mut [f32]);
        impl Work for Rows<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Self(Residual { bias, norm, row }, x, y) = self;
                for (x, y) in x.chunks_exact_mut(*row).zip(y.chunks_exact_mut(*row)) {
                    if let Some(bias) = bias {
                        ops::add(y, bias);
                    }
                    if let Some((weight, eps)) = norm {
                        ops::rms_norm_in_place(y, weight, *eps);
                    }
                    ops::add(x, y);
                }
            }
        }
        assert!(x.len() == y.len() && x.len().is_multiple_of(self.row), "{} and {}", x.len(), y.len());
        let task = rows_of_a_task(pool, x.len(), self.row) * self.row;
        each_pair(pool, x, y, task, &|x, y| {
            let work = Rows(self, x, y);
            with_level!(isa, level => level.run(work));
        });
    }
}

/// The non-linearity of a gated feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The tanh approximation of GELU.
    GeluTanh,
}

/// `act(gate + gate_bias) * (up + up_bias)`.
#[derive(Debug, Clone, Copy)]
pub struct Gate<'a> {
    /// The non-linearity.
    pub activation: Activation,
    /// Added to each row of the gates.
    pub gate_bias: Option<&'a [f32]>,
    /// Added to each row of the others.
    pub up_bias: Option<&'a [f32]>,
    /// Elements of a row of results.
    pub row: usize,
}

impl Gate<'_> {
    /// Fills the rows of `out`; each row of `from` is a row of gates and then one of the others.
    ///
    /// # Panics
    ///
    /// The lengths do not fit, or are not whole rows.
    pub fn apply(&self, pool: &Pool, isa: Isa, from: &[f32], out: &mut [f32]) {
        let row = self.row;
        assert!(out.len().is_multiple_of(row) && from.len() == 2 * out.len(), "{} to {}", from.len(), out.len());
        let task = (out.len() / (pool.threads() * PIECES_PER_THREAD)).max(PIECE);
        each_chunk(pool, out, task, &|mut first, mut out| {
            // A task may begin and end in the middle of a row.
            while !out.is_empty() {
                let (token, column) = (first / row, first % row);
                let (now, later) = out.split_at_mut(out.len().min(row - column));
                first += now.len();
                self.columns(isa, &from[token * 2 * row..][..2 * row], column, now);
                out = later;
            }
        });
    }

    /// Fills `out` with the results from column `first` on, of one row of gates and one of the others.
    pub(super) fn columns(&self, isa: Isa, from: &[f32], first: usize, out: &mut [f32]) {
        struct Piece<'a>(Activation, [Option<&'a [f32]>; 2], [&'a [f32]; 2], &'a mut [f32]);
        impl Work for Piece<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Self(activation, biases, [gate, up], out) = self;
                match (activation, biases) {
                    (Activation::Silu, [None, None]) => {
                        combine(out, gate.iter().copied(), up.iter().copied(), ops::silu);
                    }
                    (Activation::GeluTanh, [None, None]) => {
                        combine(out, gate.iter().copied(), up.iter().copied(), ops::gelu_tanh);
                    }
                    (activation, biases) => {
                        let [gate_bias, up_bias] = biases;
                        let act = |x| match activation {
                            Activation::Silu => ops::silu(x),
                            Activation::GeluTanh => ops::gelu_tanh(x),
                        };
                        for (i, out) in out.iter_mut().enumerate() {
                            let gate = gate_bias.map_or(gate[i], |bias| gate[i] + bias[i]);
                            let up = up_bias.map_or(up[i], |bias| up[i] + bias[i]);
                            *out = act(gate) * up;
                        }
                    }
                }
            }
        }
        let columns = first..first + out.len();
        let halves = [&from[columns.clone()], &from[self.row..][columns.clone()]];
        let biases = [self.gate_bias, self.up_bias].map(|bias| bias.map(|bias| &bias[columns.clone()]));
        let work = Piece(self.activation, biases, halves, out);
        with_level!(isa, level => level.run(work));
    }
}

#[inline(always)]
fn combine(out: &mut [f32], gate: impl Iterator<Item = f32>, up: impl Iterator<Item = f32>, act: impl Fn(f32) -> f32) {
    for (out, (gate, up)) in out.iter_mut().zip(gate.zip(up)) {
        *out = act(gate) * up;
    }
}

/// What becomes of the queries and keys of a token before they meet, and of its values.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// Elements of the queries, keys and values of a token, which lie one after the other.
    pub lens: [usize; 3],
    /// Added to them.
    pub biases: [Option<&'a [f32]>; 3],
    /// The weights of RMSNorms over each head of the queries and of the keys.
    pub norms: [Option<&'a [f32]>; 2],
    /// For these norms.
    pub eps: f32,
    /// Elements of a head of queries or keys.
    pub head_dim: usize,
    /// Turns queries and keys; its first position is that of the first row.
    pub rope: &'a RopeTable,
}

impl Heads<'_> {
    /// Prepares the rows of `rows`, in place.
    ///
    /// # Panics
    ///
    /// `rows` is not whole rows, or the lengths do not fit each other.
    pub fn prepare(&self, pool: &Pool, isa: Isa, rows: &mut [f32]) {
        struct Rows<'a>(&'a Heads<'a>, usize, &'a mut [f32]);
        impl Work for Rows<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Self(heads, first, rows) = self;
                let row: usize = heads.lens.iter().sum();
                for (token, row) in rows.chunks_exact_mut(row).enumerate() {
                    let (queries, row) = row.split_at_mut(heads.lens[0]);
                    let (keys, values) = row.split_at_mut(heads.lens[1]);
                    if let Some(bias) = heads.biases[2] {
                        ops::add(values, bias);
                    }
                    for (i, part) in [queries, keys].into_iter().enumerate() {
                        if let Some(bias) = heads.biases[i] {
                            ops::add(part, bias);
                        }
                        if let Some(weight) = heads.norms[i] {
                            ops::rms_norm_in_place(part, weight, heads.eps);
                        }
                        heads.rope.apply(first + token, part, heads.head_dim);
                    }
                }
            }
        }
        let row: usize = self.lens.iter().sum();
        assert!(rows.len().is_multiple_of(row), "{} elements in rows of {row}", rows.len());
        let task = rows_of_a_task(pool, rows.len(), row) * row;
        each_chunk(pool, rows, task, &|first, rows| {
            let work = Rows(self, first / row, rows);
            with_level!(isa, level => level.run(work));
        });
    }
}

/// What becomes of some columns of each token's row: heads, of which the first elements are normed and the last turned.
#[derive(Debug, Clone)]
pub struct Columns<'a> {
    /// Elements of a row.
    pub row: usize,
    /// The columns: whole heads.
    pub columns: Range<usize>,
    /// Elements of a head.
    pub head: usize,
    /// Added to the columns first.
    pub bias: Option<&'a [f32]>,
    /// The weight and the `eps` of an RMSNorm over as many elements, the first of each head.
    pub norm: Option<(&'a [f32], f32)>,
    /// Turns as many elements as it has dimensions, the last of each head; its first position is that of the first row.
    pub rope: Option<&'a RopeTable>,
}

impl Columns<'_> {
    /// Prepares the columns of each of `rows`, in place.
    ///
    /// # Panics
    ///
    /// `rows` is not whole rows, the columns are not whole heads of them, or a head is too short.
    pub fn prepare(&self, pool: &Pool, isa: Isa, rows: &mut [f32]) {
        struct Rows<'a>(&'a Columns<'a>, usize, &'a mut [f32]);
        impl Work for Rows<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, _: S) {
                let Self(Columns { row, columns, head, bias, norm, rope }, first, rows) = self;
                for (token, row) in rows.chunks_exact_mut(*row).enumerate() {
                    let columns = &mut row[columns.clone()];
                    if let Some(bias) = bias {
                        ops::add(columns, bias);
                    }
                    for head in columns.chunks_exact_mut(*head) {
                        if let Some((weight, eps)) = norm {
                            ops::rms_norm_in_place(&mut head[..weight.len()], weight, *eps);
                        }
                        if let Some(rope) = rope {
                            let turned = head.len() - rope.dims();
                            rope.apply(first + token, &mut head[turned..], rope.dims());
                        }
                    }
                }
            }
        }
        let row = self.row;
        assert!(rows.len().is_multiple_of(row), "{} elements in rows of {row}", rows.len());
        assert!(self.columns.len().is_multiple_of(self.head), "{:?} in heads of {}", self.columns, self.head);
        let task = rows_of_a_task(pool, rows.len(), row) * row;
        each_chunk(pool, rows, task, &|first, rows| {
            let work = Rows(self, first / row, rows);
            with_level!(isa, level => level.run(work));
        });
    }
}
