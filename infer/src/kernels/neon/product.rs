//! Products of panels and tiles, four rows with four tokens at a time.

use std::arch::aarch64::*;

use bytemuck::{Zeroable, cast_mut, cast_ref, cast_slice};

use super::block32::Vector32;
use super::block256::Vector256;
use super::outer::{Outer, Sums};
use super::vector::*;
use crate::kernels::gemm::Product;
use crate::kernels::panel::{PANEL, Panel32, Panel256};
use crate::kernels::tile::{TILE, Tile32, Tile256};

/// A value for each of four tokens, in vectors whose lanes are four rows.
type FourByFour = [float32x4_t; 4];

/// [`Values`](crate::kernels::gemm::Values) by panels, fours of rows and fours of tokens: what is used together lies
/// together.
type Fours = [[[[[f32; 4]; 4]; TILE / 4]; PANEL / 4]; 2];

/// A pair of panels of blocks of 32 with a tile.
#[inline(never)] // So that profiles and listings show each kernel by its name.
#[target_feature(enable = "neon")]
pub(super) fn blocks_32<O: Outer, B: Vector32>(
    outer: O,
    panels: [&[Panel32]; 2],
    tile: &[Tile32],
    product: &mut Product,
) {
    product.lanes = Zeroable::zeroed();
    for (p, panel) in panels.into_iter().enumerate() {
        for (b, (panel, tile)) in panel.iter().zip(tile).enumerate() {
            let acc: &mut Fours = cast_mut(&mut product.lanes[b % 8]);
            for (half, acc) in acc[p].as_chunks_mut::<2>().0.iter_mut().enumerate() {
                eight_rows_32::<O, B>(outer, panel, tile, half, acc);
            }
        }
    }
    finish(product);
}

/// Adds the terms of one block and half the rows.
#[inline]
#[target_feature(enable = "neon")]
fn eight_rows_32<O: Outer, B: Vector32>(
    outer: O,
    panel: &Panel32,
    tile: &Tile32,
    half: usize,
    acc: &mut [[[[f32; 4]; 4]; TILE / 4]; 2],
) {
    let rows: &[[O::Four; PANEL / 4]] = cast_slice(&panel.quants);
    let tokens: &[[O::Four; TILE / 4]] = cast_slice(&tile.quants);
    let mut sums: [[Sums; 2]; 2] = [[[vdupq_n_s32(0); 4]; 2]; 2];
    for (rows, tokens) in rows.iter().zip(tokens) {
        for (sums, rows) in sums.iter_mut().zip(&rows.as_chunks::<2>().0[half]) {
            for (sums, tokens) in sums.iter_mut().zip(tokens) {
                // SAFETY: this function is compiled for NEON.
                *sums = unsafe { outer.multiply(*sums, rows, tokens) };
            }
        }
    }
    for (i, (sums, acc)) in sums.into_iter().zip(acc).enumerate() {
        let r = 2 * half + i;
        let (scales, mins) = (four_of(&panel.scales, r), four_of(&panel.mins, r));
        for (t, (sums, acc)) in sums.into_iter().zip(acc).enumerate() {
            // SAFETY: as above.
            let sums = unsafe { O::by_token(sums) }.map(|sums| vcvtq_f32_s32(sums));
            let scales = times_each(scales, four_of(&tile.scales, t));
            let scaled_sums = four_of(&tile.scaled_sums, t);
            update(acc, |acc| {
                let acc = add_products(acc, sums, scales);
                if B::HAS_MIN { add_times_each(acc, mins, scaled_sums) } else { acc }
            });
        }
    }
}

/// A pair of panels of blocks of 256 with a tile.
#[inline(never)] // So that profiles and listings show each kernel by its name.
#[target_feature(enable = "neon")]
pub(super) fn blocks_256<O: Outer, B: Vector256>(
    outer: O,
    panels: [&[Panel256]; 2],
    tile: &[Tile256],
    product: &mut Product,
) {
    product.lanes = Zeroable::zeroed();
    for (p, panel) in panels.into_iter().enumerate() {
        for (b, (panel, tile)) in panel.iter().zip(tile).enumerate() {
            let acc: &mut Fours = cast_mut(&mut product.lanes[b % 8]);
            for (half, [first, last]) in acc[p].as_chunks_mut::<2>().0.iter_mut().enumerate() {
                for (t, acc) in first.iter_mut().zip(last).enumerate() {
                    let [first, last] = sums_256::<O, B>(outer, panel, tile, half, t);
                    add_256::<O, B>(panel, tile, first, 2 * half, t, acc.0);
                    add_256::<O, B>(panel, tile, last, 2 * half + 1, t, acc.1);
                }
            }
        }
    }
    finish(product);
}

/// The sums over the sub-blocks of sub-scale times sum of products, of half the rows of a block and four tokens.
#[inline]
#[target_feature(enable = "neon")]
fn sums_256<O: Outer, B: Vector256>(outer: O, panel: &Panel256, tile: &Tile256, half: usize, t: usize) -> [Sums; 2] {
    let rows: &[[O::Four; PANEL / 4]] = cast_slice(&panel.quants);
    let tokens: &[[O::Four; TILE / 4]] = cast_slice(&tile.quants);
    let steps = if B::SIXTEEN { 16 } else { 32 } / O::GROUP;
    let mut total: [Sums; 2] = [[vdupq_n_s32(0); 4]; 2];
    let parts = rows.chunks_exact(steps).zip(tokens.chunks_exact(steps));
    for ((rows, tokens), scales) in parts.zip(&panel.sub_scales) {
        let mut sums: [Sums; 2] = [[vdupq_n_s32(0); 4]; 2];
        for (rows, tokens) in rows.iter().zip(tokens) {
            for (sums, rows) in sums.iter_mut().zip(&rows.as_chunks::<2>().0[half]) {
                // SAFETY: this function is compiled for NEON.
                *sums = unsafe { outer.multiply(*sums, rows, &tokens[t]) };
            }
        }
        for (i, (total, sums)) in total.iter_mut().zip(sums).enumerate() {
            // SAFETY: as above.
            let factors = unsafe { O::factors(load_ints(&scales.as_chunks::<4>().0[2 * half + i])) };
            for (total, (sums, factors)) in total.iter_mut().zip(sums.into_iter().zip(factors)) {
                *total = vmlaq_s32(*total, sums, factors);
            }
        }
    }
    total
}

/// Adds the terms of row four `r` and token four `t` of a block.
#[inline]
#[target_feature(enable = "neon")]
fn add_256<O: Outer, B: Vector256>(
    panel: &Panel256,
    tile: &Tile256,
    sums: Sums,
    r: usize,
    t: usize,
    acc: &mut [[f32; 4]; 4],
) {
    let d = four_of(&tile.scales, t);
    // SAFETY: this function is compiled for NEON.
    let sums = unsafe { O::by_token(sums) }.map(|sums| vcvtq_f32_s32(sums));
    let scales = times_each(four_of(&panel.scales, r), d);
    update(acc, |acc| {
        let acc = add_products(acc, sums, scales);
        if !B::HAS_MIN {
            return acc;
        }
        // Minus the sums, which is as exact as the sums.
        let min_sums = min_sums::<B>(panel, tile, r, t).map(|sums| vnegq_f32(vcvtq_f32_s32(sums)));
        add_products(acc, min_sums, times_each(four_of(&panel.mins, r), d))
    });
}

/// The sums over the sub-blocks of sub-min times sum of activations, of row four `r` and token four `t`.
#[inline]
#[target_feature(enable = "neon")]
fn min_sums<B: Vector256>(panel: &Panel256, tile: &Tile256, r: usize, t: usize) -> [int32x4_t; 4] {
    let token_sums: &[[[i16; 2]; TILE]] = if B::SIXTEEN { &tile.sums16 } else { &tile.sums32 };
    let mut sums = [vdupq_n_s32(0); 4];
    for (mins, token_sums) in panel.sub_mins.iter().zip(token_sums) {
        let mins = vreinterpretq_s16_u8(load(&mins.as_chunks::<4>().0[r]));
        let (low, high) = (vget_low_s16(mins), vget_high_s16(mins));
        let (first, second) = (vuzp1_s16(low, high), vuzp2_s16(low, high));
        let x = vreinterpretq_s16_u8(load(&token_sums.as_chunks::<4>().0[t]));
        sums = [
            vmlal_laneq_s16::<1>(vmlal_laneq_s16::<0>(sums[0], first, x), second, x),
            vmlal_laneq_s16::<3>(vmlal_laneq_s16::<2>(sums[1], first, x), second, x),
            vmlal_laneq_s16::<5>(vmlal_laneq_s16::<4>(sums[2], first, x), second, x),
            vmlal_laneq_s16::<7>(vmlal_laneq_s16::<6>(sums[3], first, x), second, x),
        ];
    }
    sums
}

/// Four of the values of rows or tokens.
#[inline]
#[target_feature(enable = "neon")]
fn four_of(values: &[f32], i: usize) -> float32x4_t {
    load_floats(&values.as_chunks::<4>().0[i])
}

/// `rows` times each lane of `tokens`.
#[inline]
#[target_feature(enable = "neon")]
fn times_each(rows: float32x4_t, tokens: float32x4_t) -> FourByFour {
    [
        vmulq_laneq_f32::<0>(rows, tokens),
        vmulq_laneq_f32::<1>(rows, tokens),
        vmulq_laneq_f32::<2>(rows, tokens),
        vmulq_laneq_f32::<3>(rows, tokens),
    ]
}

/// `acc` plus `rows` times each lane of `tokens`, fused.
#[inline]
#[target_feature(enable = "neon")]
fn add_times_each([a, b, c, d]: FourByFour, rows: float32x4_t, tokens: float32x4_t) -> FourByFour {
    [
        vfmaq_laneq_f32::<0>(a, rows, tokens),
        vfmaq_laneq_f32::<1>(b, rows, tokens),
        vfmaq_laneq_f32::<2>(c, rows, tokens),
        vfmaq_laneq_f32::<3>(d, rows, tokens),
    ]
}

/// `acc` plus the products of `a` and `b`, fused.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(acc: FourByFour, a: FourByFour, b: FourByFour) -> FourByFour {
    let add = |i: usize| vfmaq_f32(acc[i], a[i], b[i]);
    [add(0), add(1), add(2), add(3)]
}

/// Changes accumulators in memory.
#[inline]
#[target_feature(enable = "neon")]
fn update(acc: &mut [[f32; 4]; 4], change: impl Fn(FourByFour) -> FourByFour) {
    let [a, b, c, d] = &*acc;
    let changed = change([load_floats(a), load_floats(b), load_floats(c), load_floats(d)]);
    for (acc, changed) in acc.iter_mut().zip(changed) {
        store_floats(acc, changed);
    }
}

/// The trees of the accumulators.
#[inline]
#[target_feature(enable = "neon")]
fn finish(product: &mut Product) {
    let lanes: &[Fours; 8] = cast_ref(&product.lanes);
    for (p, out) in product.out.iter_mut().enumerate() {
        for (token, out) in out.iter_mut().enumerate() {
            for (r, out) in out.as_chunks_mut().0.iter_mut().enumerate() {
                let lane = |i: usize| load_floats(&lanes[i][p][r][token / 4][token % 4]);
                let pair = |i: usize| vaddq_f32(lane(i), lane(i + 1));
                store_floats(out, vaddq_f32(vaddq_f32(pair(0), pair(2)), vaddq_f32(pair(4), pair(6))));
            }
        }
    }
}
