//! [`Simd`] in fours of 128-bit vectors.
//!
//! NEON is a part of the target, so a level adds no instructions to the code that [`Simd::run`] calls.

use std::arch::aarch64::*;

use bytemuck::{cast, cast_mut, cast_ref};

use super::shims;
use crate::kernels::blocks::F16;
use crate::kernels::isa::{Dotprod, I8mm, Neon};
use crate::kernels::simd::{Simd, Work};

/// Four halves, widened.
#[inline(always)]
fn widen_4(from: &[F16; 4]) -> float32x4_t {
    // SAFETY: NEON is a part of the target.
    unsafe { shims::fcvtl(vcreate_u16(cast(*from))) }
}

/// Four floats to half precision, to nearest, ties to even: what Rust code may assume of the rounding mode.
#[inline(always)]
fn narrow_4(from: float32x4_t) -> [F16; 4] {
    // SAFETY: NEON is a part of the target.
    unsafe { cast(vget_lane_u64::<0>(vreinterpret_u64_u16(shims::fcvtn(from)))) }
}

macro_rules! levels {
    ($($level:ty),+) => {$(
        impl Simd for $level {
            type V = [float32x4_t; 4];
            const PAIRS: bool = false;
            const ROWS: usize = 6;

            fn run<W: Work>(self, work: W) -> W::Output {
                work.run(self)
            }

            #[inline(always)]
            fn splat(self, x: f32) -> Self::V {
                // SAFETY: NEON is a part of the target.
                [unsafe { vdupq_n_f32(x) }; 4]
            }

            #[inline(always)]
            fn load(self, from: &[f32; 16]) -> Self::V {
                let from: &[[f32; 4]; 4] = cast_ref(from);
                // SAFETY: NEON is a part of the target; there are four floats at each place.
                from.each_ref().map(|from| unsafe { vld1q_f32(from.as_ptr()) })
            }

            #[inline(always)]
            fn store(self, x: Self::V, to: &mut [f32; 16]) {
                let to: &mut [[f32; 4]; 4] = cast_mut(to);
                for (to, x) in to.iter_mut().zip(x) {
                    // SAFETY: NEON is a part of the target; there is room for four floats.
                    unsafe { vst1q_f32(to.as_mut_ptr(), x) }
                }
            }

            #[inline(always)]
            fn add(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: NEON is a part of the target.
                std::array::from_fn(|i| unsafe { vaddq_f32(a[i], b[i]) })
            }

            #[inline(always)]
            fn mul(self, a: Self::V, b: Self::V) -> Self::V {
                // SAFETY: NEON is a part of the target.
                std::array::from_fn(|i| unsafe { vmulq_f32(a[i], b[i]) })
            }

            #[inline(always)]
            fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                // SAFETY: NEON is a part of the target.
                std::array::from_fn(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
            }

            #[inline(always)]
            fn max(self, a: Self::V, b: Self::V) -> Self::V {
                // Not the instruction for it, which prefers NaNs.
                // SAFETY: NEON is a part of the target.
                std::array::from_fn(|i| unsafe { vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]) })
            }

            #[inline(always)]
            fn largest(self, x: Self::V) -> f32 {
                // SAFETY: NEON is a part of the target.
                unsafe { vmaxvq_f32(vmaxq_f32(vmaxq_f32(x[0], x[1]), vmaxq_f32(x[2], x[3]))) }
            }

            #[inline(always)]
            fn widen(self, from: &[F16; 16]) -> Self::V {
                let from: &[[F16; 4]; 4] = cast_ref(from);
                from.each_ref().map(widen_4)
            }

            #[inline(always)]
            fn convert(self, from: &[i8; 16]) -> Self::V {
                // SAFETY: NEON is a part of the target; there are 16 bytes.
                unsafe {
                    let bytes = vld1q_s8(from.as_ptr());
                    let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes)));
                    let quarters = [vget_low_s16(low), vget_high_s16(low), vget_low_s16(high), vget_high_s16(high)];
                    quarters.map(|x| vcvtq_f32_s32(vmovl_s16(x)))
                }
            }

            #[inline(always)]
            fn narrow(self, from: &[f32; 16], to: &mut [F16; 16]) {
                let halves: [[F16; 4]; 4] = self.load(from).map(narrow_4);
                *to = cast(halves);
            }

            #[inline(always)]
            fn prefetch<T>(self, at: *const T) {
                // SAFETY: a prefetch is a hint; it accesses nothing, whatever the address.
                unsafe { shims::prfm(at) }
            }
        }
    )+};
}

levels!(Neon, Dotprod, I8mm);
