//! Kernels for AVX-512 with VNNI. What gains nothing from longer vectors is done by those for AVX2.

use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};

use crate::kernels::activations::{Q8, Q8K};
use crate::kernels::formats::{Float, Format32, Format256};
use crate::kernels::gemm::{Gemm, Product};
use crate::kernels::isa::Avx512Vnni;
use crate::kernels::level::Level;
use crate::kernels::matmul::{Following, Sink};
use crate::kernels::panel::{Order, PANEL, Panel32, Panel256};
use crate::kernels::quantize::{RowQ8, RowQ8K};
use crate::kernels::tile::{TILE, Tile32, Tile256, Woven32};

mod block256;
mod block32;
mod float;
mod panel;
mod peak;
mod product;
mod q6_k;
mod six_bit;
mod tile;
mod transpose;
mod types256;
mod types32;
mod vector;

pub(in crate::kernels) use self::block32::Wide32;
pub(in crate::kernels) use self::block256::Wide256;
pub(in crate::kernels) use self::float::WideElement;

mod simd;

impl Level for Avx512Vnni {
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
        // SAFETY: the token proves the features.
        unsafe { block256::rows(rows, following, per_row, tokens, sink) }
    }

    fn rows_of_floats<E: Float>(self, rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
        // SAFETY: the token proves the features.
        unsafe { float::rows(rows, cols, tokens, sink) }
    }

    fn expect_rows(self, rows: &[u8], row_bytes: usize) {
        self.avx2().expect_rows(rows, row_bytes);
    }

    fn peak_products(self, rounds: u64) -> Option<u64> {
        // SAFETY: the token proves the features.
        Some(unsafe { peak::products(rounds) })
    }

    fn row_q8(self, blocks: &[[f32; 32]], row: &mut RowQ8<'_>) {
        self.avx2().row_q8(blocks, row);
    }

    fn row_q8k(self, blocks: &[[f32; 256]], row: &mut RowQ8K<'_>) {
        self.avx2().row_q8k(blocks, row);
    }
}

impl Gemm for Avx512Vnni {
    // `vpdpbusd` takes four bytes of each operand, and the first without signs.
    const ORDER: Order = Order { group: 4, offset: 128 };

    fn interleave_32(self, tokens: &[Woven32; TILE], tiles: &mut [Tile32]) {
        // SAFETY: the token proves the features.
        unsafe { tile::interleave_32(tokens, tiles) }
    }

    fn interleave_256(self, tokens: &[[i8; 256]; TILE], tile: &mut Tile256) {
        // SAFETY: the token proves the features.
        unsafe { tile::interleave_256(tokens, tile) }
    }

    fn expect_write(self, at: *const f32) {
        // SAFETY: every processor that has AVX-512 has this instruction, and it takes any address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) }
    }

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
