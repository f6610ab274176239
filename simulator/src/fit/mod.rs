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

use crate::flash::{Correction, FlashProfile};
use crate::profile::{Edge, Profile};
use std::collections::{BTreeMap, BTreeSet};

/// Simulations of a whole sweep that a fit may use, where its caller has no reason for others.
pub const EVALUATIONS: usize = 500;

/// What a step of a factor of e away from the start costs, as the relative error of one point: the more points there are, the less
/// it counts. Errors of 2 % and figures that are known to a fifth before are weighed against each other so.
const PRIOR: f64 = 0.25;

/// What it costs to be slower than a measurement, where being faster costs the rest of 2. Other work in a device only ever
/// slows a measurement down, so of two that differ the faster one tells more.
const TOO_SLOW: f64 = 1.2;

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
    let compare = |point: &Point| Comparison { point: point.clone(), simulated_mb_s: throughput(profile, point) / 1e6 };
    Errors { points: points.iter().map(compare).collect() }
}

/// How well the figures of a profile, as they stand in its file, meet the points that it carries.
pub fn errors(profile: &Profile) -> Errors {
    compare(&profile.at(Edge::Nominal).flash, &profile.points)
}

/// What a fit of a profile starts from: its figures, but what was assumed before of those that are free. And which are.
pub fn start(profile: &Profile) -> (FlashProfile, Vec<Parameter>) {
    let mut flash = profile.at(Edge::Nominal).flash;
    let mut free = Vec::new();
    for (parameter, value) in profile.fit.iter().flat_map(|f| &f.start) {
        parameter.set(&mut flash, value * parameter.unit());
        free.push(*parameter);
    }
    (flash, free)
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
    let objective = |x: &[f64]| {
        let cost = |c: &Comparison| if c.error() < 0.0 { -c.error() * TOO_SLOW } else { c.error() * (2.0 - TOO_SLOW) };
        let errors = compare(&at(x), points);
        let prior = PRIOR * x.iter().map(|x| x * x).sum::<f64>();
        (errors.points.iter().map(cost).sum::<f64>() + prior) / points.len() as f64
    };
    let (best, _) = simplex::minimize(&vec![0.0; free.len()], 0.1, evaluations, objective);
    at(&best)
}

/// What `profile` misses of `points`, each size of which has the same depths: with it, it meets them.
///
/// # Errors
/// When the points are no such grid.
pub fn correction(profile: &FlashProfile, points: &[Point]) -> Result<Correction, String> {
    let missed: BTreeMap<(u32, u32), f64> = compare(profile, points)
        .points
        .iter()
        .map(|c| {
            ((c.point.block_bytes, c.point.depth as u32), Correction::within_bounds(c.simulated_mb_s / c.point.mb_s))
        })
        .collect();
    let sizes: BTreeSet<u32> = missed.keys().map(|(size, _)| *size).collect();
    let depths: BTreeSet<u32> = missed.keys().map(|(_, depth)| *depth).collect();
    let row = |size: &u32| depths.iter().filter_map(|depth| missed.get(&(*size, *depth)).copied()).collect();
    let times = sizes.iter().map(row).collect();
    Correction::new(&Vec::from_iter(sizes), &Vec::from_iter(depths), times)
}

/// The errors of points that the fit has not seen: each block size is left out in turn, or each depth where there are less
/// than three sizes.
pub fn held_out(start: &FlashProfile, points: &[Point], free: &[Parameter], evaluations: usize) -> Errors {
    let distinct = |of: fn(&Point) -> usize| points.iter().map(of).collect::<BTreeSet<_>>();
    let block: fn(&Point) -> usize = |p| p.block_bytes as usize;
    let by = if distinct(block).len() >= 3 { block } else { |p: &Point| p.depth };
    let mut errors = Errors::default();
    for left_out in distinct(by) {
        let (out, rest): (Vec<_>, Vec<_>) = points.iter().cloned().partition(|p| by(p) == left_out);
        errors.points.extend(compare(&fit(start, &rest, free, evaluations), &out).points);
    }
    errors
}
