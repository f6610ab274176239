//! Kernels for NEON.
//!
//! The levels differ in how they multiply bytes ([`dot::Dot`] and [`outer::Outer`]); everything else is written once,
//! for the baseline. It is entered through functions that take a level's token, which is what makes the calls sound.
//! Functions with the same target features call each other without `unsafe`; what remains unsafe is loading and storing
//! vectors, in [`vector`], instructions without an intrinsic, in [`shims`], and the methods of traits, whose contract
//! is only that the caller has the features too.

use super::activations::{Q8, Q8K};
use super::formats::{Float, Format32, Format256};
use super::gemm::{Gemm, Product};
use super::isa::{Dotprod, I8mm, Neon};
use super::level::Level;
use super::matmul::{Following, Sink};
use super::panel::{Order, PANEL, Panel32, Panel256};
use super::quantize::{RowQ8, RowQ8K};
use super::tile::{Tile32, Tile256};

mod block256;
mod block32;
mod dot;
mod float;
mod outer;
mod panel;
mod peak;
mod product;
mod quantize;
mod shims;
mod simd;
mod types256;
mod types32;
mod vector;

pub(super) use self::block32::Vector32;
pub(super) use self::block256::Vector256;
pub(super) use self::float::VectorElement;

/// A level of the kernels that are generic over [`dot::Dot`]: what has the dot product, and how to find the peak of
/// products.
macro_rules! level {
    ($name:ident, $level:ident => $dot:expr, peak: $peak:expr) => {
        impl Level for $name {
            fn rows32<B: Format32>(self, rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
                let $level = self;
                // SAFETY: the token proves the features.
                unsafe { block32::rows($dot, rows, per_row, tokens, sink) }
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
                let $level = self;
                // SAFETY: the token proves the features.
                unsafe { block256::rows($dot, rows, per_row, tokens, sink) }
            }

            fn rows_of_floats<E: Float>(self, rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
                // SAFETY: the token proves the features.
                unsafe { float::rows(rows, cols, tokens, sink) }
            }

            fn peak_products(self, rounds: u64) -> Option<u64> {
                ($peak)(self, rounds)
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
    };
}

level!(Neon, level => level, peak: |_, _| None);
level!(Dotprod, level => level, peak: peak::sdot);
// One token at a time a product of matrices has nothing to gain.
level!(I8mm, level => level.dotprod(), peak: peak::smmla);

impl<O: outer::Outer + Level> Gemm for O {
    const ORDER: Order = Order { group: O::GROUP, offset: 0 };

    fn panel_32<B: Format32>(self, rows: [&[B]; PANEL], panel: &mut [Panel32]) {
        // SAFETY: the token proves the features.
        unsafe { panel::blocks_32::<O, B>(rows, panel) }
    }

    fn panel_256<B: Format256>(self, rows: [&[B]; PANEL], panel: &mut [Panel256]) {
        // SAFETY: the token proves the features.
        unsafe { panel::blocks_256::<O, B>(rows, panel) }
    }

    fn product_32<B: Format32>(self, panels: [&[Panel32]; 2], tile: &[Tile32], product: &mut Product) {
        // SAFETY: the token proves the features.
        unsafe { product::blocks_32::<O, B>(self, panels, tile, product) }
    }

    fn product_256<B: Format256>(self, panels: [&[Panel256]; 2], tile: &[Tile256], product: &mut Product) {
        // SAFETY: the token proves the features.
        unsafe { product::blocks_256::<O, B>(self, panels, tile, product) }
    }
}
