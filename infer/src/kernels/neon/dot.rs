//! The dot product of bytes, which is all that the levels do differently with one token.

use std::arch::aarch64::*;

use super::shims;
use crate::kernels::isa::{Dotprod, Neon};

/// A level's dot product of bytes. The value is the proof that the CPU has the instructions.
pub(super) trait Dot: Copy {
    /// Adds 16 products to the four lanes of `acc`, in whatever way they are shared out. Magnitudes of `b` are at most
    /// 127.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn dot(self, acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t;
}

impl Dot for Neon {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot(self, acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // Two products fit 16 bits: 2 * 128 * 127 is less than 2^15.
        let pairs = vmlal_high_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), a, b);
        vpadalq_s16(acc, pairs)
    }
}

impl Dot for Dotprod {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn dot(self, acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        shims::sdot(self, acc, a, b)
    }
}
