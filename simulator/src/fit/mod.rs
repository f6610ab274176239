//! Fits a device's figures to a measured sweep, and says how well they fit.
//!
//! The objective is the mean relative error of the simulated throughput, and a little for every step away from what was
//! assumed before, so that what the points do not tell stays there. Figures move in logarithms.

mod parameter;
mod simplex;
mod steady;
mod sweep;
#[cfg(test)]
mod tests;

pub use parameter::Parameter;
pub use steady::throughput;
pub use sweep::{Pattern, Point, parse_points};

use crate::flash::FlashProfile;

/// Reads for each point of a fit and of a table of errors.
pub const READS: usize = 2000;

/// What a step of a factor of e away from the start costs, as relative error.
const PRIOR: f64 = 0.002;

/// A measured point and what the model says.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What was measured.
    pub point: Point,
    /// What was simulated, in MB/s (1e6 bytes).
    pub simulated_mb_s: f64,
}

impl Comparison {
    /// Relative to what was measured; above zero where the model is too fast.
    pub fn error(&self) -> f64 {
        self.simulated_mb_s / self.point.mb_s - 1.0
    }
}

/// Points with errors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Errors {
    /// In the order of the points.
    pub points: Vec<Comparison>,
}

impl Errors {
    /// The mean of the errors' sizes.
    pub fn mean(&self) -> f64 {
        self.points.iter().map(|c| c.error().abs()).sum::<f64>() / self.points.len() as f64
    }

    /// The largest of them.
    pub fn max(&self) -> f64 {
        self.points.iter().map(|c| c.error().abs()).fold(0.0, f64::max)
    }
}

/// What the model says to each point.
pub fn compare(profile: &FlashProfile, points: &[Point]) -> Errors {
    let compare =
        |point: &Point| Comparison { point: point.clone(), simulated_mb_s: throughput(profile, point, READS) / 1e6 };
    Errors { points: points.iter().map(compare).collect() }
}

/// Moves the `free` figures of `start` towards the points, with so many simulations of the sweep.
pub fn fit(start: &FlashProfile, points: &[Point], free: &[Parameter], evaluations: usize) -> FlashProfile {
    let at = |x: &[f64]| {
        let mut profile = start.clone();
        for (parameter, shift) in free.iter().zip(x) {
            parameter.set(&mut profile, parameter.get(start) * libm::exp(*shift));
        }
        profile
    };
    let objective = |x: &[f64]| compare(&at(x), points).mean() + PRIOR * x.iter().map(|x| x * x).sum::<f64>();
    let (best, _) = simplex::minimize(&vec![0.0; free.len()], 0.1, evaluations, objective);
    at(&best)
}

/// The errors of points that the fit has not seen: each block size is left out in turn.
pub fn held_out(start: &FlashProfile, points: &[Point], free: &[Parameter], evaluations: usize) -> Errors {
    let mut blocks: Vec<u32> = points.iter().map(|p| p.block_bytes).collect();
    blocks.sort_unstable();
    blocks.dedup();
    let mut errors = Errors::default();
    for block in blocks {
        let (out, rest): (Vec<_>, Vec<_>) = points.iter().cloned().partition(|p| p.block_bytes == block);
        errors.points.extend(compare(&fit(start, &rest, free, evaluations), &out).points);
    }
    errors
}
