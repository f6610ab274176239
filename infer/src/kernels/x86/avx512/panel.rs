//! Making panels: the vectors of a row are what the kernels in place have, and then they are transposed.

use std::arch::x86_64::*;

use super::block32::Wide32;
use super::block256::Wide256;
use super::transpose::transposed;
use super::vector::*;
use crate::kernels::gemm::Gemm;
use crate::kernels::isa::Avx512Vnni;
use crate::kernels::panel::{PANEL, Panel32, Panel256, Plane};
use crate::kernels::x86::avx2::vector::{halves, load_half, prefetch_bytes};

/// Makes a panel of rows of blocks of 32.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn blocks_32<B: Wide32>(rows: [&[B]; PANEL], panel: &mut [Panel32]) {
    for (b, panel) in panel.iter_mut().enumerate() {
        let blocks: [&B; PANEL] = rows.map(|row| &row[b]);
        expect_next(&rows, b);
        // SAFETY: this function is compiled for the features.
        let bytes = unsafe { B::bytes_16(&blocks) };
        let mut sums = _mm512_setzero_si512();
        for (to, bytes) in panel.quants.iter_mut().zip(bytes) {
            let quants = _mm512_sub_epi8(bytes, _mm512_set1_epi8(B::OFFSET as i8));
            store(to, quants);
            sums = add_offset_times(sums, quants);
        }
        store(&mut panel.bias, _mm512_sub_epi32(_mm512_setzero_si512(), sums));
        // SAFETY: this function is compiled for the features.
        let planes = unsafe { [B::scales(&blocks[..8]), B::scales(&blocks[8..])] };
        for (i, (scales, mins)) in planes.into_iter().enumerate() {
            store_8_floats(&mut panel.scales, i, scales);
            store_8_floats(&mut panel.mins, i, mins);
        }
    }
}

/// Makes a panel of rows of blocks of 256.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn blocks_256<B: Wide256>(rows: [&[B]; PANEL], panel: &mut [Panel256]) {
    for (b, panel) in panel.iter_mut().enumerate() {
        let blocks: [&B; PANEL] = rows.map(|row| &row[b]);
        expect_next(&rows, b);
        quants_256(&blocks, panel);
        sub_scales(&blocks, panel);
        for (i, blocks) in blocks.chunks_exact(8).enumerate() {
            store_8_floats(&mut panel.scales, i, halves(blocks, |block| block.halves().0));
            store_8_floats(&mut panel.mins, i, halves(blocks, |block| block.halves().1));
        }
    }
}

/// Asks for block `b` of the rows of the next panel, which follow these in memory except at the end of a page: sixteen rows
/// are more streams than the processor finds by itself.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn expect_next<B>(rows: &[&[B]; PANEL], b: usize) {
    for row in rows {
        let next = row.as_ptr().wrapping_add(PANEL * row.len() + b);
        prefetch_bytes(next.cast(), size_of::<B>());
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn quants_256<B: Wide256>(blocks: &[&B; PANEL], panel: &mut Panel256) {
    let offset = _mm512_set1_epi8(B::OFFSET_BITS.map_or(0, |bits| 1 << bits));
    let mut quarters = [[_mm512_setzero_si512(); PANEL]; 4];
    for (r, block) in blocks.iter().enumerate() {
        // SAFETY: this function is compiled for the features.
        for (quarter, bytes) in quarters.iter_mut().zip(unsafe { block.quarters() }) {
            quarter[r] = _mm512_sub_epi8(bytes, offset);
        }
    }
    let (mut sums, mut squares) = ([_mm512_setzero_si512(); 16], [_mm512_setzero_si512(); 16]);
    for (q, (to, rows)) in panel.quants.as_chunks_mut::<PANEL>().0.iter_mut().zip(quarters).enumerate() {
        for (k, (to, quants)) in to.iter_mut().zip(transposed(rows)).enumerate() {
            store(to, quants);
            let run = (q * PANEL + k) * 4 / B::RUN;
            sums[run] = add_offset_times(sums[run], quants);
            if !B::RUN_FITS_16_BITS {
                squares[run] = add_squares(squares[run], quants);
            }
        }
    }
    let mut largest = squares[0];
    for (run, to) in panel.bias.iter_mut().enumerate().take(B::SUB_BLOCKS) {
        store(to, _mm512_sub_epi32(_mm512_setzero_si512(), sums[run]));
        largest = _mm512_max_epi32(largest, squares[run]);
    }
    panel.squares = _mm512_reduce_max_epi32(largest) as u32;
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sub_scales<B: Wide256>(blocks: &[&B; PANEL], panel: &mut Panel256) {
    let mut rows = [_mm512_setzero_si512(); PANEL];
    for (row, block) in rows.iter_mut().zip(blocks) {
        // SAFETY: this function is compiled for the features.
        *row = unsafe { block.factors() };
    }
    // Sub-blocks of 32 have their scale twice, and their min.
    let step = 16 / B::SUB_BLOCKS;
    let scales = transposed(rows);
    for (to, scales) in panel.sub_scales.iter_mut().zip(scales.into_iter().step_by(step)) {
        store(to, _mm512_and_si512(scales, _mm512_set1_epi32(0xffff)));
    }
    if B::HAS_MIN {
        for (row, block) in rows.iter_mut().zip(blocks) {
            *row = _mm512_castsi256_si512(_mm256_cvtepu8_epi16(load_half(&block.sub_mins())));
        }
        let pairs = transposed(rows);
        for (i, to) in panel.sub_mins.iter_mut().enumerate().take(B::SUB_BLOCKS / 2) {
            store(to, if step == 2 { lower_halves(pairs[2 * i], pairs[2 * i + 1]) } else { pairs[i] });
        }
    }
}

/// The lower 16 of each 32 bits of both.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn lower_halves(first: __m512i, second: __m512i) -> __m512i {
    _mm512_mask_blend_epi16(0xaaaa_aaaa, first, _mm512_slli_epi32::<16>(second))
}

/// Adds, to the sum of each row, what the offset of the activations adds to its products with `quants`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_offset_times(sums: __m512i, quants: __m512i) -> __m512i {
    _mm512_dpbusd_epi32(sums, _mm512_set1_epi8(Avx512Vnni::ORDER.offset as i8), quants)
}

/// Stores half `i` of a plane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn store_8_floats(plane: &mut Plane<f32>, i: usize, values: __m256) {
    crate::kernels::x86::avx2::vector::store_floats(&mut plane.as_chunks_mut::<8>().0[i], values);
}
