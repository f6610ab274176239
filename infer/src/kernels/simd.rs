//! Float code that is written once and compiled for every level.
//!
//! [`Simd`] has the few operations on 16 floats at a time that the language lacks, or that the compiler does not find by
//! itself. [`Work`] is code over them, generic and inlined; [`Simd::run`] puts it into a function that is compiled for the
//! level's instructions, where plain loops over floats become its vectors too. As the compiler neither reorders nor
//! fuses operations on floats, the bits are those of the source, on every level.

use super::blocks::F16;

/// Something to compute with a level's vectors. `run` must be marked `#[inline(always)]`, and so must what it calls:
/// only what is inlined is compiled for the level.
pub(super) trait Work {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Vectors of 16 floats.
pub(super) trait Simd: Copy + Sync {
    type V: Copy;

    /// Whether two vectors at a time are better than twice one.
    const PAIRS: bool;
    /// How many vectors, or pairs of them, the registers hold beside the operands.
    const ROWS: usize;

    /// Calls [`Work::run`] in a function that is compiled for the level.
    fn run<W: Work>(self, work: W) -> W::Output;

    /// All elements `x`.
    fn splat(self, x: f32) -> Self::V;
    fn load(self, from: &[f32; 16]) -> Self::V;
    fn store(self, x: Self::V, to: &mut [f32; 16]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, with one rounding.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `a` where it is larger than `b`, else `b`.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The largest element, where none is NaN.
    fn largest(self, x: Self::V) -> f32;
    /// Halves, widened: exact.
    fn widen(self, from: &[F16; 16]) -> Self::V;
    /// Integers, converted: exact.
    fn convert(self, from: &[i8; 16]) -> Self::V;
    /// To half precision, to nearest, ties to even.
    fn narrow(self, from: &[f32; 16], to: &mut [F16; 16]);
    /// Asks for memory that will be read soon; whether there is any is not looked at.
    fn prefetch<T>(self, _at: *const T) {}
}

/// Reads memory as fast as a level can: the bound of whatever reads weights once.
pub(super) struct ReadAll<'a>(pub(super) &'a [[u64; 64]]);

impl Work for ReadAll<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        let mut all = [0; 64];
        for chunk in self.0 {
            // As far ahead as the kernels ask for weights.
            for line in (0..64).step_by(8) {
                simd.prefetch(std::ptr::from_ref(&chunk[line]).wrapping_byte_add(4096));
            }
            for (all, word) in all.iter_mut().zip(chunk) {
                *all ^= word;
            }
        }
        all.into_iter().fold(0, |a, b| a ^ b)
    }
}

/// Calls a function for each of 16 elements.
#[inline(always)]
pub(super) fn each(f: impl Fn(usize) -> f32) -> [f32; 16] {
    let mut out = [0.0; 16];
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(i);
    }
    out
}

/// Widens a half in integer steps that any vector unit has, for those without the instruction.
#[inline(always)]
pub(super) fn widen(half: F16) -> f32 {
    /// Two to the power of 112: the difference of the biases of the exponents.
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    let bits = u32::from(u16::from_le_bytes(half.bytes));
    let magnitude = bits & 0x7fff;
    // A subnormal half is a subnormal float here, and the product normalises it.
    let finite = (f32::from_bits(magnitude << 13) * REBIAS).to_bits();
    let value = if magnitude < 0x7c00 { finite } else { magnitude << 13 | 0x7f80_0000 };
    f32::from_bits(value | (bits & 0x8000) << 16)
}

/// [`Simd`] in plain Rust.
impl Simd for super::level::Portable {
    type V = [f32; 16];
    const PAIRS: bool = false;
    const ROWS: usize = 2;

    fn run<W: Work>(self, work: W) -> W::Output {
        work.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 16] {
        [x; 16]
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> [f32; 16] {
        *from
    }

    #[inline(always)]
    fn store(self, x: [f32; 16], to: &mut [f32; 16]) {
        *to = x;
    }

    #[inline(always)]
    fn add(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 16], b: [f32; 16], c: [f32; 16]) -> [f32; 16] {
        each(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, a: [f32; 16], b: [f32; 16]) -> [f32; 16] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn largest(self, x: [f32; 16]) -> f32 {
        x.into_iter().fold(f32::NEG_INFINITY, |max, x| if x > max { x } else { max })
    }

    #[inline(always)]
    fn widen(self, from: &[F16; 16]) -> [f32; 16] {
        each(|i| widen(from[i]))
    }

    #[inline(always)]
    fn convert(self, from: &[i8; 16]) -> [f32; 16] {
        each(|i| f32::from(from[i]))
    }

    #[inline(always)]
    fn narrow(self, from: &[f32; 16], to: &mut [F16; 16]) {
        for (from, to) in from.iter().zip(to) {
            to.bytes = half::f16::from_f32_const(*from).to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::level::with_level;
    use super::super::{Isa, math};
    use super::*;

    /// All halves, widened.
    struct All;

    impl Work for All {
        type Output = Vec<u32>;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<u32> {
            let mut all = Vec::new();
            for first in (0..=u16::MAX).step_by(16) {
                let halves = std::array::from_fn(|i| F16 { bytes: (first + i as u16).to_le_bytes() });
                let mut wide = [0.0; 16];
                simd.store(simd.widen(&halves), &mut wide);
                all.extend(wide.map(f32::to_bits));
            }
            all
        }
    }

    #[test]
    fn every_half_is_widened_exactly() {
        for isa in Isa::available() {
            let all = with_level!(isa, level => level.run(All));
            for (half, wide) in (0..=u16::MAX).zip(all) {
                let (expected, got) = (half::f16::from_bits(half).to_f32(), f32::from_bits(wide));
                assert!(expected.to_bits() == wide || expected.is_nan() && got.is_nan(), "{isa}, {half:#x}: {got}");
            }
        }
    }

    /// Floats near where halves round, overflow, and become subnormal or nothing.
    struct Narrowed(Vec<f32>);

    impl Work for Narrowed {
        type Output = Vec<F16>;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Vec<F16> {
            let mut all = Vec::new();
            for from in self.0.as_chunks::<16>().0 {
                let mut to = [F16 { bytes: [0; 2] }; 16];
                simd.narrow(from, &mut to);
                all.extend(to);
            }
            all
        }
    }

    #[test]
    fn every_level_narrows_alike() {
        let near = |x: f32| (-3i32..=3).map(move |i| f32::from_bits(x.to_bits().wrapping_add_signed(i)));
        let ties = (0..0x7c00u16).step_by(5).map(|h| {
            let (a, b) = (half::f16::from_bits(h).to_f32(), half::f16::from_bits(h + 1).to_f32());
            if b.is_finite() { (a + b) / 2.0 } else { 65520.0 }
        });
        let mut floats: Vec<f32> = ties.flat_map(near).flat_map(|x| [x, -x]).collect();
        floats.extend([f32::INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 0.0, -0.0, math::exp(-103.0), 1e9]);
        floats.resize(floats.len().next_multiple_of(16), 1.5);
        for isa in Isa::available() {
            let all = with_level!(isa, level => level.run(Narrowed(floats.clone())));
            for (from, got) in floats.iter().zip(all) {
                let got = half::f16::from_le_bytes(got.bytes);
                assert!(
                    got.to_bits() == half::f16::from_f32(*from).to_bits() || got.is_nan() && from.is_nan(),
                    "{from}"
                );
            }
        }
    }
}
