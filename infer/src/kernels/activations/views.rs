//! The activations of a token as kernels read them.

use bytemuck::cast_slice;

/// How many blocks of 32 are woven together: four elements of each, then the next four. So the lanes of an x86 vector are
/// blocks, and products add up to a vector of block sums without a horizontal step. NEON has pairwise additions that are
/// cheaper than unpacking weights to that order: there the order is that of the elements.
pub(in crate::kernels) const WEAVE: usize = if cfg!(target_arch = "x86_64") { 16 } else { 1 };

/// Where the four elements from `4 * k` on of block `b` are among the quants, counted in fours.
#[inline(always)]
pub(in crate::kernels) const fn woven(b: usize, k: usize) -> usize {
    let first = b / WEAVE * WEAVE;
    first * 8 + k * WEAVE + (b - first)
}

/// A token in 8-bit blocks of 32, by groups of 8 blocks; what the last group lacks is zero.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Q8<'a> {
    /// In the order that [`woven`] says.
    pub(in crate::kernels) quants: &'a [[i8; 256]],
    pub(in crate::kernels) scales: &'a [[f32; 8]],
    /// The sum of the quants of each block.
    #[cfg_attr(
        not(any(test, target_arch = "x86_64")),
        expect(dead_code, reason = "only kernels that make weights unsigned need them")
    )]
    pub(in crate::kernels) sums: &'a [[i32; 8]],
    /// The same times the scale: `s` of the specification.
    pub(in crate::kernels) scaled_sums: &'a [[f32; 8]],
}

impl Q8<'_> {
    /// The quants of block `b` in element order.
    #[inline]
    pub(in crate::kernels) fn block(&self, b: usize) -> [i8; 32] {
        let fours: &[[i8; 4]] = cast_slice(self.quants);
        bytemuck::cast(std::array::from_fn::<_, 8, _>(|k| fours[woven(b, k)]))
    }
}

/// A token in 8-bit blocks of 256.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Q8K<'a> {
    pub(in crate::kernels) quants: &'a [[i8; 256]],
    /// By groups of 8 blocks; what the last group lacks is zero.
    pub(in crate::kernels) scales: &'a [[f32; 8]],
    /// The sums of each 16 quants of a block.
    pub(in crate::kernels) sums16: &'a [[i16; 16]],
    /// The sums of each 32.
    #[cfg_attr(
        not(any(test, target_arch = "x86_64", target_arch = "aarch64")),
        expect(dead_code, reason = "the portable kernels do not need them")
    )]
    pub(in crate::kernels) sums32: &'a [[i16; 8]],
}
