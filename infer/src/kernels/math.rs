//! Elementary functions with the same bits everywhere.
//!
//! A system's `expf` differs between systems. These are made of additions, multiplications, fused or not, and divisions,
//! whose results IEEE 754 fixes, and without branches, so that loops over them become vector code.

/// `e` to the power of `x`, within 2 units in the last place; zero below -104 and infinity above 88.8.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Adding this leaves the sum no bits for a fraction: the addition rounds to an integer, the low bits of the sum.
    const SHIFT: f32 = 12_582_912.0;
    /// The logarithm of two in two parts, of which the first has few enough bits for exact products with integers.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    // Comparisons that a NaN fails, so that it goes through.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = n.mul_add(-LN_2.1, n.mul_add(-LN_2.0, x));
    // Coefficients: Cephes, expf.
    let p = 1.987_569_1e-4f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    // Two steps, because two to the power of -150 is not a float, but the product with it may be.
    let n = shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i32;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    p * power(n >> 1) * power(n - (n >> 1))
}

/// The hyperbolic tangent, within 4 units in the last place.
#[inline(always)]
pub(super) fn tanh(x: f32) -> f32 {
    // Near zero the difference below would lose all its digits. Coefficients: Cephes, tanhf.
    let z = x * x;
    let p = -5.704_988_6e-3;
    let p = p * z + 2.063_909e-2;
    let p = p * z - 5.373_971_5e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let near = p * z * x + x;
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest distance to `exact`, in units in the last place of the result.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, range: std::ops::Range<f32>) -> f64 {
        let mut worst = 0.0f64;
        for i in 0..=1_000_000u32 {
            let x = range.start + (range.end - range.start) * (i as f32 / 1e6);
            let exact = exact(f64::from(x));
            let ulp = f64::from(f32::from_bits((exact.abs() as f32).to_bits() + 1)) - f64::from(exact.abs() as f32);
            worst = worst.max((f64::from(f(x)) - exact).abs() / ulp);
        }
        worst
    }

    #[test]
    fn errors_are_as_stated() {
        for range in [-104.0..-87.0, -87.0..-1.0, -1.0..1.0, 1.0..88.7] {
            let worst = worst(exp, f64::exp, range.clone());
            assert!(worst < 2.0, "exp in {range:?}: {worst}");
        }
        for range in [-20.0..-0.5, -0.7..0.7, 0.5..20.0, -1e-30..1e-30] {
            let worst = worst(tanh, f64::tanh, range.clone());
            assert!(worst < 4.0, "tanh in {range:?}: {worst}");
        }
    }

    #[test]
    fn the_ends_are_exact() {
        assert_eq!([exp(0.0), exp(-0.0), exp(-200.0), exp(f32::NEG_INFINITY)], [1.0, 1.0, 0.0, 0.0]);
        assert_eq!([exp(89.5), exp(f32::INFINITY)], [f32::INFINITY; 2]);
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!([tanh(0.0), tanh(50.0), tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)], [0.0, 1.0, 1.0, -1.0]);
    }
}
