//! How blocks of 32 unpack to vectors.

use std::arch::aarch64::*;

use super::block32::Vector32;
use super::vector::*;
use crate::kernels::blocks::{FP4_VALUES, IQ4_NL, IQ4_VALUES, MXFP4, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0};

/// Both nibbles of each byte, as signed numbers.
#[inline]
#[target_feature(enable = "neon")]
fn signed_nibbles(qs: &[u8; 16]) -> [int8x16_t; 2] {
    let [low, high] = nibbles(load(qs));
    [vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)]
}

/// Nibbles minus 8, times 16: the bits stay where they are or move to the top.
#[inline]
#[target_feature(enable = "neon")]
fn sixteen_times_less_8(qs: &[u8; 16]) -> [int8x16_t; 2] {
    let flipped = veorq_u8(load(qs), vdupq_n_u8(0x88));
    [vreinterpretq_s8_u8(vshlq_n_u8::<4>(flipped)), vreinterpretq_s8_u8(vandq_u8(flipped, vdupq_n_u8(0xf0)))]
}

/// For each of 32 elements, all ones where its bit is one.
#[inline]
#[target_feature(enable = "neon")]
fn masks(bits: u32) -> [uint8x16_t; 2] {
    let bits = vreinterpretq_u8_u32(vdupq_n_u32(bits));
    let bytes = vcombine_u8(vcreate_u8(0), vcreate_u8(0x0101_0101_0101_0101));
    let bit_of_byte = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
    let mask = |bytes: uint8x16_t| vtstq_u8(vqtbl1q_u8(bits, bytes), bit_of_byte);
    [mask(bytes), mask(vaddq_u8(bytes, vdupq_n_u8(2)))]
}

/// Nibbles with a fifth bit each.
#[inline]
#[target_feature(enable = "neon")]
fn five_bits(qs: &[u8; 16], qh: [u8; 4]) -> [int8x16_t; 2] {
    let ([low, high], [low_set, high_set]) = (nibbles(load(qs)), masks(u32::from_le_bytes(qh)));
    [fifth_bit(low, low_set), fifth_bit(high, high_set)]
}

/// The same minus 16: ones above the nibble where the fifth bit is zero.
#[inline]
#[target_feature(enable = "neon")]
fn five_bits_less_16(qs: &[u8; 16], qh: [u8; 4]) -> [int8x16_t; 2] {
    let ([low, high], [low_unset, high_unset]) = (nibbles(load(qs)), masks(!u32::from_le_bytes(qh)));
    [vreinterpretq_s8_u8(vsliq_n_u8::<4>(low, low_unset)), vreinterpretq_s8_u8(vsliq_n_u8::<4>(high, high_unset))]
}

/// The entries of a table of signed numbers that the nibbles index.
#[inline]
#[target_feature(enable = "neon")]
fn look_up_nibbles(table: &[i8; 16], qs: &[u8; 16]) -> [int8x16_t; 2] {
    let [low, high] = nibbles(load(qs));
    [look_up(table, low), look_up(table, high)]
}

/// The scales that are powers of two; see `blocks::half_of_power`.
#[inline]
#[target_feature(enable = "neon")]
fn powers(blocks: [&MXFP4; 4]) -> float32x4_t {
    // The first bytes of the quants come along, for there are loads of words into a lane that cost no more.
    let words = blocks.map(|block| i32::from_le_bytes([block.e[0], block.qs[0], block.qs[1], block.qs[2]]));
    let e = vandq_u32(vreinterpretq_u32_s32(load_ints(&words)), vdupq_n_u32(0xff));
    // The exponents 0 and 1 make subnormal numbers.
    let normal = vshlq_n_u32::<23>(vsubq_u32(e, vdupq_n_u32(1)));
    let subnormal = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(e));
    vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), subnormal, normal))
}

macro_rules! vector32 {
    (
        $name:ident $(with $constant:ident)?,
        $block:ident => $vectors:expr,
        $blocks:ident => $scales:expr $(, mins: $mins:expr)?
    ) => {
        impl Vector32 for $name {
            $(const $constant: bool = true;)?

            #[inline]
            #[target_feature(enable = "neon")]
            unsafe fn vectors(&self) -> [int8x16_t; 2] {
                let $block = self;
                $vectors
            }

            #[inline]
            #[target_feature(enable = "neon")]
            unsafe fn scales($blocks: [&Self; 4]) -> float32x4_t {
                $scales
            }

            $(
                #[inline]
                #[target_feature(enable = "neon")]
                unsafe fn mins($blocks: [&Self; 4]) -> float32x4_t {
                    $mins
                }
            )?
        }
    };
}

vector32!(
    Q4_0 with SIXTEENFOLD,
    block => sixteen_times_less_8(&block.qs),
    blocks => widen_4(blocks.map(|block| block.d))
);
vector32!(
    Q4_1,
    block => signed_nibbles(&block.qs),
    blocks => widen_4(blocks.map(|block| block.d)), mins: widen_4(blocks.map(|block| block.m))
);
vector32!(Q5_0, block => five_bits_less_16(&block.qs, block.qh), blocks => widen_4(blocks.map(|block| block.d)));
vector32!(
    Q5_1,
    block => five_bits(&block.qs, block.qh),
    blocks => widen_4(blocks.map(|block| block.d)), mins: widen_4(blocks.map(|block| block.m))
);
vector32!(
    Q8_0,
    block => {
        let [first, last]: &[[i8; 16]; 2] = bytemuck::cast_ref(&block.qs);
        [load_signed(first), load_signed(last)]
    },
    blocks => widen_4(blocks.map(|block| block.d))
);
vector32!(
    IQ4_NL,
    block => look_up_nibbles(&IQ4_VALUES, &block.qs),
    blocks => widen_4(blocks.map(|block| block.d))
);
vector32!(
    MXFP4,
    block => look_up_nibbles(&FP4_VALUES, &block.qs),
    blocks => powers(blocks)
);
