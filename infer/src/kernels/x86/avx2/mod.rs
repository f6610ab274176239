//! Kernels for AVX2 with F16C.
//!
//! Everything here is compiled for those instructions and entered through functions that take the [`Avx2`] token, which is
//! what makes the calls sound. Functions with the same target features call each other without `unsafe`; what remains
//! unsafe is loading and storing vectors, in [`vector`], and the methods of traits, whose contract is only that the
//! caller has the features too.

use crate::kernels::activations::{Q8, Q8K};
use crate::kernels::formats::{Float, Format32, Format256};
use crate::kernels::isa::Avx2;
use crate::kernels::level::Level;
use crate::kernels::matmul::{Following, Sink};
use crate::kernels::quantize::{RowQ8, RowQ8K};

pub(super) mod block256;
mod block32;
mod float;
mod quantize;
mod simd;
pub(super) mod types256;
mod types32;
pub(super) mod vector;

pub(in crate::kernels) use self::block32::Vector32;
pub(in crate::kernels) use self::float::VectorElement;

impl Level for Avx2 {
    fn rows32<B: Format32>(self, rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
        // SAFETY: the token proves the features.
        unsafe { block32::rows(rows, per_row, tokens, sink) }
    }

    fn rows256<B: Format256>(
        self,
        rows: &[B],
        following: Following<'_, B>,
        per_row: usize,
        tokens: &[Q8K<'_>],
        sink: Sink<'_>,
    ) {
        if following.rows.is_empty() {
            self.expect_rows(following.then, per_row * size_of::<B>());
        }
        // SAFETY: the token proves the features.
        unsafe { block256::rows(rows, per_row, tokens, sink) }
    }

    fn rows_of_floats<E: Float>(self, rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
        // SAFETY: the token proves the features.
        unsafe { float::rows(rows, cols, tokens, sink) }
    }

    fn expect_rows(self, rows: &[u8], row_bytes: usize) {
        // SAFETY: the token proves the features.
        unsafe { vector::expect_rows(rows, row_bytes) }
    }

    fn row_q8(self, blocks: &[[f32; 32]], row: &mut RowQ8<'_>) {
        // SAFETY: the token proves the features.
        unsafe { quantize::blocks_of_32(blocks, row) }
    }

    fn row_q8k(self, blocks: &[[f32; 256]], row: &mut RowQ8K<'_>) {
        // SAFETY: the token proves the features.
        unsafe { quantize::blocks_of_256(blocks, row) }
    }
}
