//! What the built-in profiles say of their fits, against their fits.

use super::*;
use crate::profile::FitFigures;

/// The last digit that profiles state.
const DIGIT: f64 = 0.0001;

fn with_points() -> Vec<(Profile, FitFigures)> {
    let with_fit = |p: Profile| p.fit.clone().map(|fit| (p, fit));
    Profile::all().into_iter().filter_map(with_fit).collect()
}

#[test]
fn stated_errors_are_those_of_the_model() {
    for (profile, stated) in with_points() {
        let errors = errors(&profile);
        assert!((errors.mean() - stated.mean_error).abs() <= DIGIT, "{}: mean {}", profile.name, errors.mean());
        assert!((errors.max() - stated.max_error).abs() <= DIGIT, "{}: max {}", profile.name, errors.max());
    }
}

#[test]
fn whoever_has_points_says_how_well_they_are_met() {
    for profile in Profile::all() {
        assert_eq!(profile.points.is_empty(), profile.fit.is_none(), "{}", profile.name);
    }
}

#[test]
fn the_published_sweeps_are_met_within_four_per_cent() {
    for name in ["oneplus-15r", "m4-max", "pcie-5-nvme", "m5-max"] {
        let errors = errors(&Profile::named(name).unwrap());
        assert!(errors.points.len() >= 4 && errors.mean() <= 0.04, "{name}: {}", errors.mean());
    }
}

/// A test for each, so that they run side by side.
fn held_out_errors_are_those_stated(name: &str) {
    let profile = Profile::named(name).unwrap();
    let stated = profile.fit.as_ref().unwrap();
    let (start, free) = start(&profile);
    let errors = held_out(&start, &profile.points, &free, EVALUATIONS);
    assert_eq!(errors.points.len(), profile.points.len());
    assert!((errors.mean() - stated.held_out_mean_error.unwrap()).abs() <= DIGIT, "{name}: {}", errors.mean());
    assert!((errors.max() - stated.held_out_max_error.unwrap()).abs() <= DIGIT, "{name}: {}", errors.max());
}

#[test]
fn held_out_errors_of_the_oneplus_15r() {
    held_out_errors_are_those_stated("oneplus-15r");
}

#[test]
fn held_out_errors_of_the_m4_max() {
    held_out_errors_are_those_stated("m4-max");
}

#[test]
fn held_out_errors_of_the_pcie_5_drive() {
    held_out_errors_are_those_stated("pcie-5-nvme");
}

#[test]
fn held_out_errors_of_the_m5_max() {
    held_out_errors_are_those_stated("m5-max");
}

#[test]
fn what_was_left_out_is_foretold_within_five_per_cent() {
    for name in ["oneplus-15r", "m4-max", "pcie-5-nvme", "m5-max"] {
        let fit = Profile::named(name).unwrap().fit.unwrap();
        let (mean, max) = (fit.held_out_mean_error.unwrap(), fit.held_out_max_error.unwrap());
        assert!(mean <= 0.05 && max <= 0.13, "{name}: {mean}, at most {max}");
    }
}

#[test]
fn a_fit_finds_a_device_again() {
    let device = Profile::named("oneplus-15r").unwrap().at(Edge::Nominal).flash;
    let mut points = Profile::named("oneplus-15r").unwrap().points;
    points.iter_mut().for_each(|p| p.mb_s = throughput(&device, p) / 1e6);
    let mut start = device.clone();
    let free = [Parameter::Link, Parameter::Stream, Parameter::Latency];
    free.iter().zip([1.3, 0.8, 1.25]).for_each(|(p, by)| p.set(&mut start, p.get(&device) * by));
    let found = fit(&start, &points, &free, EVALUATIONS);
    assert!(compare(&found, &points).mean() < 0.005, "{}", compare(&found, &points).mean());
    for parameter in free {
        let ratio = parameter.get(&found) / parameter.get(&device);
        assert!((ratio - 1.0).abs() < 0.05, "{}: {ratio}", parameter.name());
    }
}
