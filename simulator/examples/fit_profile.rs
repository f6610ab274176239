//! Prints how well a built-in profile meets its points, and with `--fit` what a fit from its start gives.
//!
//! `cargo run --release -p forebay-simulator --example fit_profile -- m4-max --fit --held-out`; without a name: all.
#![allow(clippy::print_stdout)] // This is what it is for.

use forebay_simulator::fit::{self, Errors, Parameter};
use forebay_simulator::flash::FlashProfile;
use forebay_simulator::profile::Profile;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let asked = |flag: &str| arguments.iter().any(|a| a == flag);
    let named: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    for profile in Profile::all() {
        if profile.points.is_empty() || !(named.is_empty() || named.contains(&&profile.name)) {
            continue;
        }
        println!("{}: {}", profile.name, profile.title);
        show(&fit::errors(&profile));
        let (start, free) = fit::start(&profile);
        if free.is_empty() {
            continue;
        }
        if asked("--fit") {
            let fitted = fit::fit(&start, &profile.points, &free, fit::EVALUATIONS);
            println!("  fitted again:");
            figures(&fitted, &free);
            show(&fit::compare(&fitted, &profile.points));
        }
        if asked("--held-out") {
            println!("  held out:");
            show(&fit::held_out(&start, &profile.points, &free, fit::EVALUATIONS));
        }
    }
}

fn figures(flash: &FlashProfile, free: &[Parameter]) {
    for parameter in free {
        println!("    {} = {:.4}", parameter.name(), parameter.get(flash) / parameter.unit());
    }
}

fn show(errors: &Errors) {
    println!("    {:>9} {:>5} {:>6} {:>10} {:>10} {:>8}", "bytes", "depth", "state", "measured", "simulated", "error");
    for c in &errors.points {
        let (p, state) = (&c.point, format!("{:?}", c.point.state).to_lowercase());
        let (measured, simulated, error) = (p.mb_s, c.simulated_mb_s, 100.0 * c.error());
        println!("    {:>9} {:>5} {state:>6} {measured:>10.1} {simulated:>10.1} {error:>7.2}%", p.block_bytes, p.depth);
    }
    println!("    mean {:.2} %, max {:.2} %", 100.0 * errors.mean(), 100.0 * errors.max());
}
