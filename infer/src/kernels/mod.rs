//! Kernels: the arithmetic of the forward pass, on bytes lent by whoever holds them.
//!
//! # One numeric specification
//!
//! Every instruction set level, every partition of a matrix into [`Part`]s, every number of threads and every batch size
//! computes the **same bits**. That works because the order of the roundings is a part of the definition, chosen so that
//! vectors of 4, 8 or 16 lanes can all follow it. (Where a result is NaN, its sign and payload are not specified.)
//! Where a product is added to an accumulator the two are fused, with one rounding (`fma`), which every vector unit of
//! the last decade does at the price of a multiplication, and [`f32::mul_add`] without one. Everything else is rounded
//! operation by operation.
//!
//! **Activations.** Weights in blocks meet activations in blocks of 8-bit integers, as in ggml, so that the same
//! model gives the same tokens. Rounding is to nearest, ties to even.
//! - `Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4`: blocks of 32. With `amax` the largest magnitude, the quants are
//!   `round(x * (127 / amax))` and the scale is `d = amax / 127`, rounded to half precision. For the formats with a min
//!   there is also `s`, which is `d * sum(quants)` with `d` not yet rounded, rounded to half precision.
//! - `Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS`: blocks of 256. With `max` the first element of the largest magnitude and
//!   `inverse = -127 / max`, the quants are `round(x * inverse)` and the scale is `1 / inverse`, in single precision.
//! - A block whose `amax` is zero, or so small that the division overflows, is zero in all its parts. A block with an
//!   infinity or a NaN has the scale NaN, so that it cannot go unnoticed.
//! - `F32 F16 BF16` weights are widened to `f32` and meet the activations as they are.
//!
//! **Dot products of blocks.** The sum over the products of the quants of a block is exact, in 32-bit integers; for
//! blocks of 256 so are the sum of the sub-block sums times the sub-scales, and likewise for the mins. Then each block
//! is added to an accumulator `a`:
//! - blocks of 32: `a = fma(float(sum), d_weight * d, a)`, then, where the format has a min, `a = fma(m_weight, s, a)`;
//! - blocks of 256: `a = fma(float(sum), d_weight * d, a)`, then, where the format has a min,
//!   `a = fma(-float(min_sum), dmin_weight * d, a)`.
//!
//! There are 8 accumulators that begin at zero; block `b` is added to accumulator `b mod 8`, in the order of `b`. The
//! result is their [`order::tree8`].
//!
//! **Dot products of floats.** 32 accumulators; the product of element `i` is added, fused, to accumulator `i mod 32`, in
//! the order of `i`. They are folded to 8 ([`order::fold32`]), and these by the same tree.
//!
//! **Attention** has lanes of its own, of positions for the scores and of elements for the values, and cuts the positions
//! into segments whatever the threads: [`attention`] says it all.
//!
//! **Recurrent layers** go token by token, and sum in lanes of their own: [`delta`].
//!
//! **The rest** is elementwise or says its order at the function ([`ops`]).
//!
//! # How levels come to agree
//!
//! The dot products with quantized weights are written for each level (`portable.rs` is the oracle). The float code, of
//! attention and between the products, is written once: plain loops, and a few operations on 16 floats that a level
//! provides (`simd.rs`), inlined into a function that is compiled for the level.

#![warn(clippy::undocumented_unsafe_blocks)]

mod activations;
pub mod attention;
mod blocks;
pub mod delta;
mod dequant;
pub mod experts;
mod formats;
mod gemm;
mod isa;
mod kv;
mod level;
mod math;
#[allow(unsafe_code)] // Tasks that write whole vectors to one buffer.
mod matmul;
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)] // Vectors, and instructions behind a token that the CPU has them.
mod neon;
pub mod ops;
pub mod order;
mod panel;
#[allow(unsafe_code)] // Lends closures to threads.
mod pool;
mod portable;
mod quantize;
mod rope;
#[allow(unsafe_code)] // Tasks that write to one buffer.
mod shared;
mod simd;
pub mod steps;
#[cfg(test)]
mod tests;
mod tile;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)] // Instructions that the target does not have, behind a token that the CPU has them.
mod x86;

pub use self::activations::{Activations, Formats, Inputs, Width};
pub use self::dequant::dequantize_row;
#[cfg(target_arch = "x86_64")]
pub use self::isa::{Avx2, Avx512Vnni};
#[cfg(target_arch = "aarch64")]
pub use self::isa::{Dotprod, I8mm, Neon};
pub use self::isa::{Isa, IsaError};
pub use self::kv::{KvCache, KvPiece, KvShape, KvType};
pub use self::matmul::{Part, matmul};
pub use self::panel::Panels;
pub use self::pool::Pool;
pub use self::rope::{RopeParams, RopeStyle, RopeTable};
