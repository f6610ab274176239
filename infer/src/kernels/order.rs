//! The fixed orders of summation that the numeric specification names.

/// Sums 8 accumulators: `((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))`.
///
/// Neighbours first is what pairwise vector additions do (`vpaddq_f32`, `vhaddps`).
#[inline]
pub fn tree8(a: [f32; 8]) -> f32 {
    ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))
}

/// Folds 32 accumulators to 8: number `i` of the result is `(i + (i + 8)) + ((i + 16) + (i + 24))`.
#[inline]
pub fn fold32(a: &[f32; 32]) -> [f32; 8] {
    std::array::from_fn(|i| (a[i] + a[i + 8]) + (a[i + 16] + a[i + 24]))
}
