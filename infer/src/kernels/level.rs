//! What an instruction set level does in its own way.

use super::activations::{Q8, Q8K};
use super::formats::{Float, Format32, Format256};
use super::matmul::{Following, Sink};
use super::portable;
use super::quantize::{self, RowQ8, RowQ8K};

/// The inner loops, which a level may have in vectors. What it does not have is done in plain Rust; the bits are the same.
pub(super) trait Level: Copy + Sync {
    /// See [`portable::rows32`].
    fn rows32<B: Format32>(self, rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
        portable::rows32(rows, per_row, tokens, sink);
    }

    /// See [`portable::rows256`]. What is `following` comes next and may be asked for.
    fn rows256<B: Format256>(
        self,
        rows: &[B],
        _following: Following<'_, B>,
        per_row: usize,
        tokens: &[Q8K<'_>],
        sink: Sink<'_>,
    ) {
        portable::rows256(rows, per_row, tokens, sink);
    }

    /// See [`portable::rows_of_floats`].
    fn rows_of_floats<E: Float>(self, rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
        portable::rows_of_floats(rows, cols, tokens, sink);
    }

    /// Asks for the beginning of some rows that one token will meet next: for as much as a kernel reads before what it asks
    /// for by itself arrives.
    fn expect_rows(self, _rows: &[u8], _row_bytes: usize) {}

    /// See [`Isa::peak_products`](super::Isa::peak_products).
    fn peak_products(self, _rounds: u64) -> Option<u64> {
        None
    }

    /// Quantizes whole blocks of 32.
    fn row_q8(self, blocks: &[[f32; 32]], row: &mut RowQ8<'_>) {
        quantize::blocks_of_32(blocks, row);
    }

    /// Quantizes whole blocks of 256.
    fn row_q8k(self, blocks: &[[f32; 256]], row: &mut RowQ8K<'_>) {
        quantize::blocks_of_256(blocks, row);
    }
}

/// Plain Rust for the target's baseline.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Level for Portable {}

/// Evaluates an expression with `$level` as the [`Level`] that an [`Isa`](super::Isa) stands for.
macro_rules! with_level {
    ($isa:expr, $level:ident => $body:expr) => {
        match $isa {
            $crate::kernels::Isa::Portable => {
                let $level = $crate::kernels::level::Portable;
                $body
            }
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::Isa::Avx2($level) => $body,
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::Isa::Avx512Vnni($level) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::kernels::Isa::Neon($level) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::kernels::Isa::Dotprod($level) => $body,
            #[cfg(target_arch = "aarch64")]
            $crate::kernels::Isa::I8mm($level) => $body,
        }
    };
}
pub(super) use with_level;
