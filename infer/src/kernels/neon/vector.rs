//! Loads, stores and reductions.

use std::arch::aarch64::*;

use bytemuck::Pod;

use super::shims::{fcvtl, fcvtl_bits, fcvtl2};

/// Loads 16 bytes, whatever their alignment.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load<T: Pod, const N: usize>(from: &[T; N]) -> uint8x16_t {
    const { assert!(size_of::<[T; N]>() == 16) }
    // SAFETY: 16 bytes can be read there, and this load of bytes asks no alignment.
    unsafe { vld1q_u8(from.as_ptr().cast()) }
}

/// Loads 16 signed bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_signed(from: &[i8; 16]) -> int8x16_t {
    vreinterpretq_s8_u8(load(from))
}

/// Loads 4 floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_floats(from: &[f32; 4]) -> float32x4_t {
    vreinterpretq_f32_u8(load(from))
}

/// Loads 4 integers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_ints(from: &[i32; 4]) -> int32x4_t {
    vreinterpretq_s32_u8(load(from))
}

/// Loads 8 integers of 16 bits.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_shorts(from: &[i16; 8]) -> int16x8_t {
    vreinterpretq_s16_u8(load(from))
}

/// Stores 16 bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store<T: Pod, const N: usize>(to: &mut [T; N], from: uint8x16_t) {
    const { assert!(size_of::<[T; N]>() == 16) }
    // SAFETY: 16 bytes can be written there, and this store of bytes asks no alignment.
    unsafe { vst1q_u8(to.as_mut_ptr().cast(), from) }
}

/// Stores 4 floats.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn store_floats(to: &mut [f32; 4], from: float32x4_t) {
    store(to, vreinterpretq_u8_f32(from));
}

/// Eight bytes in a vector.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn bytes_of(bytes: u64) -> uint8x8_t {
    vcreate_u8(bytes)
}

/// The blocks after the last whole group of `N`, if there are any, and then zeros.
///
/// The activations of missing blocks are zero, and so are their scales. The terms are zero times zero, and adding that
/// changes no accumulator, for they begin as `+0.0` and so never become `-0.0`.
#[inline]
pub(super) fn padded<B: Pod, const N: usize>(rest: &[B]) -> Option<[B; N]> {
    if rest.is_empty() {
        return None;
    }
    let mut blocks = [B::zeroed(); N];
    blocks[..rest.len()].copy_from_slice(rest);
    Some(blocks)
}

/// The exact sum of the four integers of each of four vectors, in their order.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn sums_of_4(x: [int32x4_t; 4]) -> int32x4_t {
    vpaddq_s32(vpaddq_s32(x[0], x[1]), vpaddq_s32(x[2], x[3]))
}

/// [`order::tree8`](crate::kernels::order::tree8).
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn tree8(x: [float32x4_t; 2]) -> f32 {
    let pairs = vpaddq_f32(x[0], x[1]);
    vpadds_f32(vget_low_f32(vpaddq_f32(pairs, pairs)))
}

/// Widens four half-precision numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen_4(halves: [[u8; 2]; 4]) -> float32x4_t {
    let [a, b, c, d] = halves.map(|half| u64::from(u16::from_le_bytes(half)));
    fcvtl_bits(a | b << 16 | c << 32 | d << 48)
}

/// Widens eight half-precision numbers.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn widen_8(halves: uint16x8_t) -> [float32x4_t; 2] {
    [fcvtl(vget_low_u16(halves)), fcvtl2(halves)]
}

/// The low and the high nibbles.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn nibbles(bytes: uint8x16_t) -> [uint8x16_t; 2] {
    [vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes)]
}

/// The entries of a table that the bytes index.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn look_up(table: &[i8; 16], indexes: uint8x16_t) -> int8x16_t {
    vqtbl1q_s8(load_signed(table), indexes)
}

/// Nibbles with a fifth bit: `set` is all ones where it is one.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn fifth_bit(nibbles: uint8x16_t, set: uint8x16_t) -> int8x16_t {
    // Rounded, 255 / 16 is 16.
    vreinterpretq_s8_u8(vrsraq_n_u8::<4>(nibbles, set))
}
