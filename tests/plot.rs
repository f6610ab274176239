//! Charts of sweeps: what is in the picture, and that it is one.
#![allow(clippy::disallowed_methods)] // Pictures are kept where the environment says, to be looked at.

use forebay::plot::{Chart, Lines, NoChart};
use forebay::simulator::settings::Setting;
use forebay::simulator::sweep::{Axis, Sweep};
use forebay::simulator::{Band, Case, Metric, Size};

fn sweep(axes: &[&str]) -> Sweep {
    let axes: Vec<Axis> = axes.iter().map(|axis| axis.parse().unwrap()).collect();
    let fixed = [("device", "iphone-17-pro-256gb"), ("model", "qwen3.5-397b-a17b"), ("tokens", "100")];
    Sweep::new(fixed.map(|(field, text)| Setting::from_text(field, text).unwrap()).to_vec(), axes).unwrap()
}

/// More with more memory and depth, in steps; nothing below 3 GiB with q8_0.
fn rate(case: &Case) -> Option<f64> {
    let gib = case.ram.map_or(6.0, |Size(bytes)| bytes as f64 / (1u64 << 30) as f64);
    let quant = if case.quant.as_deref() == Some("q8_0") { 0.5 } else { 1.0 };
    let phone = if case.device.starts_with("iphone") { 1.0 } else { 0.7 };
    (case.quant.as_deref() != Some("q8_0") || gib >= 3.0)
        .then(|| phone * quant * (0.2 + gib / 8.0) * (1.0 - 0.6 / f64::from(case.depth)))
}

fn chart(axes: &[&str], metric: Metric, scale: f64) -> Chart {
    let sweep = sweep(axes);
    let mut lines = Lines::new(&sweep, metric).unwrap();
    for cell in sweep.cells() {
        if let Some(rate) = rate(&cell.case) {
            lines.set(&cell, Band { worst: scale * rate * 0.8, nominal: scale * rate, best: scale * rate * 1.1 });
        }
    }
    let chart = lines.chart();
    if let Ok(folder) = std::env::var("FOREBAY_PLOTS") {
        let name = format!("{folder}/{}-{}", metric, axes.len() * 100 + chart.lines.len());
        std::fs::write(format!("{name}.svg"), chart.svg().unwrap()).unwrap();
        std::fs::write(format!("{name}.png"), chart.png().unwrap()).unwrap();
    }
    chart
}

#[test]
fn a_chart_has_a_line_for_each_combination_along_the_first_numbers() {
    let chart = chart(&["quant=q8_0,q4_k", "ram=8GiB,2GiB,4GiB", "depth=2,8", "seed=0"], Metric::TokensPerSecond, 1.0);
    assert_eq!(chart.title, "tokens/s");
    assert_eq!(chart.subtitle, "iphone-17-pro-256gb, qwen3.5-397b-a17b, tokens 100, seed 0");
    let labels: Vec<_> = chart.lines.iter().map(|line| line.label.as_str()).collect();
    assert_eq!(labels, ["q8_0, depth 2", "q8_0, depth 8", "q4_k, depth 2", "q4_k, depth 8"]);
    let values: Vec<_> = chart.x.values.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!((chart.x.label.as_str(), values), ("ram", vec!["2GiB", "4GiB", "8GiB"]));
    assert_eq!(chart.lines[1].bands[0], None, "it cannot be simulated");
    let case = Case { ram: Some(Size(4 << 30)), depth: 8, ..Case::new("iphone", "m") };
    assert_eq!(chart.lines[3].bands[1].unwrap().nominal, rate(&case).unwrap());
}

#[test]
fn both_forms_are_drawn() {
    for chart in [
        chart(&["quant=q8_0,q4_k", "ram=2GiB..12GiB:1GiB", "depth=2,8"], Metric::TokensPerSecond, 1.0),
        chart(
            &["depth=1..32:*2", "device=iphone-17-pro-256gb,oneplus-15r", "ram=2GiB..12GiB:2GiB"],
            Metric::Stall,
            0.4,
        ),
        chart(&["ram=2GiB..12GiB:256MiB"], Metric::PeakRam, (1u64 << 32) as f64),
        chart(&["page=64KiB..4MiB:*2"], Metric::TimeToFirstToken, 1234.0),
    ] {
        let svg = chart.svg().unwrap();
        assert!(
            svg.starts_with("<svg width=\"")
                && svg.contains("\" height=\"480\" viewBox=\"0 0 ")
                && svg.trim_end().ends_with("</svg>")
        );
        for line in &chart.lines {
            assert!(svg.contains(&line.label), "{}", line.label);
        }
        let png = chart.png().unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
        assert!(reader.info().width >= 1520 && reader.info().height == 960);
        assert_eq!(png, chart.png().unwrap(), "the same each time");
    }
}

#[test]
fn a_chart_of_nothing_is_drawn_too() {
    let sweep = sweep(&["ram=2GiB,4GiB"]);
    let mut lines = Lines::new(&sweep, Metric::TimeToThrottle).unwrap();
    lines.chart().svg().unwrap();
    let never = Band { worst: f64::INFINITY, nominal: f64::INFINITY, best: f64::INFINITY };
    sweep.cells().for_each(|cell| lines.set(&cell, never));
    assert!(!lines.chart().svg().unwrap().contains("inf"));
    lines.chart().png().unwrap();
}

#[test]
fn a_sweep_that_cannot_be_read_as_a_chart_is_refused() {
    let no_chart = |axes: &[&str]| Lines::new(&sweep(axes), Metric::Stall).unwrap_err();
    assert_eq!(no_chart(&["quant=q8_0,q4_k", "depth=2"]), NoChart::NoAbscissa);
    assert_eq!(
        no_chart(&["depth=1..4:1", "ram=1GiB..15GiB:1GiB"]).to_string(),
        "a plot of 15 lines cannot be read; at most 14 can: give the other axes fewer values"
    );
}
