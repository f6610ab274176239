//! Products of four rows with four tokens, which is what the levels with products of panels and tiles do differently.

use std::arch::aarch64::*;

use bytemuck::Pod;

use super::shims;
use super::vector::*;
use crate::kernels::isa::{Dotprod, I8mm};

/// Sixteen sums: of each of four rows with each of four tokens, in the order of the level.
pub(super) type Sums = [int32x4_t; 4];

/// A level's products of four rows with four tokens. The value is the proof that the CPU has the instructions.
pub(super) trait Outer: Copy {
    /// Neighbours of a row, and of a token, that one step takes.
    const GROUP: usize;

    /// The bytes of four rows, or of four tokens, that one step takes.
    type Four: Pod;

    /// Adds the products of a step.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn multiply(self, sums: Sums, rows: &Self::Four, tokens: &Self::Four) -> Sums;

    /// A factor for each row, for the sums of that row.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn factors(rows: int32x4_t) -> [int32x4_t; 4];

    /// The sums of each token, whose lanes are the rows.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn by_token(sums: Sums) -> [int32x4_t; 4];

    /// Sixteen neighbours of each of four rows, step after step.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for NEON.
    unsafe fn interleaved(rows: [int8x16_t; 4]) -> [int8x16_t; 4];
}

/// Four bytes of each row meet four bytes of a token: a vector for each token.
impl Outer for Dotprod {
    const GROUP: usize = 4;
    type Four = [u8; 16];

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn multiply(self, [a, b, c, d]: Sums, rows: &Self::Four, tokens: &Self::Four) -> Sums {
        let (rows, tokens) = (vreinterpretq_s8_u8(load(rows)), vreinterpretq_s8_u8(load(tokens)));
        [
            shims::sdot_lane::<0>(self, a, rows, tokens),
            shims::sdot_lane::<1>(self, b, rows, tokens),
            shims::sdot_lane::<2>(self, c, rows, tokens),
            shims::sdot_lane::<3>(self, d, rows, tokens),
        ]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn factors(rows: int32x4_t) -> [int32x4_t; 4] {
        [rows; 4]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn by_token(sums: Sums) -> [int32x4_t; 4] {
        sums
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn interleaved(rows: [int8x16_t; 4]) -> [int8x16_t; 4] {
        let [a, b, c, d] = rows.map(|row| vreinterpretq_s32_s8(row));
        let wide = |x: int32x4_t| vreinterpretq_s64_s32(x);
        let (ab_low, cd_low) = (wide(vzip1q_s32(a, b)), wide(vzip1q_s32(c, d)));
        let (ab_high, cd_high) = (wide(vzip2q_s32(a, b)), wide(vzip2q_s32(c, d)));
        [
            vzip1q_s64(ab_low, cd_low),
            vzip2q_s64(ab_low, cd_low),
            vzip1q_s64(ab_high, cd_high),
            vzip2q_s64(ab_high, cd_high),
        ]
        .map(|x| vreinterpretq_s8_s64(x))
    }
}

/// Eight bytes of each of two rows meet eight bytes of each of two tokens: a vector holds two rows by two tokens.
impl Outer for I8mm {
    const GROUP: usize = 8;
    type Four = [[u8; 16]; 2];

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn multiply(self, [a, b, c, d]: Sums, rows: &Self::Four, tokens: &Self::Four) -> Sums {
        let pair = |from: &[u8; 16]| vreinterpretq_s8_u8(load(from));
        let ([r, s], [t, u]) = ([pair(&rows[0]), pair(&rows[1])], [pair(&tokens[0]), pair(&tokens[1])]);
        [
            shims::smmla(self, a, r, t),
            shims::smmla(self, b, s, t),
            shims::smmla(self, c, r, u),
            shims::smmla(self, d, s, u),
        ]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn factors(rows: int32x4_t) -> [int32x4_t; 4] {
        let (first, last) = (vzip1q_s32(rows, rows), vzip2q_s32(rows, rows));
        [first, last, first, last]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn by_token([a, b, c, d]: Sums) -> [int32x4_t; 4] {
        [vuzp1q_s32(a, b), vuzp2q_s32(a, b), vuzp1q_s32(c, d), vuzp2q_s32(c, d)]
    }

    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn interleaved(rows: [int8x16_t; 4]) -> [int8x16_t; 4] {
        let [a, b, c, d] = rows.map(|row| vreinterpretq_s64_s8(row));
        [vzip1q_s64(a, b), vzip1q_s64(c, d), vzip2q_s64(a, b), vzip2q_s64(c, d)].map(|x| vreinterpretq_s8_s64(x))
    }
}
