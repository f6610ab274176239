//! Experts in the order of scores: as plain numbers, which sort several times as fast as indices that point to floats.

/// A number for `expert` with this score. Of two, that with the greater score is less, by the order of [`f32::total_cmp`]; where
/// scores are the same, that of the lower expert.
#[inline]
pub fn key(score: f32, expert: u32) -> u64 {
    let bits = score.to_bits();
    let descending = if bits >> 31 == 0 { !bits & 0x7fff_ffff } else { bits };
    u64::from(descending) << 32 | u64::from(expert)
}

/// The expert of a [`key`].
#[inline]
pub fn expert(key: u64) -> u32 {
    key as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_greatest_score_comes_first_and_of_like_ones_the_lower_number() {
        let scores = [0.5, -0.0, f32::INFINITY, -3.0, 0.5, 0.0, f32::MIN, 1e-40];
        let mut keys: Vec<u64> = scores.iter().zip(0..).map(|(&score, expert)| key(score, expert)).collect();
        keys.sort_unstable();
        assert_eq!(keys.into_iter().map(expert).collect::<Vec<_>>(), [2, 0, 4, 7, 5, 1, 3, 6]);
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_scores(a: f32, b: f32) {
            prop_assert_eq!(key(a, 0).cmp(&key(b, 0)), b.total_cmp(&a));
        }
    }
}
