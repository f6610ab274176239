//! A profile out of what was measured.

use forebay_simulator::fit::{EVALUATIONS, Errors, Parameter, Pattern, Point, compare, correction, fit};
use forebay_simulator::flash::FlashProfile;
use forebay_simulator::profile::{Edge, Figure, Grade, Profile};

use super::kernels::KernelRate;

/// What is taken for granted where nothing was measured.
const LIKE: &str = "pcie-4-nvme";
/// The figures that a sweep tells something of.
const FREE: [Parameter; 8] = [
    Parameter::Link,
    Parameter::Stream,
    Parameter::Latency,
    Parameter::Commands,
    Parameter::Jitter,
    Parameter::Turnaround,
    Parameter::UsefulDepth,
    Parameter::Sag,
];
/// How far a figure that was measured once may be off, at least, as a share.
const BAND: f64 = 0.05;

/// How well a profile meets a sweep.
#[derive(Debug)]
pub struct Fit {
    /// Random reads, by the figures alone.
    pub figures: Errors,
    /// Random reads, with the correction.
    pub corrected: Errors,
    /// Sequential reads, with the correction: nothing was fitted to them.
    pub sequential: Errors,
}

/// The profile of a machine, and how well it meets the points of its flash. It is fitted to random reads, as a pager's are spread
/// over files and layers.
pub(super) fn fitted(
    points: &[Point],
    memory_bytes_s: f64,
    kernels: &[KernelRate],
    [step_s, wake_s]: [f64; 2],
) -> (Profile, Fit) {
    let mut profile = Profile::named(LIKE).expect("it comes with the simulator");
    profile.name = "this-machine".to_owned();
    profile.title = "measured by forebay probe".to_owned();
    profile.notes = format!("Power, heat, memory sizes and all that a sweep does not tell are those of {LIKE}.");
    profile.fit = None;
    let (random, sequential): (Vec<_>, Vec<_>) = points.iter().cloned().partition(|p| p.pattern == Pattern::Random);
    let mut flash = fit(&start(&profile, &random), &random, &FREE, EVALUATIONS);
    let figures = compare(&flash, &random);
    flash.correction = correction(&flash, &random).expect("a sweep has every depth at every size");
    profile.correction = flash.correction.clone();
    let fit = Fit { figures, corrected: compare(&flash, &random), sequential: compare(&flash, &sequential) };
    let band = BAND.max(fit.corrected.mean());
    for parameter in FREE {
        let value = parameter.get(&flash) / parameter.unit();
        measured(parameter.figure(&mut profile.flash), value, band);
    }
    // A device at rest is all that was measured.
    measured(&mut profile.memory.bandwidth_gb_s, memory_bytes_s / 1e9, BAND);
    measured(&mut profile.compute.step_us, (step_s * 1e6).max(0.1), BAND);
    let mut wake = profile.compute.step_us.clone();
    measured(&mut wake, (wake_s * 1e6).max(0.1), BAND);
    profile.compute.wake_us = Some(wake);
    profile.compute.decode_gb_s.clear();
    profile.compute.prefill_gflop_s.clear();
    let like = profile.compute.request_us.clone();
    for rate in kernels {
        let mut figure = like.clone();
        measured(&mut figure, rate.decode_bytes_s / 1e9, BAND);
        profile.compute.decode_gb_s.insert(rate.ty, figure.clone());
        measured(&mut figure, rate.prefill_flop_s / 1e9, BAND);
        profile.compute.prefill_gflop_s.insert(rate.ty, figure);
    }
    (profile, fit)
}

/// What the extremes of the sweep say at once.
fn start(profile: &Profile, points: &[Point]) -> FlashProfile {
    let mut flash = profile.at(Edge::Nominal).flash;
    let fastest = points.iter().map(|p| p.mb_s).fold(0.0, f64::max);
    let alone = |larger: bool| {
        let of_depth_1 = points.iter().filter(|p| p.depth == 1);
        of_depth_1.max_by_key(|p| if larger { i64::from(p.block_bytes) } else { -i64::from(p.block_bytes) })
    };
    flash.link_bytes_s = fastest * 1e6;
    if let Some(smallest) = alone(false) {
        flash.latency_s = f64::from(smallest.block_bytes) / (smallest.mb_s * 1e6);
        flash.sense_s = flash.sense_s.min(flash.latency_s / 2.0);
    }
    if let Some(largest) = alone(true) {
        flash.stream_bytes_s = (largest.mb_s * 1e6 * 1.1).min(flash.link_bytes_s);
    }
    let commands = |p: &Point| p.mb_s * 1e6 / f64::from(p.block_bytes);
    flash.commands_s = 1.2 * points.iter().map(commands).fold(0.0, f64::max);
    flash
}

fn measured(figure: &mut Figure, value: f64, band: f64) {
    figure.value = value;
    figure.low = value * (1.0 - band);
    figure.high = value * (1.0 + band);
    figure.grade = Grade::Measured;
    figure.source = "forebay probe".to_owned();
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_simulator::fit::throughput;
    use forebay_simulator::flash::ThermalState;
    use forebay_simulator::profile::WeightType;

    #[test]
    fn a_device_whose_sweep_is_simulated_is_found_again() {
        let known = Profile::named("oneplus-15r").unwrap().at(Edge::Nominal).flash;
        let point = |pattern, (block_bytes, depth): (u32, usize)| {
            let state = ThermalState::Cold;
            let mut point = Point { block_bytes, depth, mb_s: 1.0, state, pattern, source: String::new() };
            point.mb_s = throughput(&known, &point) / 1e6;
            point
        };
        let sizes = [4 << 10, 64 << 10, 256 << 10, 1 << 20];
        let random = |size| [1, 2, 4, 8].map(|depth| point(Pattern::Random, (size, depth)));
        let mut points: Vec<Point> = sizes.into_iter().flat_map(random).collect();
        points.push(point(Pattern::Sequential, (1 << 20, 4)));
        let kernels = [KernelRate { ty: WeightType::Q4K, decode_bytes_s: 10e9, prefill_flop_s: 300e9 }];
        let (profile, fit) = fitted(&points, 20e9, &kernels, [12e-6, 30e-6]);
        for (errors, mean, max) in [(fit.figures, 0.03, 0.25), (fit.corrected, 0.01, 0.05), (fit.sequential, 0.1, 0.1)]
        {
            assert!(errors.mean() < mean && errors.max() < max, "{} {}", errors.mean(), errors.max());
        }
        let read = Profile::parse(&profile.to_toml(), "this.toml").unwrap();
        let (written, read) = (profile.at(Edge::Nominal), read.at(Edge::Nominal));
        assert_eq!(written, read, "what is written is what is read");
        assert_eq!((read.memory.bandwidth_bytes_s, read.compute.decode_bytes_s.of(WeightType::Q6K)), (20e9, 10e9));
        assert!((read.compute.step_s - 12e-6).abs() < 1e-12 && (read.compute.wake_s - 30e-6).abs() < 1e-12);
    }
}
