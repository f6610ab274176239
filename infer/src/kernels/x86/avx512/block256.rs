//! Dot products with blocks of 256: four vectors of quants for each, whose sums of products are multiplied by the sub-scales
//! as 16-bit numbers.

use std::arch::x86_64::*;

use super::vector::{dpwssd, fold, load};
use crate::kernels::activations::Q8K;
use crate::kernels::matmul::{Following, Sink};
use crate::kernels::x86::avx2::block256::{OPERAND, Operand, Vector256};
use crate::kernels::x86::avx2::vector::{AHEAD, prefetch, prefetch_bytes, store_floats, sums_of_8, tree8};
use crate::kernels::x86::avx2::vector::{halves, load as load_32, load_floats as load_8_floats};

/// A block of 256 in long vectors.
pub(in crate::kernels) trait Wide256: Vector256 {
    /// How much more the bytes are than the quants, as a power of two, where they are. Taken back with the sums of the
    /// activations and the sub-scales.
    const OFFSET_BITS: Option<u32> = None;

    /// Sub-blocks that have a scale of their own: 8 or 16.
    const SUB_BLOCKS: usize;

    /// How many products (of quants without offset) are added up before they are scaled: a whole sub-block.
    const RUN: usize = 256 / Self::SUB_BLOCKS;

    /// Whether the sum of so many products fits 16 bits, whatever the quants.
    const RUN_FITS_16_BITS: bool = Self::RUN * Self::MAX as usize * 127 <= i16::MAX as usize;

    /// The largest magnitude of the quants.
    const MAX: u8;

    /// The quants in element order, plus the offset.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX-512 F, BW, VL and VNNI.
    unsafe fn quarters(&self) -> [__m512i; 4];

    /// What to multiply the sums of products by: for each 16 elements the sub-scale, in the lower half of 32 bits. The
    /// upper half is zero, unless [`Wide256::sums`] gives pairs.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX-512 F, BW, VL and VNNI.
    unsafe fn factors(&self) -> __m512i;

    /// The dot products of eight rows of `per_row` blocks with a token.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX-512 F, BW, VL and VNNI.
    #[inline(always)]
    unsafe fn eight_rows(rows: &[Self], per_row: usize, token: &Q8K<'_>, ahead: Ahead) -> [f32; 8] {
        // SAFETY: contract.
        unsafe { eight_rows(rows, per_row, token, ahead) }
    }

    /// The sums of the products of four neighbours, which must fit 16 bits; or the pairs of which they are the sums.
    ///
    /// # Safety
    ///
    /// - The caller is compiled for AVX-512 F, BW, VL and VNNI.
    #[inline(always)]
    unsafe fn sums(quarter: __m512i, activations: __m512i) -> __m512i {
        // SAFETY: contract.
        unsafe { _mm512_dpbusd_epi32(_mm512_setzero_si512(), quarter, activations) }
    }
}

/// See [`portable::rows256`](crate::kernels::portable::rows256).
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn rows<B: Wide256>(
    rows: &[B],
    following: Following<'_, B>,
    per_row: usize,
    tokens: &[Q8K<'_>],
    sink: Sink<'_>,
) {
    if let [token] = tokens {
        let (eights, rest) = rows.split_at(rows.len() / (8 * per_row) * 8 * per_row);
        for (i, here) in eights.chunks_exact(8 * per_row).enumerate() {
            let behind = rows.len() - i * here.len() + following.rows.len();
            let ahead = Ahead::of(here, behind * size_of::<B>(), following.then);
            // SAFETY: this function is compiled for the features.
            let values = unsafe { B::eight_rows(here, per_row, token, ahead) };
            for (r, value) in values.into_iter().enumerate() {
                sink.put(i * 8 + r, 0, value);
            }
        }
        let sink = sink.skip_rows(eights.len() / per_row);
        for (row, blocks) in rest.chunks_exact(per_row).enumerate() {
            one_row(blocks, &[*token], |_, value| sink.put(row, 0, value));
        }
        return;
    }
    let (fours, rest) = tokens.as_chunks::<4>();
    for (row, blocks) in rows.chunks_exact(per_row).enumerate() {
        for (i, tokens) in fours.iter().enumerate() {
            one_row(blocks, tokens, |t, value| sink.put(row, i * 4 + t, value));
        }
        for (t, token) in rest.iter().enumerate() {
            one_row(blocks, &[*token], |_, value| sink.put(row, fours.len() * 4 + t, value));
        }
    }
}

/// Eight rows and one token. The lanes are the rows, so all are in use whatever the length of a row, and no sum runs across
/// a vector: see [`Wide256::eight_rows`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn eight_rows<B: Wide256>(rows: &[B], per_row: usize, token: &Q8K<'_>, ahead: Ahead) -> [f32; 8] {
    let rows = split_eight(rows, per_row);
    let mut acc = [_mm256_setzero_ps(); 8];
    for b in 0..per_row {
        let blocks = rows.map(|row| &row[b]);
        let operand = [Operand::of(token, b)];
        let (mut sums, mut min_sums) = ([_mm256_setzero_si256(); 8], [_mm256_setzero_si256(); 8]);
        for (r, block) in blocks.into_iter().enumerate() {
            ahead.of_block(block);
            // SAFETY: this function is compiled for the features.
            ([sums[r]], [min_sums[r]]) = unsafe { (products(block, &operand), block.mins(&operand)) };
        }
        let d = _mm256_set1_ps(token.scales.as_flattened()[b]);
        let scales = _mm256_mul_ps(halves(&blocks, |block| block.halves().0), d);
        let acc = &mut acc[b % 8];
        *acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums_of_8(&sums)), scales, *acc);
        if B::HAS_MIN {
            let mins = _mm256_mul_ps(halves(&blocks, |block| block.halves().1), d);
            *acc = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(sums_of_8(&min_sums)), mins, *acc);
        }
    }
    trees(&acc)
}

/// Eight rows one by one, all of a length that the compiler knows.
#[inline(always)]
pub(super) fn split_eight<B>(rows: &[B], per_row: usize) -> [&[B]; 8] {
    std::array::from_fn(|r| &rows[r * per_row..][..per_row])
}

/// How far from some rows what is asked for in advance lies, in bytes.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Ahead(usize);

impl Ahead {
    /// For eight rows, of which on `len` bytes follow one another, and behind these come those of `then`. A whole number of times
    /// as far as the rows reach: within these the next bytes are another row's, which has come by already. What lies
    /// behind all of it is not asked for: another thread may have it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn of<B>(rows: &[B], len: usize, then: &[u8]) -> Self {
        let far = AHEAD.next_multiple_of(size_of_val(rows));
        match far.checked_sub(len) {
            None => Self(far),
            Some(at) if at < then.len() => Self(then[at..].as_ptr().addr().wrapping_sub(rows.as_ptr().addr())),
            // To ask for what is at hand costs little.
            Some(_) => Self(0),
        }
    }

    /// Asks for as much as a block, so far from this one. Block by block, between the products: all that eight rows want at
    /// once would hold up the loads of this side of it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn of_block<B>(self, block: &B) {
        prefetch_bytes(std::ptr::from_ref(block).cast::<i8>().wrapping_add(self.0), size_of::<B>());
    }
}

/// The trees of accumulators whose lanes are rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn trees(acc: &[__m256; 8]) -> [f32; 8] {
    let pair = |i: usize| _mm256_add_ps(acc[i], acc[i + 1]);
    let mut out = [0.0; 8];
    store_floats(&mut out, _mm256_add_ps(_mm256_add_ps(pair(0), pair(2)), _mm256_add_ps(pair(4), pair(6))));
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn one_row<B: Wide256, const T: usize>(blocks: &[B], tokens: &[Q8K<'_>; T], put: impl Fn(usize, f32)) {
    let zero = _mm256_setzero_si256();
    let mut lanes = [_mm256_setzero_ps(); T];
    for (g, blocks) in blocks.chunks(8).enumerate() {
        // Where a block is missing the term is zero times zero.
        let (mut sums, mut min_sums) = ([[zero; 8]; T], [[zero; 8]; T]);
        for (j, block) in blocks.iter().enumerate() {
            let b = g * 8 + j;
            prefetch(block);
            let mut operands = [OPERAND; T];
            for (operand, token) in operands.iter_mut().zip(tokens) {
                *operand = Operand::of(token, b);
            }
            // SAFETY: this function is compiled for the features.
            let (products, mins) = unsafe { (products(block, &operands), block.mins(&operands)) };
            for t in 0..T {
                sums[t][j & 7] = products[t];
                min_sums[t][j & 7] = mins[t];
            }
        }
        let mut refs = [&blocks[0]; 8];
        refs.iter_mut().zip(blocks).for_each(|(to, block)| *to = block);
        let scales = halves(&refs[..blocks.len()], |block| block.halves().0);
        let mins = halves(&refs[..blocks.len()], |block| block.halves().1);
        for t in 0..T {
            let d = load_8_floats(&tokens[t].scales[g]);
            let sums = _mm256_cvtepi32_ps(sums_of_8(&sums[t]));
            lanes[t] = _mm256_fmadd_ps(sums, _mm256_mul_ps(scales, d), lanes[t]);
            if B::HAS_MIN {
                let min_sums = _mm256_cvtepi32_ps(sums_of_8(&min_sums[t]));
                lanes[t] = _mm256_fnmadd_ps(min_sums, _mm256_mul_ps(mins, d), lanes[t]);
            }
        }
    }
    for (t, lanes) in lanes.iter().enumerate() {
        put(t, tree8(*lanes));
    }
}

/// For each token, 8 integers whose sum is the sum over the sub-blocks of sub-scale times sum of products.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn products<B: Wide256, const T: usize>(block: &B, tokens: &[Operand<'_>; T]) -> [__m256i; T] {
    // SAFETY: this function is compiled for the features.
    let (quarters, factors) = unsafe { (block.quarters(), block.factors()) };
    let mut acc = [_mm512_setzero_si512(); T];
    let four_times = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    for (i, quarter) in quarters.into_iter().enumerate() {
        let index = _mm512_add_epi32(four_times, _mm512_set1_epi32(4 * i as i32));
        let factors = _mm512_permutexvar_epi32(index, factors);
        for (acc, token) in acc.iter_mut().zip(tokens) {
            let activations = load(&bytemuck::cast_ref::<_, [[i8; 64]; 4]>(token.quants)[i]);
            // SAFETY: this function is compiled for the features.
            *acc = dpwssd(*acc, unsafe { B::sums(quarter, activations) }, factors);
        }
    }
    let mut out = [_mm256_setzero_si256(); T];
    for ((out, acc), token) in out.iter_mut().zip(acc).zip(tokens) {
        *out = fold(acc);
        if let Some(bits) = B::OFFSET_BITS {
            let sums = _mm256_madd_epi16(_mm512_cvtepi32_epi16(factors), load_32(token.sums16));
            *out = _mm256_sub_epi32(*out, _mm256_sll_epi32(sums, _mm_cvtsi32_si128(bits as i32)));
        }
    }
    out
}
