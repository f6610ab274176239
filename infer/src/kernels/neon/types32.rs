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

/// Nibbles with a fifth bit each, minus 16.
#[inline]
#[target_feature(enable = "neon")]
fn five_bits(qs: &[u8; 16], qh: [u8; 4]) -> [int8x16_t; 2] {
    let [low, high] = nibbles(load(qs));
    let bits = vreinterpretq_u8_u32(vdupq_n_u32(!u32::from_le_bytes(qh)));
    let places = vcombine_u8(vcreate_u8(0), vcreate_u8(0x0101_0101_0101_0101));
    let bit_of_byte = vreinterpretq_u8_u64(vdupq_n_u64(0x8040_2010_0804_0201));
    let unset = |places: uint8x16_t| vtstq_u8(vqtbl1q_u8(bits, places), bit_of_byte);
    [fifth_bit_less_16(low, unset(places)), fifth_bit_less_16(high, unset(vaddq_u8(places, vdupq_n_u8(2))))]
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
fn powers(exponents: [u8; 4]) -> float32x4_t {
    let e = vmovl_u8(bytes_of(u64::from(u32::from_le_bytes(exponents))));
    let e = vmovl_u16(vget_low_u16(e));
    // The exponents 0 and 1 make subnormal numbers.
    let normal = vshlq_n_u32::<23>(vsubq_u32(e, vdupq_n_u32(1)));
    let subnormal = vshlq_u32(vdupq_n_u32(0x0020_0000), vreinterpretq_s32_u32(e));
    vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), subnormal, normal))
}

/// `plus`: how much more than the quants the vectors are.
macro_rules! vector32 {
    (
        $name:ident $(plus $offset:literal)?,
        $block:ident => $vectors:expr,
        $blocks:ident => $scales:expr $(, mins: $mins:expr)?
    ) => {
        impl Vector32 for $name {
            $(const OFFSET: i32 = $offset;)?

            #[inline]
            #[target_feature(enable = "neon")]
            unsafe fn vectors(&self) -> [int8x16_t; 2] {
                let $block = self;
                $vectors
            }

            #[inline]
            #[target_feature(enable = "neon")]
            unsafe fn scales($blocks: &[Self; 4]) -> float32x4_t {
                $scales
            }

            $(
                #[inline]
                #[target_feature(enable = "neon")]
                unsafe fn mins($blocks: &[Self; 4]) -> float32x4_t {
                    $mins
                }
            )?
        }
    };
}

vector32!(Q4_0 plus 8, block => signed_nibbles(&block.qs), blocks => widen_4(blocks.map(|block| block.d)));
vector32!(
    Q4_1,
    block => signed_nibbles(&block.qs),
    blocks => widen_4(blocks.map(|block| block.d)), mins: widen_4(blocks.map(|block| block.m))
);
vector32!(Q5_0, block => five_bits(&block.qs, block.qh), blocks => widen_4(blocks.map(|block| block.d)));
vector32!(
    Q5_1 plus -16,
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
    blocks => powers(blocks.map(|block| block.e[0]))
);
