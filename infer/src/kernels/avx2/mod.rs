//! Kernels for AVX2 with F16C.
//!
//! Everything here is compiled for those instructions and entered through functions that take the [`Avx2`] token, which is
//! what makes the calls sound. Functions with the same target features call each other without `unsafe`; what remains
//! unsafe is loading and storing vectors, in [`vector`], and the methods of traits, whose contract is only that the
//! caller has the features too.

use super::Avx2;
use super::activations::{Q8, Q8K};
use super::matmul::Sink;

pub(super) mod attention;
mod block256;
mod block32;
pub(super) mod float;
pub(super) mod quantize;
mod types256;
mod types32;
mod vector;

pub(super) use self::block32::Vector32;
pub(super) use self::block256::Vector256;
pub(super) use self::float::VectorElement;

/// See [`portable::rows32`](super::portable::rows32).
pub(super) fn rows32<B: Vector32>(_: Avx2, rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    // SAFETY: the token proves the features.
    unsafe { block32::rows(rows, per_row, tokens, sink) }
}

/// See [`portable::rows256`](super::portable::rows256).
pub(super) fn rows256<B: Vector256>(_: Avx2, rows: &[B], per_row: usize, tokens: &[Q8K<'_>], sink: Sink<'_>) {
    // SAFETY: the token proves the features.
    unsafe { block256::rows(rows, per_row, tokens, sink) }
}

/// See [`portable::rows_of_floats`](super::portable::rows_of_floats).
pub(super) fn rows_of_floats<E: VectorElement>(_: Avx2, rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
    // SAFETY: the token proves the features.
    unsafe { float::rows(rows, cols, tokens, sink) }
}
