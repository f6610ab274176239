//! Activations to 8-bit blocks.

use std::arch::aarch64::*;

use bytemuck::{cast_mut, cast_ref};

use super::shims::{fcvtl, fcvtn};
use super::vector::*;
use crate::kernels::quantize::{MAGNITUDE, RowQ8, RowQ8K, Scale};

#[target_feature(enable = "neon")]
pub(super) fn blocks_of_32(blocks: &[[f32; 32]], row: &mut RowQ8<'_>) {
    for (b, x) in blocks.iter().enumerate() {
        let Scale { inverse, scale } = Scale::of_32(largest(x));
        let [first, last]: &[[f32; 16]; 2] = cast_ref(x);
        let rounded = [round(first, inverse), round(last, inverse)];
        let sum = i32::from(vaddvq_s16(vpadalq_s8(vpaddlq_s8(rounded[0]), rounded[1])));
        // Both numbers through half precision.
        let pair = vset_lane_f32::<1>(scale * sum as f32, vdup_n_f32(scale));
        let pair = fcvtl(fcvtn(vcombine_f32(pair, pair)));
        let mut quants = [0; 32];
        let halves: &mut [[i8; 16]; 2] = cast_mut(&mut quants);
        store(&mut halves[0], vreinterpretq_u8_s8(rounded[0]));
        store(&mut halves[1], vreinterpretq_u8_s8(rounded[1]));
        row.put_quants(b, &quants);
        row.scales[b] = vgetq_lane_f32::<0>(pair);
        row.scaled_sums[b] = vgetq_lane_f32::<1>(pair);
        row.sums[b] = sum;
    }
}

#[target_feature(enable = "neon")]
pub(super) fn blocks_of_256(blocks: &[[f32; 256]], row: &mut RowQ8K<'_>) {
    let quants = row.quants.as_chunks_mut::<256>().0;
    let (sums16, sums32) = (row.sums16.as_chunks_mut::<16>().0, row.sums32.as_chunks_mut::<8>().0);
    for (b, (x, quants)) in blocks.iter().zip(quants).enumerate() {
        let Scale { inverse, scale } = Scale::of_256(first_of(x, largest(x)));
        let (x, quants): (&[[f32; 16]; 16], &mut [[i8; 16]; 16]) = (cast_ref(x), cast_mut(quants));
        let mut pairs = [[vdupq_n_s16(0); 8]; 2];
        for (i, (x, quants)) in x.iter().zip(quants).enumerate() {
            let rounded = round(x, inverse);
            store(quants, vreinterpretq_u8_s8(rounded));
            pairs[i / 8][i % 8] = vpaddlq_s8(rounded);
        }
        let (first, last) = (sums_of_8(&pairs[0]), sums_of_8(&pairs[1]));
        let halves: &mut [[i16; 8]; 2] = cast_mut(&mut sums16[b]);
        store(&mut halves[0], vreinterpretq_u8_s16(first));
        store(&mut halves[1], vreinterpretq_u8_s16(last));
        store(&mut sums32[b], vreinterpretq_u8_s16(vpaddq_s16(first, last)));
        row.scales[b] = scale;
    }
}

/// The sum of the 8 integers of each of 8 vectors, in their order.
#[inline]
#[target_feature(enable = "neon")]
fn sums_of_8(x: &[int16x8_t; 8]) -> int16x8_t {
    let first = vpaddq_s16(vpaddq_s16(x[0], x[1]), vpaddq_s16(x[2], x[3]));
    let last = vpaddq_s16(vpaddq_s16(x[4], x[5]), vpaddq_s16(x[6], x[7]));
    vpaddq_s16(first, last)
}

/// The bits of the magnitudes of four numbers.
#[inline]
#[target_feature(enable = "neon")]
fn magnitudes(x: &[f32; 4]) -> uint32x4_t {
    vandq_u32(vreinterpretq_u32_u8(load(x)), vdupq_n_u32(MAGNITUDE))
}

/// The bits of the largest magnitude.
#[inline]
#[target_feature(enable = "neon")]
fn largest<const N: usize>(x: &[f32; N]) -> u32 {
    // Several maxima, so that one does not wait for the other.
    let mut max = [vdupq_n_u32(0); 4];
    for x in x.as_chunks::<16>().0 {
        for (max, x) in max.iter_mut().zip(x.as_chunks::<4>().0) {
            *max = vmaxq_u32(*max, magnitudes(x));
        }
    }
    vmaxvq_u32(vmaxq_u32(vmaxq_u32(max[0], max[1]), vmaxq_u32(max[2], max[3])))
}

/// The first element with these bits but the sign.
#[inline]
#[target_feature(enable = "neon")]
fn first_of(x: &[f32; 256], magnitude: u32) -> f32 {
    let wanted = vdupq_n_u32(magnitude);
    for x in x.as_chunks::<16>().0 {
        let parts: &[[f32; 4]; 4] = cast_ref(x);
        let equal = |i: usize| vmovn_u32(vceqq_u32(magnitudes(&parts[i]), wanted));
        let (first, last) = (vcombine_u16(equal(0), equal(1)), vcombine_u16(equal(2), equal(3)));
        // Four bits for each element.
        let equal = vshrn_n_u16::<4>(vreinterpretq_u16_u8(vcombine_u8(vmovn_u16(first), vmovn_u16(last))));
        let equal = vget_lane_u64::<0>(vreinterpret_u64_u8(equal));
        if equal != 0 {
            return x[equal.trailing_zeros() as usize / 4 % 16];
        }
    }
    0.0
}

/// Each `x * inverse` to the nearest integer, ties to even; all zero where `inverse` is.
#[inline]
#[target_feature(enable = "neon")]
fn round(x: &[f32; 16], inverse: f32) -> int8x16_t {
    if inverse == 0.0 {
        return vdupq_n_s8(0);
    }
    let x: &[[f32; 4]; 4] = cast_ref(x);
    let round = |i: usize| vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(load_floats(&x[i]), inverse)));
    let (first, last) = (vcombine_s16(round(0), round(1)), vcombine_s16(round(2), round(3)));
    vcombine_s8(vmovn_s16(first), vmovn_s16(last))
}
