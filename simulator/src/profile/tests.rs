//! Profiles that are broken, and those that are not.

use super::*;
use crate::flash::{Flash, FlashOptions};

const GOOD: &str = include_str!("../../profiles/oneplus-15r.toml");

/// The error after the line that begins with `key` was replaced, or taken out.
fn error(key: &str, line: &str) -> String {
    let replaced = |l: &str| if l.starts_with(key) { line.to_owned() } else { l.to_owned() };
    let lines: Vec<String> = GOOD.lines().map(replaced).collect();
    assert_ne!(lines.join("\n"), GOOD.trim_end(), "{key} is in the file");
    Profile::parse(&lines.join("\n"), "phone.toml").unwrap_err().to_string()
}

fn line_of(key: &str) -> usize {
    1 + GOOD.lines().position(|l| l.starts_with(key)).unwrap()
}

#[test]
fn a_broken_figure_is_named_with_its_line() {
    let at = format!("phone.toml:{}: flash.link_mb_s: ", line_of("link_mb_s = { value"));
    for (figure, what) in [
        (
            "{ value = 5, low = 6, high = 7, grade = \"spec\", source = \"s\" }",
            "low <= value <= high does not hold: 6, 5, 7",
        ),
        ("{ value = 5, high = 4, grade = \"spec\", source = \"s\" }", "low <= value <= high does not hold: 5, 5, 4"),
        ("{ value = nan, grade = \"spec\", source = \"s\" }", "value, low and high must be finite"),
        ("{ value = 5, high = inf, grade = \"spec\", source = \"s\" }", "value, low and high must be finite"),
        ("{ value = 5, low = -1, grade = \"spec\", source = \"s\" }", "low is -1 and must be 0.001 or more"),
        ("{ value = 5, grade = \"spec\", source = \" \" }", "source is empty"),
        ("{ value = 5, grade = \"spec\" }", "missing field `source`"),
        (
            "{ value = 5, grade = \"rumour\", source = \"s\" }",
            "unknown variant `rumour`, expected one of `measured`, `spec`, `estimate`",
        ),
        (
            "{ value = 5, hihg = 7, grade = \"spec\", source = \"s\" }",
            "unknown field `hihg`, expected one of `value`, `low`, `high`, `grade`, `source`",
        ),
        ("5", "invalid type: integer `5`, expected struct Written"),
    ] {
        assert_eq!(error("link_mb_s = { value", &format!("link_mb_s = {figure}")), format!("{at}{what}"));
    }
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let figure = "{ value = 5, grade = \"spec\", source = \"s\" }";
    let line = line_of("jitter");
    let found = error("jitter", &format!("jiter = {figure}"));
    assert!(found.starts_with(&format!("phone.toml:{line}: flash.jiter: unknown field `jiter`")), "{found}");
    let found = error("jitter", "");
    assert_eq!(found, format!("phone.toml:{}: flash: missing field `jitter`", line_of("[flash]")));
    let found = error("q4_k", &format!("q4_x = {figure}"));
    assert!(
        found.starts_with(&format!("phone.toml:{}: compute.decode_gb_s.q4_x: unknown variant", line_of("q4_k"))),
        "{found}"
    );
    let found = error("jitter", "jitter = ");
    assert!(found.starts_with(&format!("phone.toml:{line}: flash.jitter: ")), "{found}");
    assert_eq!(Profile::parse("", "phone.toml").unwrap_err().to_string(), "phone.toml:1: missing field `name`");
}

#[test]
fn a_correction_without_a_shape_is_refused() {
    let table = "[correction]\nblock_bytes = [4096, 8192]\ndepth = [1]\ntimes = [[1.0]]\n";
    let line = GOOD.lines().count() + 1;
    let found = Profile::parse(&format!("{}\n{table}", GOOD.trim_end()), "phone.toml").unwrap_err().to_string();
    assert_eq!(found, format!("phone.toml:{line}: correction: times must be 2 rows of 1 numbers"));
}

#[test]
fn figures_that_do_not_go_together_are_refused() {
    let figure = |x: f64| format!("{{ value = {x}, grade = \"spec\", source = \"s\" }}");
    for (key, x, what) in [
        ("tail_times", 60.0, "flash.tail_times: tail_share * tail_times must be below 1, at the upper edges too"),
        ("background_share", 0.31, "flash.background_share: must not be above background_burst_share"),
        ("hot_share", 0.95, "flash.hot_share: must not be above warm_share"),
        ("warm_c", 46.0, "heat.warm_c: must be above ambient_c and below hot_c, at all edges"),
        ("jitter", 1.0, "flash.jitter: value is 1 and must be from 0 to below 1"),
    ] {
        assert_eq!(error(key, &format!("{key} = {}", figure(x))), format!("phone.toml:{}: {what}", line_of(key)));
    }
}

#[test]
fn the_built_in_profiles_have_names_sources_and_running_devices() {
    let profiles = Profile::all();
    assert!(profiles.len() >= 20);
    for (profile, name) in profiles.iter().zip(Profile::names()) {
        assert_eq!(profile.name, name);
        assert_eq!(Profile::named(name).as_ref(), Some(profile));
        assert!(profile.fields().iter().any(|f| f.figure.low < f.figure.high), "{name} is not known exactly");
        for edge in [Edge::Low, Edge::Nominal, Edge::High] {
            let device = profile.at(edge);
            assert!(device.memory.app_bytes <= device.memory.ram_bytes, "{name} at {edge:?}");
            let mut flash = Flash::new(&device.flash, FlashOptions::default());
            flash.submit(forebay_pager::Nanos::ZERO, crate::flash::Request { id: 0, offset: 0, len: 1 << 20 });
            assert!(flash.next_end().is_some(), "{name} at {edge:?}");
        }
    }
    assert_eq!(Profile::named("no-such-phone"), None);
}

#[test]
fn each_edge_is_worse_or_better_in_every_figure() {
    for profile in Profile::all() {
        for Field { name, figure, sense, .. } in profile.fields() {
            let [low, nominal, high] = [Edge::Low, Edge::Nominal, Edge::High].map(|e| figure.at(sense, e));
            let ordered = match sense {
                Sense::Gain => low <= nominal && nominal <= high,
                Sense::Cost => low >= nominal && nominal >= high,
            };
            assert!(ordered, "{}: {name}", profile.name);
        }
    }
}

#[test]
fn more_than_512_gb_is_twice_as_fast_on_the_iphone_17_pro() {
    let link = |name| Profile::named(name).unwrap().at(Edge::Nominal).flash.link_bytes_s;
    assert_eq!(link("iphone-17-pro-256gb"), 1.6e9);
    assert_eq!(link("iphone-17-pro-512gb"), 3.3e9);
}

#[test]
fn what_is_written_is_read_again() {
    for mut profile in Profile::all() {
        profile.notes = "a \"quote\", a \\ and\na line".into();
        profile.correction =
            Correction::new(&[4096, 65_537], &[1, 3], vec![vec![1.0, 0.1], vec![1.0 / 3.0, 7.0]]).unwrap();
        let text = profile.to_toml();
        let again = Profile::parse(&text, "again.toml").unwrap();
        assert_eq!((&again.notes, &again.fit), (&profile.notes, &profile.fit));
        assert_eq!(again.to_toml(), text);
        for edge in [Edge::Low, Edge::Nominal, Edge::High] {
            assert_eq!(again.at(edge), profile.at(edge));
        }
    }
}
