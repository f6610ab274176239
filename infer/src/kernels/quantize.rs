//! Activations to 8-bit blocks, as the numeric specification says.

use half::f16;

use super::Isa;
use super::activations::{WEAVE, woven};
use super::level::{Level, with_level};

/// Where a row of blocks of 32 goes. All parts are padded to whole groups.
pub(super) struct RowQ8<'a> {
    /// In the order that [`woven`] says.
    pub(super) quants: &'a mut [i8],
    pub(super) scales: &'a mut [f32],
    pub(super) sums: &'a mut [i32],
    pub(super) scaled_sums: &'a mut [f32],
}

/// Where a row of blocks of 256 goes.
pub(super) struct RowQ8K<'a> {
    pub(super) quants: &'a mut [i8],
    pub(super) scales: &'a mut [f32],
    pub(super) sums16: &'a mut [i16],
    pub(super) sums32: &'a mut [i16],
}

/// Quantizes `x` to blocks of 32; a last, incomplete block and the padding are as if zeros followed.
pub(super) fn row_q8(isa: Isa, x: &[f32], mut row: RowQ8<'_>) {
    let (blocks, rest) = x.as_chunks::<32>();
    // An incomplete last weave: its blocks and those missing are woven together.
    row.quants[x.len() / (32 * WEAVE) * 32 * WEAVE..].fill(0);
    with_level!(isa, level => level.row_q8(blocks, &mut row));
    let mut done = blocks.len();
    if !rest.is_empty() {
        let mut last = [0.0; 32];
        last[..rest.len()].copy_from_slice(rest);
        row.block(done, &last);
        done += 1;
    }
    row.scales[done..].fill(0.0);
    row.sums[done..].fill(0);
    row.scaled_sums[done..].fill(0.0);
}

/// Quantizes `x` to blocks of 256, likewise.
pub(super) fn row_q8k(isa: Isa, x: &[f32], mut row: RowQ8K<'_>) {
    let (blocks, rest) = x.as_chunks::<256>();
    with_level!(isa, level => level.row_q8k(blocks, &mut row));
    let mut done = blocks.len();
    if !rest.is_empty() {
        let mut last = [0.0; 256];
        last[..rest.len()].copy_from_slice(rest);
        row.block(done, &last);
        done += 1;
    }
    row.scales[done..].fill(0.0);
}

/// Whole blocks of 32, in plain Rust.
pub(super) fn blocks_of_32(blocks: &[[f32; 32]], row: &mut RowQ8<'_>) {
    blocks.iter().enumerate().for_each(|(b, x)| row.block(b, x));
}

/// The quants of a block of 32, and their scale, not rounded to half precision.
#[inline(always)]
pub(super) fn block_of_32(x: &[f32; 32]) -> ([i8; 32], f32) {
    let Scale { inverse, scale } = Scale::of_32(largest(x));
    (round(x, inverse), scale)
}

/// Whole blocks of 256, in plain Rust.
pub(super) fn blocks_of_256(blocks: &[[f32; 256]], row: &mut RowQ8K<'_>) {
    blocks.iter().enumerate().for_each(|(b, x)| row.block(b, x));
}

impl RowQ8<'_> {
    /// Stores the quants of block `b`.
    #[inline(always)]
    pub(super) fn put_quants(&mut self, b: usize, quants: &[i8; 32]) {
        let (first, step) = (woven(b, 0), WEAVE);
        let (fours, _) = self.quants[first * 4..].as_chunks_mut::<4>();
        for (k, four) in quants.as_chunks::<4>().0.iter().enumerate() {
            fours[k * step] = *four;
        }
    }

    fn block(&mut self, b: usize, x: &[f32; 32]) {
        let (quants, scale) = block_of_32(x);
        let sum = quants.iter().map(|&q| i32::from(q)).sum();
        self.put_quants(b, &quants);
        self.scales[b] = f16::from_f32(scale).to_f32();
        self.sums[b] = sum;
        self.scaled_sums[b] = f16::from_f32(scale * sum as f32).to_f32();
    }
}

impl RowQ8K<'_> {
    fn block(&mut self, b: usize, x: &[f32; 256]) {
        let amax = largest(x);
        // The first of them: its sign decides the sign of the scale.
        let max = x.iter().copied().find(|x| x.to_bits() & MAGNITUDE == amax).unwrap_or(0.0);
        let Scale { inverse, scale } = Scale::of_256(max);
        let quants = round(x, inverse);
        self.quants[b * 256..][..256].copy_from_slice(&quants);
        self.scales[b] = scale;
        let sums: [i16; 16] = std::array::from_fn(|j| quants[j * 16..][..16].iter().map(|&q| i16::from(q)).sum());
        self.sums16[b * 16..][..16].copy_from_slice(&sums);
        self.sums32[b * 8..][..8].copy_from_slice(&std::array::from_fn::<_, 8, _>(|j| sums[2 * j] + sums[2 * j + 1]));
    }
}

/// The bits of a float without its sign. As integers they are ordered like the magnitudes, with infinity above all
/// numbers and NaN above infinity: a maximum that does not lose a NaN, on any vector unit.
pub(super) const MAGNITUDE: u32 = 0x7fff_ffff;

/// The magnitude of the largest.
#[inline(always)]
fn largest(x: &[f32]) -> u32 {
    x.iter().map(|x| x.to_bits() & MAGNITUDE).max().unwrap_or(0)
}

/// The numbers that a block's quants and scale come from.
pub(super) struct Scale {
    /// What to multiply by before rounding; zero where all quants shall be zero.
    pub(super) inverse: f32,
    /// The scale, not rounded to half precision.
    pub(super) scale: f32,
}

impl Scale {
    /// For a block of 32 whose largest magnitude has the bits `amax`.
    #[inline(always)]
    pub(super) fn of_32(amax: u32) -> Self {
        let amax = f32::from_bits(amax);
        let inverse = 127.0 / amax;
        if !amax.is_finite() {
            Self { inverse: 0.0, scale: f32::NAN }
        } else if inverse.is_finite() {
            Self { inverse, scale: amax / 127.0 }
        } else {
            Self { inverse: 0.0, scale: 0.0 }
        }
    }

    /// For a block of 256 whose first element of the largest magnitude is `max`.
    #[inline]
    pub(super) fn of_256(max: f32) -> Self {
        let inverse = -127.0 / max;
        if !max.is_finite() {
            Self { inverse: 0.0, scale: f32::NAN }
        } else if inverse.is_finite() {
            Self { inverse, scale: 1.0 / inverse }
        } else {
            Self { inverse: 0.0, scale: 0.0 }
        }
    }
}

/// Each `x * inverse` to the nearest integer, ties to even; all zero where `inverse` is.
#[inline(always)]
fn round<const N: usize>(x: &[f32; N], inverse: f32) -> [i8; N] {
    /// The sum with this has no bits left for fractions, so the addition itself rounds, and its low bits are the integer.
    const SHIFT: f32 = 12_582_912.0;
    if inverse == 0.0 {
        return [0; N];
    }
    // Magnitudes are at most 127: the largest times 127 over the largest, with two roundings of half an ulp.
    std::array::from_fn(|i| (x[i] * inverse + SHIFT).to_bits().wrapping_sub(SHIFT.to_bits()) as i8)
}
