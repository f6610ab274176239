//! How values are distributed.

use serde::Serialize;

/// Where bars end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edges {
    /// At powers of two, and half way between them: for bytes.
    Binary,
    /// At 1, 1.5, 2, 3, 5 and 7 times powers of ten: for times.
    Decimal,
}

/// The values from `from` on and below `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bar {
    /// The least value that is counted here.
    pub from: u64,
    /// The least that no longer is.
    pub to: u64,
    /// How many there are.
    pub count: u64,
}

/// Values in bars, and what half and nearly all of them do not exceed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Distribution {
    /// How many values there are.
    pub count: u64,
    /// The value that half of them do not exceed.
    pub p50: u64,
    /// The value that 99 % of them do not exceed.
    pub p99: u64,
    /// The largest.
    pub max: u64,
    /// From the least to the largest, the empty ones between them included.
    pub bars: Vec<Bar>,
}

impl Distribution {
    /// That of `values`.
    pub(super) fn of(mut values: Vec<u64>, edges: Edges) -> Distribution {
        values.sort_unstable();
        let (Some(&least), Some(&max)) = (values.first(), values.last()) else { return Distribution::default() };
        let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        let edges = edges.all();
        // The last bar has no end: its largest value is the largest of all.
        let bar_of = |value: u64| edges.partition_point(|&edge| edge <= value) - 1;
        let end = |bar: usize| edges.get(bar + 1).copied().unwrap_or(u64::MAX);
        let (first, last) = (bar_of(least), bar_of(max));
        let mut bars: Vec<Bar> = (first..=last).map(|bar| Bar { from: edges[bar], to: end(bar), count: 0 }).collect();
        for &value in &values {
            bars[bar_of(value) - first].count += 1;
        }
        Distribution { count: values.len() as u64, p50: rank(50), p99: rank(99), max, bars }
    }
}

impl Edges {
    /// In ascending order, from 0 on.
    fn all(self) -> Vec<u64> {
        let mut edges = vec![0];
        match self {
            Edges::Binary => (1..64).for_each(|power| edges.extend([1 << power, 3 << (power - 1)])),
            Edges::Decimal => {
                let powers = (0..18).map(|power| 10u64.pow(power));
                edges.extend(powers.flat_map(|power| [10, 15, 20, 30, 50, 70].map(|edge| edge * power)));
            }
        }
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(from: u64, to: u64, count: u64) -> Bar {
        Bar { from, to, count }
    }

    #[test]
    fn edges_ascend() {
        for edges in [Edges::Binary, Edges::Decimal] {
            let all = edges.all();
            assert!(all[0] == 0 && all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
            let most = Distribution::of(vec![0, u64::MAX], edges);
            assert_eq!((most.bars[0].from, most.bars.last().unwrap().to, most.max), (0, u64::MAX, u64::MAX));
        }
        assert_eq!(Edges::Decimal.all()[..8], [0, 10, 15, 20, 30, 50, 70, 100]);
        assert_eq!(Edges::Binary.all()[..6], [0, 2, 3, 4, 6, 8]);
    }

    #[test]
    fn every_value_is_in_one_bar() {
        let some = Distribution::of(vec![100, 4, 6, 4, 5, 0], Edges::Binary);
        assert_eq!((some.count, some.p50, some.p99, some.max), (6, 4, 100, 100));
        assert_eq!(some.bars[..5], [bar(0, 2, 1), bar(2, 3, 0), bar(3, 4, 0), bar(4, 6, 3), bar(6, 8, 1)]);
        assert_eq!(some.bars.last(), Some(&bar(96, 128, 1)));
        assert_eq!(some.bars.iter().map(|bar| bar.count).sum::<u64>(), 6);
        assert_eq!(Distribution::of(vec![], Edges::Binary), Distribution::default());
    }
}
