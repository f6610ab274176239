//! Dot products with blocks of 32, sixteen blocks at a time: like the kernels for AVX2, with vectors of twice the length
//! and an instruction that multiplies and adds up bytes.

use std::arch::x86_64::*;

use bytemuck::{cast_ref, cast_slice};

use super::transpose::columns;
use super::vector::*;
use crate::kernels::activations::{Q8, WEAVE, woven};
use crate::kernels::matmul::{Sink, TILE};
use crate::kernels::panel::PANEL;
use crate::kernels::x86::avx2::Vector32;
use crate::kernels::x86::avx2::vector::{load_floats as load_8_floats, prefetch, tree8};

/// Blocks of 32 in long vectors.
pub(in crate::kernels) trait Wide32: Vector32 {
    /// How much more the bytes are than the quants, so that none is negative. Taken back as `OFFSET * sum(activations)`,
    /// which is exact.
    const OFFSET: u8;

    /// The quants of 16 blocks, plus the offset: vector `k` holds, for each block, elements `4 k` to `4 k + 3`.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX-512 F, BW, VL and VNNI.
    unsafe fn bytes_16(blocks: &[&Self; WEAVE]) -> [__m512i; 8];

    /// The scales and mins (zero where the format has none) of 16 blocks that follow one another.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX-512 F, BW, VL and VNNI.
    unsafe fn scales_16(blocks: &[Self; WEAVE]) -> (__m512, __m512);
}

/// See [`portable::rows32`](crate::kernels::portable::rows32).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn rows<B: Wide32>(rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    match tokens {
        [token] if per_row.is_multiple_of(WEAVE) => tile::<B, 1>(rows, per_row, std::array::from_ref(token), sink),
        [token] => {
            let (sixteens, rest) = rows.split_at(rows.len() / (PANEL * per_row) * PANEL * per_row);
            for (i, rows) in sixteens.chunks_exact(PANEL * per_row).enumerate() {
                sink.put_rows(i * PANEL, 0, &sixteen_rows(rows, per_row, token));
            }
            tile::<B, 1>(rest, per_row, std::array::from_ref(token), sink.skip_rows(sixteens.len() / per_row));
        }
        _ => tile::<B, TILE>(rows, per_row, tokens, sink),
    }
}

/// Sixteen rows and one token, where a row is no whole weaves. What is left of the rows behind their weaves is met by sixteen
/// rows at a time: the lanes are one block of each, and no lane is idle.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sixteen_rows<B: Wide32>(rows: &[B], per_row: usize, token: &Q8<'_>) -> [f32; PANEL] {
    // Of these lengths the compiler knows that they suffice.
    let rows: [&[B]; PANEL] = std::array::from_fn(|r| &rows[r * per_row..][..per_row]);
    let mut lanes = [_mm256_setzero_ps(); PANEL];
    for (row, lanes) in rows.iter().zip(&mut lanes) {
        prefetch(*row);
        for (w, blocks) in row.as_chunks::<WEAVE>().0.iter().enumerate() {
            weave::<B, 1>(blocks, w, std::array::from_ref(token), std::array::from_mut(lanes));
        }
    }
    let mut acc = columns(&lanes);
    let (quants, sums): (&[[i8; 4]], _) = (cast_slice(token.quants), token.sums.as_flattened());
    let (scales, scaled_sums) = (token.scales.as_flattened(), token.scaled_sums.as_flattened());
    for b in per_row / WEAVE * WEAVE..per_row {
        let blocks = rows.map(|row| &row[b]);
        // SAFETY: this function is compiled for the features.
        let (bytes, halves) = unsafe { (B::bytes_16(&blocks), [B::scales(&blocks[..8]), B::scales(&blocks[8..])]) };
        let mut sums = _mm512_set1_epi32(-i32::from(B::OFFSET) * sums[b]);
        for (k, bytes) in bytes.into_iter().enumerate() {
            let four = _mm512_set1_epi32(bytemuck::cast(quants[woven(b, k)]));
            sums = _mm512_dpbusd_epi32(sums, bytes, four);
        }
        let scale = _mm512_mul_ps(join_floats(halves[0].0, halves[1].0), _mm512_set1_ps(scales[b]));
        let acc = &mut acc[b % 8];
        *acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), scale, *acc);
        if B::HAS_MIN {
            let mins = join_floats(halves[0].1, halves[1].1);
            *acc = _mm512_fmadd_ps(mins, _mm512_set1_ps(scaled_sums[b]), *acc);
        }
    }
    let pair = |i: usize| _mm512_add_ps(acc[i], acc[i + 1]);
    let mut out = [0.0; PANEL];
    store_floats(&mut out, _mm512_add_ps(_mm512_add_ps(pair(0), pair(2)), _mm512_add_ps(pair(4), pair(6))));
    out
}

/// Up to `T` tokens.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn tile<B: Wide32, const T: usize>(rows: &[B], per_row: usize, tokens: &[Q8<'_>], sink: Sink<'_>) {
    for (row, blocks) in rows.chunks_exact(per_row).enumerate() {
        let mut lanes = [_mm256_setzero_ps(); T];
        let (weaves, rest) = blocks.as_chunks::<WEAVE>();
        for (w, blocks) in weaves.iter().enumerate() {
            prefetch(blocks);
            weave::<B, T>(blocks, w, tokens, &mut lanes);
        }
        if !rest.is_empty() {
            prefetch(rest);
            // Where a block is missing the activations are zero in all their parts, and so is the term.
            let mut last = [B::zeroed(); WEAVE];
            last[..rest.len()].copy_from_slice(rest);
            weave::<B, T>(&last, weaves.len(), tokens, &mut lanes);
        }
        for (t, lanes) in lanes.iter().enumerate().take(tokens.len()) {
            sink.put(row, t, tree8(*lanes));
        }
    }
}

/// Adds the terms of the 16 blocks of weave `w`: first those of its first 8 blocks, then of the others.
#[inline(always)]
fn weave<B: Wide32, const T: usize>(blocks: &[B; WEAVE], w: usize, tokens: &[Q8<'_>], lanes: &mut [__m256; T]) {
    // SAFETY: inlined into `tile`, which is compiled for the features.
    unsafe {
        let (bytes, (scales, mins)) = (B::bytes_16(&blocks.each_ref()), B::scales_16(blocks));
        let (scales, mins) = (split_floats(scales), split_floats(mins));
        for (lanes, token) in lanes.iter_mut().zip(tokens) {
            let sums = split_floats(_mm512_cvtepi32_ps(sums::<B>(&bytes, token, w)));
            for i in 0..2 {
                let g = 2 * w + i;
                *lanes = _mm256_fmadd_ps(sums[i], _mm256_mul_ps(scales[i], load_8_floats(&token.scales[g])), *lanes);
                if B::HAS_MIN {
                    *lanes = _mm256_fmadd_ps(mins[i], load_8_floats(&token.scaled_sums[g]), *lanes);
                }
            }
        }
    }
}

/// The sums of products of 16 blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sums<B: Wide32>(bytes: &[__m512i; 8], token: &Q8<'_>, w: usize) -> __m512i {
    let quants: &[[i8; 64]; 8] = cast_ref(&token.quants.as_chunks::<2>().0[w]);
    let mut sums = match B::OFFSET {
        0 => _mm512_setzero_si512(),
        offset => {
            let sums = load(&cast_slice::<_, [i32; 16]>(token.sums)[w]);
            _mm512_mullo_epi32(sums, _mm512_set1_epi32(-i32::from(offset)))
        }
    };
    for (bytes, quants) in bytes.iter().zip(quants) {
        sums = _mm512_dpbusd_epi32(sums, *bytes, load(quants));
    }
    sums
}
