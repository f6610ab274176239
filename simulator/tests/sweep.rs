//! Sweeps: cells in order, rows, and advice.

use std::num::NonZero;

use forebay_simulator::settings::Setting;
use forebay_simulator::sweep::{Advice, Axis, Rows, Sweep, advise, to_json};
use forebay_simulator::target::{Edge, Target};
use forebay_simulator::{Case, Figures, Metric, Size, parallel};

const GIB: f64 = (1u64 << 30) as f64;

fn sweep(axes: &[&str]) -> Sweep {
    let axes: Vec<Axis> = axes.iter().map(|axis| axis.parse().unwrap()).collect();
    let fixed = [("device", "d"), ("model", "m")].map(|(field, text)| Setting::from_text(field, text).unwrap());
    Sweep::new(fixed.to_vec(), axes).unwrap()
}

fn figures(tokens_per_second: f64) -> Figures {
    Figures::new([0.9, 1.0, 1.1].map(|factor| {
        move |metric: Metric| match metric {
            Metric::TokensPerSecond => tokens_per_second * factor,
            Metric::TimeToThrottle => f64::INFINITY,
            _ => 0.5,
        }
    }))
}

/// The ceiling in GiB.
fn gib(case: &Case) -> f64 {
    case.ram.map_or(4.0, |Size(bytes)| bytes as f64 / GIB)
}

/// What is found for `target`, judged nominally, with tokens/s as `rate` says.
fn advice(axes: &[&str], target: &str, rate: impl Fn(&Case) -> Result<f64, &'static str> + Sync) -> Vec<Advice> {
    let target: Target = target.parse().unwrap();
    advise(&sweep(axes), &target, Edge::Nominal, |case| rate(case).map(figures), || ()).unwrap()
}

fn shown(advice: &[Advice]) -> String {
    advice.iter().map(Advice::to_string).collect()
}

#[test]
fn cells_are_the_product_the_first_axis_slowest() {
    let sweep = sweep(&["device=a,b", "ram=1GiB,2GiB", "depth=1,2"]);
    assert_eq!(sweep.len(), 8);
    let cells: Vec<_> = sweep.cells().map(|c| (c.case.device, c.case.ram.unwrap().to_string(), c.case.depth)).collect();
    assert_eq!(cells[1], ("a".into(), "1GiB".into(), 2));
    assert_eq!(cells[2], ("a".into(), "2GiB".into(), 1));
    assert_eq!(cells[7], ("b".into(), "2GiB".into(), 2));
}

#[test]
fn axes_that_make_no_sweep_say_why() {
    let error = |axes: &[&str]| {
        let axes = axes.iter().map(|axis| axis.parse().unwrap()).collect();
        Sweep::new(Vec::new(), axes).unwrap_err().to_string()
    };
    assert_eq!(error(&["ram=1GiB", "ram=2GiB"]), "there are two axes 'ram'");
    assert_eq!(error(&["device=a"]), "no model is given");
    let long = ["seed=1..200:1", "tokens=1..300:1", "prompt=1..300:1"];
    assert_eq!(error(&long), "there are too many cells");
}

#[test]
fn rows_have_axes_figures_and_errors() {
    let sweep = sweep(&["device=\"a\",b", "ram=1KiB,2KiB"]);
    let mut out = Vec::new();
    let mut rows = Rows::new(&sweep, &mut out).unwrap();
    let threads = NonZero::new(2).unwrap();
    let simulate = |cell: &forebay_simulator::sweep::Cell| match (cell.case.device.as_str(), cell.case.ram) {
        ("b", Some(Size(1024))) => Err("no room, \"none\""),
        _ => Ok(figures(2.0)),
    };
    parallel::in_order(threads, sweep.cells(), simulate, |cell, result| {
        rows.write(&cell, result.as_ref().map_err(|reason| *reason))
    })
    .unwrap();
    drop(rows);
    let text = String::from_utf8(out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[0].starts_with("device,ram,tok_s_worst,tok_s_nominal,tok_s_best,ttft_s_worst,"), "{}", lines[0]);
    assert!(lines[0].ends_with(",throttle_s_best,error"));
    assert!(lines[1].starts_with("\"\"\"a\"\"\",1024,1.8,2,2.2,0.5,"), "{}", lines[1]);
    assert!(lines[1].ends_with(",inf,inf,inf,"));
    assert_eq!(lines[3], format!("b,1024,{}\"no room, \"\"none\"\"\"", ",".repeat(30)));
    let columns = csv::Reader::from_reader(text.as_bytes()).records().map(|r| r.unwrap().len()).collect::<Vec<_>>();
    assert_eq!(columns, [33; 4]);
}

#[test]
fn the_smallest_ceiling_and_the_finest_weights_are_found() {
    let rate = |case: &Case| match (case.quant.as_deref().unwrap_or_default(), gib(case)) {
        (_, ram) if ram < 2.0 => Err("below the floor"),
        ("f16", _) => Ok(0.1),
        ("q8_0", ram) => Ok(ram / 8.0),
        (_, ram) => Ok(ram / 4.0),
    };
    let found = advice(&["ram=1GiB..64GiB:1GiB", "quant=f16,q8_0,q4_k"], "tok_s >= 1", rate);
    assert_eq!(
        shown(&found),
        "  f16     missed: tok_s comes nearest with 2GiB: 0.100 (10 of 64 ceilings tried)
  q8_0    met with 8GiB: 1.00; missed with 7GiB: 0.875 (14 of 64 ceilings tried)
  q4_k    met with 4GiB: 1.00; missed with 3GiB: 0.750 (12 of 64 ceilings tried)
  the finest that meets it is q8_0, the coarsest q4_k
"
    );
    let found = advice(&["device=a,b", "ram=4GiB,1GiB"], "tok_s >= 0.1", rate);
    assert_eq!(
        shown(&found),
        "device=a
  met with 4GiB: 1.00; missed with 1GiB: cannot be simulated: below the floor (2 of 2 ceilings tried)
device=b
  met with 4GiB: 1.00; missed with 1GiB: cannot be simulated: below the floor (2 of 2 ceilings tried)
"
    );
    assert_eq!(
        shown(&advice(&["quant=q8_0,f16"], "tok_s >= 0.4", rate)),
        "  q8_0    met: 0.500\n  f16     missed: tok_s comes nearest: 0.100\n  only q8_0 meets it\n"
    );
    let none = advice(&["ram=1GiB"], "tok_s >= 0.4", rate);
    assert_eq!(shown(&none), "  missed with 1GiB: cannot be simulated: below the floor\n");
}

#[test]
fn advice_for_programs_has_all_that_was_tried() {
    let rate = |case: &Case| match (case.quant.as_deref().unwrap_or_default(), gib(case)) {
        (_, ram) if ram < 2.0 => Err("below the floor"),
        ("f16", _) => Ok(f64::INFINITY),
        (_, ram) => Ok(ram / 8.0),
    };
    let found = advice(&["device=a", "ram=1GiB,8GiB", "quant=f16,q8_0"], "tok_s <= 1", rate);
    let json = to_json(&"tok_s <= 1".parse().unwrap(), Edge::Nominal, &found);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let tried = |ram: &str, met: bool, figure: Option<f64>, error: Option<&str>| serde_json::json!({ "ram": ram, "met": met, "figure": figure, "error": error });
    let below = tried("1GiB", false, None, Some("below the floor"));
    assert_eq!(
        json,
        serde_json::json!({
            "target": "tok_s <= 1", "metric": "tok_s", "bound": 1.0, "judge": "nominal",
            "advice": [{
                "settings": { "device": "a" }, "met": true, "finest": "q8_0", "coarsest": "q8_0",
                "quants": [
                    { "quant": "f16", "met": false, "ram": null, "figure": null, "monotone": true,
                      "tried": [below, tried("8GiB", false, None, None)] },
                    { "quant": "q8_0", "met": true, "ram": "8GiB", "figure": 1.0, "monotone": true,
                      "tried": [below, tried("8GiB", true, Some(1.0), None)] },
                ],
            }],
        })
    );
}

#[test]
fn where_more_memory_is_worse_that_is_said() {
    // Enough from 20 GiB on, but not with 21; and with 1 GiB.
    let rate = |case: &Case| Ok(if [1.0, 21.0].contains(&gib(case)) == (gib(case) < 20.0) { 2.0 } else { 0.5 });
    let found = advice(&["ram=2GiB..40GiB:1GiB"], "tok_s >= 1", rate);
    let advised = &found[0].quants[0];
    assert_eq!(advised.smallest().unwrap().ram.as_ref().unwrap().to_string(), "20GiB");
    assert!(
        shown(&found)
            .contains("met with 20GiB: 2.00; missed with 19GiB: 0.500; NOT MONOTONE: missed with 21GiB: 0.500 (")
    );
    let found = advice(&["ram=1GiB..40GiB:1GiB"], "tok_s >= 1", rate);
    assert!(
        shown(&found).contains("  met with 1GiB: 2.00; NOT MONOTONE: missed with 2GiB: 0.500 ("),
        "{}",
        shown(&found)
    );
}

#[test]
fn advice_needs_something_to_choose() {
    let target: Target = "tok_s >= 1".parse().unwrap();
    let simulate = |_: &Case| Ok::<_, String>(figures(1.0));
    let error = advise(&sweep(&["device=a"]), &target, Edge::Worst, simulate, || ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "advice is about the ceiling or the weights: give an axis ram, or an axis quant from finest to coarsest"
    );
}
