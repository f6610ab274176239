//! Kernels for AVX-512 with VNNI. What gains nothing from longer vectors is done by those for AVX2.

use crate::kernels::activations::{Q8, Q8K};
use crate::kernels::formats::{Float, Format32, Format256};
use crate::kernels::isa::Avx512Vnni;
use crate::kernels::level::Level;
use crate::kernels::matmul::Sink;
use crate::kernels::quantize::{RowQ8, RowQ8K};

mod simd;

impl Level for Avx512Vnni {
    fn rows32<B: Format32>(self, rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
        self.avx2().rows32(rows, per_row, tokens, sink);
    }

    fn rows256<B: Format256>(self, rows: &[B], per_row: usize, tokens: &[Q8K<'_>], sink: Sink<'_>) {
        self.avx2().rows256(rows, per_row, tokens, sink);
    }

    fn rows_of_floats<E: Float>(self, rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
        self.avx2().rows_of_floats(rows, cols, tokens, sink);
    }

    fn row_q8(self, blocks: &[[f32; 32]], row: &mut RowQ8<'_>) {
        self.avx2().row_q8(blocks, row);
    }

    fn row_q8k(self, blocks: &[[f32; 256]], row: &mut RowQ8K<'_>) {
        self.avx2().row_q8k(blocks, row);
    }
}
