//! Making panels: the vectors of a row are what the kernels in place have, and then four rows at a time are
//! interleaved.

use std::arch::aarch64::*;

use bytemuck::{cast, cast_slice_mut};

use super::block32::Vector32;
use super::block256::Vector256;
use super::outer::Outer;
use super::vector::*;
use crate::kernels::panel::{PANEL, Panel32, Panel256};

/// Rows that are interleaved at a time.
const FOUR: usize = 4;

/// Makes a panel of rows of blocks of 32.
#[inline(never)] // So that profiles and listings show each kernel by its name.
#[target_feature(enable = "neon")]
pub(super) fn blocks_32<O: Outer, B: Vector32>(rows: [&[B]; PANEL], panel: &mut [Panel32]) {
    // All of one length, so that the loop below need not check.
    let rows = rows.map(|row| &row[..panel.len()]);
    for (b, panel) in panel.iter_mut().enumerate() {
        for (r, rows) in rows.as_chunks::<FOUR>().0.iter().enumerate() {
            let blocks = rows.map(|row| &row[b]);
            // SAFETY: this function is compiled for NEON.
            let vectors =
                unsafe { [blocks[0].vectors(), blocks[1].vectors(), blocks[2].vectors(), blocks[3].vectors()] };
            for i in 0..2 {
                let quants =
                    vectors.map(|vectors| if B::SIXTEENFOLD { vshrq_n_s8::<4>(vectors[i]) } else { vectors[i] });
                put_quants::<O>(&mut panel.quants, quants, r, i);
            }
            // SAFETY: as above.
            let (scales, mins) = unsafe { (B::scales(blocks), B::mins(blocks)) };
            store_floats(&mut panel.scales.as_chunks_mut().0[r], scales);
            store_floats(&mut panel.mins.as_chunks_mut().0[r], mins);
        }
    }
}

/// Makes a panel of rows of blocks of 256.
#[inline(never)] // So that profiles and listings show each kernel by its name.
#[target_feature(enable = "neon")]
pub(super) fn blocks_256<O: Outer, B: Vector256>(rows: [&[B]; PANEL], panel: &mut [Panel256]) {
    // All of one length, so that the loop below need not check.
    let rows = rows.map(|row| &row[..panel.len()]);
    for (b, panel) in panel.iter_mut().enumerate() {
        let blocks: [&B; PANEL] = rows.map(|row| &row[b]);
        for (r, blocks) in blocks.as_chunks::<FOUR>().0.iter().enumerate() {
            quants_256::<O, B>(blocks, r, panel);
            let halves = blocks.map(|block| block.halves());
            store_floats(&mut panel.scales.as_chunks_mut().0[r], widen_4(halves.map(|[scale, _]| scale)));
            store_floats(&mut panel.mins.as_chunks_mut().0[r], widen_4(halves.map(|[_, min]| min)));
        }
        sub_scales(&blocks, panel);
    }
}

/// The quants of four blocks, which are row four `r`. They are more than the registers hold, so the blocks are unpacked
/// to memory first.
#[inline]
#[target_feature(enable = "neon")]
fn quants_256<O: Outer, B: Vector256>(blocks: &[&B; FOUR], r: usize, panel: &mut Panel256) {
    let mut rows = [[[0i8; 16]; 16]; FOUR];
    for (row, block) in rows.iter_mut().zip(blocks) {
        for (half, row) in row.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: this function is compiled for NEON.
            for (to, vector) in row.iter_mut().zip(unsafe { block.half(half) }) {
                store(to, vreinterpretq_u8_s8(vsubq_s8(vector, vdupq_n_s8(B::OFFSET as i8))));
            }
        }
    }
    let [a, b, c, d] = &rows;
    for i in 0..16 {
        let quants = [load_signed(&a[i]), load_signed(&b[i]), load_signed(&c[i]), load_signed(&d[i])];
        put_quants::<O>(&mut panel.quants, quants, r, i);
    }
}

/// Interleaves 16 neighbours, from `16 * i` on, of row four `r`.
#[inline]
#[target_feature(enable = "neon")]
fn put_quants<O: Outer>(to: &mut [[i8; 64]], quants: [int8x16_t; FOUR], r: usize, i: usize) {
    let vectors: &mut [[u8; 16]] = cast_slice_mut(to);
    // Vectors of four rows in a step.
    let step = O::GROUP / 4;
    // SAFETY: this function is compiled for NEON.
    for (n, quants) in unsafe { O::interleaved(quants) }.into_iter().enumerate() {
        let n = i * 4 + n;
        store(&mut vectors[(n / step * (PANEL / FOUR) + r) * step + n % step], vreinterpretq_u8_s8(quants));
    }
}

/// The sub-scales and sub-mins.
#[inline]
#[target_feature(enable = "neon")]
fn sub_scales<B: Vector256>(blocks: &[&B; PANEL], panel: &mut Panel256) {
    let sub_blocks = if B::SIXTEEN { 16 } else { 8 };
    for (r, block) in blocks.iter().enumerate() {
        // SAFETY: this function is compiled for NEON.
        let (scales, mins) = unsafe { (block.scale_vectors(), block.min_vectors()) };
        for (to, scale) in panel.sub_scales.iter_mut().zip(shorts(scales)).take(sub_blocks) {
            to[r] = i32::from(scale);
        }
        if B::HAS_MIN {
            let pairs: [[i16; 2]; 8] = cast(shorts(mins));
            for (to, pair) in panel.sub_mins.iter_mut().zip(pairs).take(sub_blocks / 2) {
                to[r] = pair;
            }
        }
    }
}

/// The numbers of two vectors.
#[inline]
#[target_feature(enable = "neon")]
fn shorts(vectors: [int16x8_t; 2]) -> [i16; 16] {
    let mut out = [[0i16; 8]; 2];
    for (out, vector) in out.iter_mut().zip(vectors) {
        store(out, vreinterpretq_u8_s16(vector));
    }
    cast(out)
}
