//! Kernels for AVX2 with F16C.
//!
//! Everything here is compiled for those instructions and entered through functions that take the [`Avx2`] token, which is
//! what makes the calls sound. Functions with the same target features call each other without `unsafe`; what remains
//! unsafe is loading and storing vectors, in [`vector`], and the methods of traits, whose contract is only that the
//! caller has the features too.

use crate::kernels::activations::{Q8, Q8K};
use crate::kernels::formats::{Float, Format32, Format256};
use crate::kernels::gemm::{Gemm, Product};
use crate::kernels::isa::Avx2;
use crate::kernels::level::Level;
use crate::kernels::matmul::{Following, Sink};
use crate::kernels::panel::{Order, PANEL, Panel32, Panel256};
use crate::kernels::quantize::{RowQ8, RowQ8K};
use crate::kernels::tile::{Tile32, Tile256};

pub(super) mod block256;
mod block32;
mod float;
mod panel;
mod peak;
mod product;
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

    fn peak_products(self, rounds: u64) -> Option<u64> {
        // SAFETY: the token proves the features.
        Some(unsafe { peak::products(rounds) })
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

impl Gemm for Avx2 {
    // `vpmaddubsw` takes the weights without signs, and two of its results of a row and a token stay side by side.
    const ORDER: Order = Order { group: 4, offset: 0 };

    fn panel_32<B: Format32>(self, rows: [&[B]; PANEL], panel: &mut [Panel32]) {
        // SAFETY: the token proves the features.
        unsafe { panel::blocks_32(rows, panel) }
    }

    fn panel_256<B: Format256>(self, rows: [&[B]; PANEL], panel: &mut [Panel256]) {
        // SAFETY: the token proves the features.
        unsafe { panel::blocks_256(rows, panel) }
    }

    fn product_32<B: Format32>(self, panels: [&[Panel32]; 2], tile: &[Tile32], out: &mut Product) {
        // SAFETY: the token proves the features.
        unsafe { product::blocks_32::<B>(panels, tile, out) }
    }

    fn product_256<B: Format256>(self, panels: [&[Panel256]; 2], tile: &[Tile256], out: &mut Product) {
        // SAFETY: the token proves the features.
        unsafe { product::blocks_256::<B>(panels, tile, out) }
    }
}
