//! Kernels for NEON.
//!
//! The levels differ in how they multiply bytes ([`dot::Dot`]); everything else is written once, for the baseline. It is
//! entered through functions that take a level's token, which is what makes the calls sound. Functions with the same
//! target features call each other without `unsafe`; what remains unsafe is loading and storing vectors, in [`vector`],
//! instructions without an intrinsic, in [`shims`], and the methods of traits, whose contract is only that the caller has
//! the features too.

use super::activations::{Q8, Q8K};
use super::blocks::F16;
use super::formats::{Float, Format32, Format256};
use super::isa::{Dotprod, I8mm, Neon};
use super::level::Level;
use super::matmul::Sink;
use super::quantize::{RowQ8, RowQ8K};

mod block256;
mod block32;
mod dot;
mod float;
mod quantize;
mod shims;
mod types256;
mod types32;
mod vector;

pub(super) use self::block32::Vector32;
pub(super) use self::block256::Vector256;
pub(super) use self::float::VectorElement;

/// A level of the kernels that are generic over [`dot::Dot`], with `$level.$dot` as the dot product.
macro_rules! level {
    ($name:ident, $level:ident => $dot:expr) => {
        impl Level for $name {
            fn rows32<B: Format32>(self, rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
                let $level = self;
                // SAFETY: the token proves the features.
                unsafe { block32::rows($dot, rows, per_row, tokens, sink) }
            }

            fn rows256<B: Format256>(self, rows: &[B], per_row: usize, tokens: &[Q8K<'_>], sink: Sink<'_>) {
                let $level = self;
                // SAFETY: the token proves the features.
                unsafe { block256::rows($dot, rows, per_row, tokens, sink) }
            }

            fn rows_of_floats<E: Float>(self, rows: &[E], cols: usize, tokens: &[&[f32]], sink: Sink<'_>) {
                // SAFETY: the token proves the features.
                unsafe { float::rows(rows, cols, tokens, sink) }
            }

            fn row_q8(self, blocks: &[[f32; 32]], row: &mut RowQ8<'_>) {
                // SAFETY: the token proves the features.
                unsafe { quantize::blocks_of_32(blocks, row) }
            }

            fn row_q8k(self, blocks: &[[f32; 256]], row: &mut RowQ8K<'_>) {
                // SAFETY: the token proves the features.
                unsafe { quantize::blocks_of_256(blocks, row) }
            }

            fn narrow(self, from: &[f32], to: &mut [F16]) {
                // SAFETY: the token proves the features.
                unsafe { float::narrow(from, to) }
            }
        }
    };
}

level!(Neon, level => level);
level!(Dotprod, level => level);
// One token at a time a product of matrices has nothing to gain.
level!(I8mm, level => level.dotprod());
