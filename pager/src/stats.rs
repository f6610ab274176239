//! What the pager counts, and the histogram of read latencies.

use std::fmt;

use crate::clock::Nanos;

/// Everything the pager counts since it was made, or since [`Pager::take_stats`](crate::Pager::take_stats).
///
/// Times are as the pager sees them: a read counts as in flight from its `load` until a `poll` or `wait` finds it done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Reads that have ended well, pages and one-off reads alike.
    pub reads: u64,
    /// Bytes of these reads as asked from the device: aligned.
    pub bytes_read: u64,
    /// Bytes of these reads that a page or a one-off read asked for.
    pub bytes_useful: u64,
    /// Page reads that were started again for a page that had been loaded before.
    pub rereads: u64,
    /// Reads that failed for good.
    pub faults: u64,

    /// Loads that found the page resident.
    pub hits: u64,
    /// Loads that found the page already on its way.
    pub joined: u64,
    /// Reads started because compute needs the page now.
    pub demands: u64,
    /// Reads started because compute may need the page later.
    pub hints: u64,
    /// Hinted pages that were then demanded or leased.
    pub hints_used: u64,
    /// Of these, the ones that were still in flight when demanded: the hint came, but late.
    pub hints_late: u64,
    /// Hinted pages that were evicted, or whose read failed, before anyone used them.
    pub hints_wasted: u64,
    /// Bytes of reads that were in vain: those of hinted pages that were evicted before anyone used them.
    pub bytes_wasted: u64,
    /// Pages that left the window.
    pub evictions: u64,
    /// One-off reads asked for with [`Pager::gather`](crate::Pager::gather).
    pub gathered: u64,

    /// Time spent blocked in [`Pager::wait`](crate::Pager::wait) and [`Pager::gather`](crate::Pager::gather).
    pub stall: Nanos,
    /// How often one of them blocked.
    pub stalls: u64,
    /// Time during which at least one read was in flight.
    pub busy: Nanos,
    /// The most reads that were in flight at once.
    pub peak_in_flight: usize,
    /// How long each read took.
    pub latency: Histogram,
}

impl Stats {
    /// Bytes per second that flash delivered while it was busy.
    pub fn read_rate(&self) -> f64 {
        match self.busy {
            Nanos::ZERO => 0.0,
            busy => self.bytes_read as f64 / busy.as_secs_f64(),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = (1 << 20) as f64;
        writeln!(
            f,
            "{} reads ({} demanded, {} hinted, {} one-off; {} again, {} failed), {:.1} MiB read for {:.1} MiB",
            self.reads,
            self.demands,
            self.hints,
            self.gathered,
            self.rereads,
            self.faults,
            self.bytes_read as f64 / MIB,
            self.bytes_useful as f64 / MIB,
        )?;
        writeln!(
            f,
            "{} hits, {} joined, {} evictions; hints: {} used, {} of them late, {} wasted",
            self.hits, self.joined, self.evictions, self.hints_used, self.hints_late, self.hints_wasted,
        )?;
        write!(
            f,
            "stalled {:.1} in {} waits; flash busy {:.1} at {:.1} MiB/s, at most {} in flight, latency {:.1} (p99 {:.1})",
            self.stall,
            self.stalls,
            self.busy,
            self.read_rate() / MIB,
            self.peak_in_flight,
            self.latency.percentile(50.0),
            self.latency.percentile(99.0),
        )
    }
}

/// Each power of two is split in this many buckets: a bucket is at most 1/8 wider than its values.
const SPLIT_BITS: u32 = 3;
const SPLIT: usize = 1 << SPLIT_BITS;
/// Values below `SPLIT` have a bucket each; every power of two from there to 2^63 has `SPLIT`.
const BUCKETS: usize = SPLIT + (64 - SPLIT_BITS as usize) * SPLIT;

/// A histogram of times: logarithmic buckets, each at most 12.5 % wide, in a fixed 4 KiB.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    total: u64,
    max: Nanos,
}

impl Histogram {
    /// Counts one value.
    #[inline]
    pub fn record(&mut self, value: Nanos) {
        self.counts[bucket(value.0)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest value, exactly.
    pub fn max(&self) -> Nanos {
        self.max
    }

    /// The value that `percent` of all values do not exceed, as the top of its bucket; zero when nothing was counted.
    pub fn percentile(&self, percent: f64) -> Nanos {
        let rank = (percent / 100.0 * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (i, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Nanos(bucket_top(i)).min(self.max);
            }
        }
        self.max
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: [0; BUCKETS], total: 0, max: Nanos::ZERO }
    }
}

/// Only what a reader of a log wants to see, not 500 counters.
impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.total)
            .field("p50", &self.percentile(50.0))
            .field("p99", &self.percentile(99.0))
            .field("max", &self.max)
            .finish()
    }
}

fn bucket(value: u64) -> usize {
    if value < SPLIT as u64 {
        return value as usize;
    }
    let power = value.ilog2();
    let within = (value >> (power - SPLIT_BITS)) as usize - SPLIT;
    SPLIT + (power - SPLIT_BITS) as usize * SPLIT + within
}

/// The largest value of a bucket.
fn bucket_top(bucket: usize) -> u64 {
    if bucket < SPLIT {
        return bucket as u64;
    }
    let (power, within) = ((bucket - SPLIT) / SPLIT, (bucket - SPLIT) % SPLIT);
    (((SPLIT + within) as u128 + 1) << power).saturating_sub(1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_cover_every_value() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_top(BUCKETS - 1), u64::MAX);
        for i in 0..BUCKETS - 1 {
            assert_eq!(bucket(bucket_top(i)), i);
            assert_eq!(bucket(bucket_top(i) + 1), i + 1);
        }
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_an_eighth_too_large(mut values in prop::collection::vec(1u64..1 << 40, 1..200)) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&v| histogram.record(Nanos(v)));
            values.sort_unstable();
            for percent in [1.0, 50.0, 90.0, 100.0] {
                let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
                let (exact, told) = (values[rank - 1], histogram.percentile(percent).0);
                prop_assert!(exact <= told && told <= exact + exact / 8, "{percent} %: {exact} told as {told}");
            }
        }
    }

    #[test]
    fn an_empty_histogram_says_zero() {
        assert_eq!(Histogram::default().percentile(50.0), Nanos::ZERO);
    }
}
