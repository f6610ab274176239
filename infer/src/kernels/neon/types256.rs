//! How blocks of 256 unpack to vectors.

use std::arch::aarch64::*;

use bytemuck::cast_ref;

use super::block256::Vector256;
use super::vector::*;
use crate::kernels::blocks::{IQ4_VALUES, IQ4_XS, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K};

const THREES: u64 = 0x0303_0303_0303_0303;
const NIBBLES: u64 = 0x0f0f_0f0f_0f0f_0f0f;

/// Eight bytes, unsigned, in 16 bits each.
#[inline]
#[target_feature(enable = "neon")]
fn widened(bytes: uint8x8_t) -> int16x8_t {
    vreinterpretq_s16_u16(vmovl_u8(bytes))
}

/// Sixteen unsigned bytes in 16 bits each.
#[inline]
#[target_feature(enable = "neon")]
fn all_widened(bytes: uint8x16_t) -> [int16x8_t; 2] {
    [widened(vget_low_u8(bytes)), vreinterpretq_s16_u16(vmovl_high_u8(bytes))]
}

/// The three words of packed 6-bit numbers.
#[inline]
fn words(packed: &[u8; 12]) -> [u64; 3] {
    cast_ref::<[u8; 12], [[u8; 4]; 3]>(packed).map(|word| u64::from(u32::from_le_bytes(word)))
}

/// The 8 scales or, of `own` 1 and `shift` 4, the 8 mins of `Q4_K` and `Q5_K`; see `blocks::six_bit_pairs`.
#[inline]
#[target_feature(enable = "neon")]
fn six_bit_pairs(packed: &[u8; 12], own: usize, shift: u32) -> [int16x8_t; 2] {
    let words = words(packed);
    let low = words[own] & 0x3f3f_3f3f;
    let high = words[2] >> shift & 0x0f0f_0f0f | words[own] >> 2 & 0x3030_3030;
    [widened(bytes_of(low | high << 32)), vdupq_n_s16(0)]
}

/// The vectors of `Q4_K` and `Q5_K` without fifth bits: 32 low nibbles and 32 high nibbles of each 32 bytes.
#[inline]
#[target_feature(enable = "neon")]
fn nibbles_of_64(qs: &[u8; 128], half: usize) -> [uint8x16_t; 8] {
    let qs: &[[[u8; 16]; 4]; 2] = cast_ref(qs);
    let [a, b, c, d] = &qs[half];
    let ([a, e], [b, f], [c, g], [d, h]) = (nibbles(load(a)), nibbles(load(b)), nibbles(load(c)), nibbles(load(d)));
    [a, b, e, f, c, d, g, h]
}

/// The vectors of `Q2_K` and `Q3_K` without third bits: the lowest two bits of each of 32 bytes, then the next two.
#[inline]
#[target_feature(enable = "neon")]
fn twos_of_32(qs: &[u8; 64], half: usize) -> [uint8x16_t; 8] {
    let qs: &[[[u8; 16]; 2]; 2] = cast_ref(qs);
    let (a, b) = (load(&qs[half][0]), load(&qs[half][1]));
    let and = |x: uint8x16_t| vandq_u8(x, vdupq_n_u8(3));
    [
        and(a),
        and(b),
        and(vshrq_n_u8::<2>(a)),
        and(vshrq_n_u8::<2>(b)),
        and(vshrq_n_u8::<4>(a)),
        and(vshrq_n_u8::<4>(b)),
        vshrq_n_u8::<6>(a),
        vshrq_n_u8::<6>(b),
    ]
}

/// For vector `i` of a half, all ones where its bit is one. The bytes of `bits` are those of 32 neighbours, their bits
/// those of each 32.
#[inline]
#[target_feature(enable = "neon")]
fn masks(bits: [uint8x16_t; 2], half: usize) -> [uint8x16_t; 8] {
    let mut masks = [vdupq_n_u8(0); 8];
    for (i, mask) in masks.iter_mut().enumerate() {
        *mask = vtstq_u8(bits[i % 2], vdupq_n_u8(1 << (4 * half + i / 2)));
    }
    masks
}

/// Loads 32 bytes.
#[inline]
#[target_feature(enable = "neon")]
fn load_two(from: &[u8; 32]) -> [uint8x16_t; 2] {
    let [first, last]: &[[u8; 16]; 2] = cast_ref(from);
    [load(first), load(last)]
}

/// Each vector as signed numbers.
#[inline]
#[target_feature(enable = "neon")]
fn signed(x: [uint8x16_t; 8]) -> [int8x16_t; 8] {
    let mut out = [vdupq_n_s8(0); 8];
    for (out, x) in out.iter_mut().zip(x) {
        *out = vreinterpretq_s8_u8(x);
    }
    out
}

impl Vector256 for Q4_K {
    const SIXTEEN: bool = false;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half(&self, half: usize) -> [int8x16_t; 8] {
        signed(nibbles_of_64(&self.qs, half))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scale_vectors(&self) -> [int16x8_t; 2] {
        six_bit_pairs(&self.scales, 0, 0)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn min_vectors(&self) -> [int16x8_t; 2] {
        six_bit_pairs(&self.scales, 1, 4)
    }

    #[inline]
    fn halves(&self) -> [[u8; 2]; 2] {
        [self.d, self.dmin]
    }
}

impl Vector256 for Q5_K {
    const SIXTEEN: bool = false;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half(&self, half: usize) -> [int8x16_t; 8] {
        let (nibbles, set) = (nibbles_of_64(&self.qs, half), masks(load_two(&self.qh), half));
        let mut out = [vdupq_n_s8(0); 8];
        for (out, (nibbles, set)) in out.iter_mut().zip(nibbles.into_iter().zip(set)) {
            *out = fifth_bit(nibbles, set);
        }
        out
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scale_vectors(&self) -> [int16x8_t; 2] {
        six_bit_pairs(&self.scales, 0, 0)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn min_vectors(&self) -> [int16x8_t; 2] {
        six_bit_pairs(&self.scales, 1, 4)
    }

    #[inline]
    fn halves(&self) -> [[u8; 2]; 2] {
        [self.d, self.dmin]
    }
}

impl Vector256 for Q6_K {
    const SIXTEEN: bool = true;
    const OFFSET: i32 = 32;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half(&self, half: usize) -> [int8x16_t; 8] {
        let ql: &[[[u8; 16]; 4]; 2] = cast_ref(&self.ql);
        let qh: &[[[u8; 16]; 2]; 2] = cast_ref(&self.qh);
        let mut out = [vdupq_n_u8(0); 8];
        for i in 0..2 {
            // Pairs of upper bits at the bottom of each nibble: of the elements from 0 and 64, and of those from 32 and
            // 96.
            let high = load(&qh[half][i]);
            let pairs = vdupq_n_u8(0x33);
            let uppers = [vandq_u8(high, pairs), vandq_u8(vshrq_n_u8::<2>(high), pairs)];
            for (j, upper) in uppers.into_iter().enumerate() {
                let low = load(&ql[half][2 * j + i]);
                out[2 * j + i] = vsliq_n_u8::<4>(vandq_u8(low, vdupq_n_u8(15)), upper);
                out[2 * j + i + 4] = vsriq_n_u8::<4>(upper, low);
            }
        }
        signed(out)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scale_vectors(&self) -> [int16x8_t; 2] {
        let scales = vreinterpretq_s8_u8(load(&self.scales));
        [vmovl_s8(vget_low_s8(scales)), vmovl_high_s8(scales)]
    }

    #[inline]
    fn halves(&self) -> [[u8; 2]; 2] {
        [self.d, [0; 2]]
    }
}

impl Vector256 for Q2_K {
    const SIXTEEN: bool = true;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half(&self, half: usize) -> [int8x16_t; 8] {
        signed(twos_of_32(&self.qs, half))
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scale_vectors(&self) -> [int16x8_t; 2] {
        all_widened(nibbles(load(&self.scales))[0])
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn min_vectors(&self) -> [int16x8_t; 2] {
        all_widened(nibbles(load(&self.scales))[1])
    }

    #[inline]
    fn halves(&self) -> [[u8; 2]; 2] {
        [self.d, self.dmin]
    }
}

impl Vector256 for Q3_K {
    const SIXTEEN: bool = true;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half(&self, half: usize) -> [int8x16_t; 8] {
        let (twos, unset) = (twos_of_32(&self.qs, half), masks(load_two(&self.hmask).map(|bits| vmvnq_u8(bits)), half));
        let mut out = [vdupq_n_u8(0); 8];
        for (out, (twos, unset)) in out.iter_mut().zip(twos.into_iter().zip(unset)) {
            // Ones above the two bits subtract 4.
            *out = vsliq_n_u8::<2>(twos, unset);
        }
        signed(out)
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scale_vectors(&self) -> [int16x8_t; 2] {
        let [a, b, c] = words(&self.scales);
        let (low, high) = (a | b << 32, c | c << 30);
        let scales = |low: u64, high: u64| {
            let scales = bytes_of(low & NIBBLES | (high & THREES) << 4);
            vsubq_s16(widened(scales), vdupq_n_s16(32))
        };
        [scales(low, high), scales(low >> 4, high >> 4)]
    }

    #[inline]
    fn halves(&self) -> [[u8; 2]; 2] {
        [self.d, [0; 2]]
    }
}

impl Vector256 for IQ4_XS {
    const SIXTEEN: bool = false;

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn half(&self, half: usize) -> [int8x16_t; 8] {
        let qs: &[[[u8; 16]; 4]; 2] = cast_ref(&self.qs);
        let mut out = [vdupq_n_s8(0); 8];
        for (out, qs) in out.as_chunks_mut::<2>().0.iter_mut().zip(&qs[half]) {
            let [low, high] = nibbles(load(qs));
            *out = [look_up(&IQ4_VALUES, low), look_up(&IQ4_VALUES, high)];
        }
        out
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn scale_vectors(&self) -> [int16x8_t; 2] {
        let low = bytes_of(u64::from(u32::from_le_bytes(self.scales_l)));
        let low = vand_u8(vzip1_u8(low, vshr_n_u8::<4>(low)), vdup_n_u8(15));
        // Each lane moves its own two of the 16 bits to the bottom.
        let places = [0i16, -2, -4, -6, -8, -10, -12, -14];
        let high = vshlq_u16(vdupq_n_u16(u16::from_le_bytes(self.scales_h)), load_shorts(&places));
        let high = vshlq_n_u16::<4>(vandq_u16(high, vdupq_n_u16(3)));
        let scales = vreinterpretq_s16_u16(vorrq_u16(vmovl_u8(low), high));
        [vsubq_s16(scales, vdupq_n_s16(32)), vdupq_n_s16(0)]
    }

    #[inline]
    fn halves(&self) -> [[u8; 2]; 2] {
        [self.d, [0; 2]]
    }
}
