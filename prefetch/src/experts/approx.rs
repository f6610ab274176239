//! Logarithm and exponential, to the few digits that an estimate needs.
//!
//! A visit of a layer asks for thousands of them. The same bits on every machine: a replay gives the same figures everywhere.

const LN_2: f32 = std::f32::consts::LN_2;

/// The natural logarithm of a positive normal number, to an absolute error of 1e-3.
#[inline]
pub(super) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = ((bits >> 23) as i32 - 127) as f32;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000) - 1.0;
    // log2(1 + m) on [0, 1): exact at both ends, so that the pieces meet.
    let log2 = m + m * (1.0 - m) * (0.440_781 + m * (0.081_616 * m - 0.242_669));
    (exponent + log2) * LN_2
}

/// e^x for x of -80 to 80 (what lies beyond is taken for the end), to a relative error of 1e-3.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    let y = x.clamp(-80.0, 80.0) / LN_2;
    let whole = floor(y);
    let f = y - whole;
    let mantissa = 1.0 + f - f * (1.0 - f) * (0.305_254 + f * 0.079_204);
    // Between 2^23 and 2^24 the last bits of a float are an integer: here the biased exponent.
    f32::from_bits((whole + (TWO_23 + 127.0)).to_bits() << 23) * mantissa
}

const TWO_23: f32 = 8_388_608.0;

/// The greatest integer that is not above `x`, for an `x` of a few digits: without a call or a branch, so that loops over it
/// become vectors on machines of any age.
#[inline]
fn floor(x: f32) -> f32 {
    const SHIFT: f32 = 1.5 * TWO_23;
    let nearest = (x + SHIFT) - SHIFT;
    nearest - if nearest > x { 1.0 } else { 0.0 }
}

/// The probability that belongs to a logit.
#[inline]
pub(super) fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn near_enough(x in -60f32..60.0) {
            prop_assert!((exp(x) / x.exp() - 1.0).abs() < 1e-3, "exp {x}");
            let y = x.exp();
            prop_assert!((ln(y) - y.ln()).abs() < 1e-3, "ln {y}");
            prop_assert_eq!(floor(x), x.floor());
        }
    }

    #[test]
    fn the_ends_are_finite() {
        assert!(exp(f32::MAX).is_finite() && exp(-f32::MAX) > 0.0);
        assert_eq!(logistic(0.0), 0.5);
        assert!([exp(80.0) / exp(79.0), exp(-79.0) / exp(-80.0)].iter().all(|e| (e / 1f32.exp() - 1.0).abs() < 2e-3));
        assert!([-3.0, -0.0, 0.0, 4.0].iter().all(|&x| floor(x) == x));
    }
}
