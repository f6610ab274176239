//! What reads of one device take beyond what its figures say.

/// How long reads take as a multiple of what the rest of a profile says, by their size and by how many are in flight.
///
/// The figures of a profile describe a device whose queues have one form. A sweep of another form (a disk behind a hypervisor that
/// batches and polls) is met by them on the mean only; what is left is measured, not understood, and kept here. Between the sizes
/// and depths of the sweep it goes in straight lines over the logarithms of both; outside, the nearest counts.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(try_from = "Written")]
pub struct Correction {
    /// Base 2 logarithms of bytes, ascending.
    sizes: Vec<f64>,
    /// Base 2 logarithms of reads in flight, ascending.
    depths: Vec<f64>,
    /// For each size its depths.
    times: Vec<Vec<f64>>,
}

/// A correction as a file has it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    block_bytes: Vec<u32>,
    depth: Vec<u32>,
    times: Vec<Vec<f64>>,
}

/// Sizes, depths, and for each size its multiples.
pub(crate) type Rows<'a> = (Vec<u32>, Vec<u32>, &'a [Vec<f64>]);

/// How far a correction may go.
const LEAST: f64 = 0.01;
const MOST: f64 = 100.0;

impl TryFrom<Written> for Correction {
    type Error = String;

    fn try_from(written: Written) -> Result<Correction, String> {
        Correction::new(&written.block_bytes, &written.depth, written.times)
    }
}

impl Correction {
    /// Multiples for each of `depth` at each of `block_bytes`: `times[size][depth]`.
    ///
    /// # Errors
    /// When a list is empty, does not ascend from 1 or more, or `times` has another shape or a number that is not from 0.01 to 100.
    pub fn new(block_bytes: &[u32], depth: &[u32], times: Vec<Vec<f64>>) -> Result<Correction, String> {
        for (name, list) in [("block_bytes", block_bytes), ("depth", depth)] {
            if list.first().is_none_or(|first| *first == 0) || !list.is_sorted_by(|a, b| a < b) {
                return Err(format!("{name} must be numbers that ascend from 1 or more"));
            }
        }
        if times.len() != block_bytes.len() || times.iter().any(|row| row.len() != depth.len()) {
            return Err(format!("times must be {} rows of {} numbers", block_bytes.len(), depth.len()));
        }
        if let Some(wrong) = times.iter().flatten().find(|times| !(LEAST..=MOST).contains(*times)) {
            return Err(format!("times: {wrong} is not from {LEAST} to {MOST}"));
        }
        let logarithms = |list: &[u32]| list.iter().map(|x| libm::log2(f64::from(*x))).collect();
        Ok(Correction { sizes: logarithms(block_bytes), depths: logarithms(depth), times })
    }

    /// How far a multiple that was measured can be kept.
    pub fn within_bounds(times: f64) -> f64 {
        times.clamp(LEAST, MOST)
    }

    /// The multiple for a read of `len` bytes with so many in flight, itself among them.
    pub(super) fn times(&self, len: u32, in_flight: usize) -> f64 {
        if self.sizes.is_empty() {
            return 1.0;
        }
        let (size, from_size) = place(&self.sizes, f64::from(len));
        let (depth, from_depth) = place(&self.depths, in_flight as f64);
        let row = |size: usize| between(&self.times[size], depth, from_depth);
        let here = row(size);
        if from_size == 0.0 { here } else { here + from_size * (row(size + 1) - here) }
    }

    /// What a file has, row by row: the sizes, the depths, the multiples.
    pub(crate) fn rows(&self) -> Option<Rows<'_>> {
        let whole = |list: &[f64]| list.iter().map(|x| libm::round(libm::exp2(*x)) as u32).collect();
        (!self.sizes.is_empty()).then(|| (whole(&self.sizes), whole(&self.depths), &self.times[..]))
    }
}

/// The entry of `list` at or below `x`, or the first, and how far `x` is on the way to the next.
fn place(list: &[f64], x: f64) -> (usize, f64) {
    let x = libm::log2(x.max(1.0));
    let at = list.partition_point(|entry| *entry <= x).saturating_sub(1);
    match list.get(at + 1) {
        Some(next) => (at, ((x - list[at]) / (next - list[at])).max(0.0)),
        None => (at, 0.0),
    }
}

fn between(row: &[f64], at: usize, share: f64) -> f64 {
    if share == 0.0 { row[at] } else { row[at] + share * (row[at + 1] - row[at]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Correction {
        Correction::new(&[4096, 16_384], &[1, 4, 8], vec![vec![1.0, 2.0, 3.0], vec![2.0, 4.0, 8.0]]).unwrap()
    }

    #[test]
    fn it_is_met_at_its_points_interpolated_between_and_held_outside() {
        let correction = some();
        for (len, in_flight, times) in [
            (4096, 1, 1.0),
            (4096, 8, 3.0),
            (16_384, 4, 4.0),
            (4096, 2, 1.5),
            (8192, 1, 1.5),
            (8192, 4, 3.0),
            (8192, 2, 2.25),
            (512, 1, 1.0),
            (1 << 20, 100, 8.0),
            (512, 0, 1.0),
        ] {
            assert_eq!(correction.times(len, in_flight), times, "{len} {in_flight}");
        }
        assert_eq!(Correction::default().times(4096, 3), 1.0);
    }

    #[test]
    fn every_size_and_depth_is_written_as_it_was_given() {
        let (sizes, depths): (Vec<u32>, Vec<u32>) = ((1..=4097).collect(), (1..=300).collect());
        let correction = Correction::new(&sizes, &depths, vec![vec![1.0; 300]; 4097]).unwrap();
        let (again, depths_again, _) = correction.rows().unwrap();
        assert_eq!((again, depths_again), (sizes, depths));
        let largest = Correction::new(&[u32::MAX - 1, u32::MAX], &[1], vec![vec![1.0]; 2]).unwrap();
        assert_eq!(largest.rows().unwrap().0, [u32::MAX - 1, u32::MAX]);
    }

    #[test]
    fn what_has_no_shape_is_refused() {
        let error = |sizes: &[u32], depths: &[u32], times| Correction::new(sizes, depths, times).unwrap_err();
        assert_eq!(error(&[], &[1], vec![]), "block_bytes must be numbers that ascend from 1 or more");
        assert_eq!(error(&[1, 1], &[1], vec![]), "block_bytes must be numbers that ascend from 1 or more");
        assert_eq!(error(&[1], &[0, 1], vec![]), "depth must be numbers that ascend from 1 or more");
        assert_eq!(error(&[1], &[1, 2], vec![vec![1.0]]), "times must be 1 rows of 2 numbers");
        assert_eq!(error(&[1], &[1], vec![vec![f64::NAN]]), "times: NaN is not from 0.01 to 100");
    }
}
