//! Which pages stay, when a cyclic plan is longer than the window.
//!
//! In a cyclic scan of N pages through W frames no policy misses fewer than N - W pages a cycle, and any fixed set of W
//! pages reaches that. So the choice is free, and two other things decide:
//!
//! * **Evenly spread.** Where resident and streamed pages alternate, the flash always has something to read that compute
//!   will want next, and a small ring of frames is enough to keep both busy. A resident block at the front would let
//!   the flash idle while it is computed, and compute idle after it.
//! * **Full frames first.** A page takes a whole frame; a resident page that fills half of one costs the same memory and
//!   saves half of the reading.
//!
//! Fetching more eagerly than this (evict what was just used, fetch what is absent next) keeps the flash busier and reads
//! almost every page once per cycle: on a cyclic scan, where time is reads, that is the wrong bargain.

/// Chooses `keep` of the pages with the lengths `lens` to stay resident for good.
///
/// Returns one flag per page.
pub fn keep_set(lens: &[u32], frame_len: usize, keep: usize) -> Vec<bool> {
    let mut kept = vec![false; lens.len()];
    let mut left = keep.min(lens.len());
    // Thirty-seconds of a frame: pages in one bucket are equally worth keeping.
    let bucket = |len: u32| (len as usize * 32).div_ceil(frame_len.max(1));
    let mut buckets: Vec<usize> = lens.iter().map(|&len| bucket(len)).collect();
    let by_page = buckets.clone();
    buckets.sort_unstable();
    buckets.dedup();
    for wanted in buckets.into_iter().rev() {
        let members: Vec<usize> = (0..lens.len()).filter(|&p| by_page[p] == wanted).collect();
        let take = left.min(members.len());
        for (i, &page) in members.iter().enumerate() {
            // Bresenham: member i is taken where the running share passes a whole number.
            kept[page] = (i + 1) * take / members.len() > i * take / members.len();
        }
        left -= take;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn full_pages_come_first_and_are_spread() {
        let lens = [100, 10, 100, 100, 10, 100];
        assert_eq!(keep_set(&lens, 100, 2), [false, false, true, false, false, true]);
        assert_eq!(keep_set(&lens, 100, 5), [true, false, true, true, true, true]);
    }

    proptest! {
        #[test]
        fn keeps_exactly_as_many_as_asked(lens in prop::collection::vec(1u32..1000, 0..200), keep in 0usize..250) {
            let kept = keep_set(&lens, 1000, keep);
            prop_assert_eq!(kept.iter().filter(|k| **k).count(), keep.min(lens.len()));
        }

        #[test]
        fn equal_pages_are_never_bunched(n in 1usize..500, keep in 0usize..500) {
            let keep = keep.min(n);
            let kept = keep_set(&vec![7; n], 7, keep);
            // In any stretch of pages the kept ones are within one of their share.
            let mut seen = 0;
            for (i, k) in kept.iter().enumerate() {
                seen += usize::from(*k);
                prop_assert!((seen * n).abs_diff((i + 1) * keep) <= n);
            }
        }
    }
}
