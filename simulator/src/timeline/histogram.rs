//! How values are distributed.

use serde::Serialize;

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

/// Values in bars of which two make an octave, and what half and nearly all of them do not exceed.
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
    pub fn of(mut values: Vec<u64>) -> Distribution {
        values.sort_unstable();
        let (Some(&least), Some(&max)) = (values.first(), values.last()) else { return Distribution::default() };
        let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        let mut bars: Vec<Bar> = (bar_of(least)..=bar_of(max))
            .map(|bar| Bar { from: bar_start(bar), to: bar_start(bar + 1), count: 0 })
            .collect();
        for &value in &values {
            bars[bar_of(value) - bar_of(least)].count += 1;
        }
        Distribution { count: values.len() as u64, p50: rank(50), p99: rank(99), max, bars }
    }
}

/// 0 and 1 have a bar each; from 2 on each octave has two.
fn bar_of(value: u64) -> usize {
    match value {
        0 | 1 => value as usize,
        _ => {
            let power = value.ilog2() as usize;
            2 * power + (value >> (power - 1) & 1) as usize
        }
    }
}

fn bar_start(bar: usize) -> u64 {
    match bar {
        0 | 1 => bar as u64,
        // Behind the last octave nothing comes.
        128.. => u64::MAX,
        _ => (2 + bar as u64 % 2) << (bar / 2 - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_follow_one_another_and_have_their_values() {
        for bar in 0..127 {
            assert_eq!(bar_of(bar_start(bar)), bar);
            assert_eq!(bar_of(bar_start(bar + 1) - 1), bar);
        }
        assert_eq!(bar_of(u64::MAX), 127);
        let some = Distribution::of(vec![100, 4, 6, 4, 5, 0]);
        let bar = |from, to, count| Bar { from, to, count };
        assert_eq!((some.count, some.p50, some.p99, some.max), (6, 4, 100, 100));
        assert_eq!((some.bars[0], some.bars[4], some.bars[5]), (bar(0, 1, 1), bar(4, 6, 3), bar(6, 8, 1)));
        assert_eq!(some.bars.last(), Some(&bar(96, 128, 1)));
        assert_eq!(some.bars.iter().map(|bar| bar.count).sum::<u64>(), 6);
        assert_eq!(Distribution::of(vec![]), Distribution::default());
    }
}
