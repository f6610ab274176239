//! The file: what viewers see of it, and that it is read back whole.
#![allow(clippy::disallowed_methods)] // Tests open files.

use std::collections::BTreeMap;

use forebay_pager::Event;
use proptest::prelude::*;
use serde_json::Value;

use super::super::{Timeline, read, write};
use super::{any_run, small, timeline};

fn written(timeline: &Timeline<'_>) -> String {
    let mut out = Vec::new();
    write(timeline, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Thread, begin and end in nanoseconds, and what it is about, of every slice.
fn slices(text: &str) -> Vec<(u64, u64, u64, Value)> {
    let trace: Value = serde_json::from_str(text).unwrap();
    // Times are written with three digits behind the point, so they are whole once more.
    let nanos = |value: &Value| (value.as_f64().unwrap() * 1e3).round() as u64;
    let events = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
    events
        .map(|event| {
            let begin = nanos(&event["ts"]);
            (event["tid"].as_u64().unwrap(), begin, begin + nanos(&event["dur"]), event["args"].clone())
        })
        .collect()
}

/// `FOREBAY_BLESS` writes the file anew; then look at what has changed, and open it in a viewer.
#[test]
fn a_small_timeline_is_written_as_it_always_was() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/timeline/tests/small.json");
    let text = written(&small());
    if std::env::var_os("FOREBAY_BLESS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap());
}

#[test]
fn a_timeline_without_events_is_one() {
    let empty = timeline("empty", Vec::new());
    assert_eq!(read(written(&empty).as_bytes()).unwrap(), empty);
}

#[test]
fn compute_is_nested_passes_steps_and_stalls() {
    let compute: Vec<_> = slices(&written(&small())).into_iter().filter(|slice| slice.0 == 1).collect();
    for (i, (_, begin, end, _)) in compute.iter().enumerate() {
        for (_, begin2, end2, _) in &compute[i + 1..] {
            let apart = end <= begin2 || end2 <= begin;
            let within = begin <= begin2 && end2 <= end;
            assert!(apart || within, "{begin} to {end} and {begin2} to {end2}");
        }
    }
    assert_eq!(compute.len(), 2 + 8 + 4);
}

#[test]
fn counters_end_where_the_run_does() {
    let trace: Value = serde_json::from_str(&written(&small())).unwrap();
    let last = |name: &str| {
        let events = trace["traceEvents"].as_array().unwrap();
        events.iter().rfind(|event| event["name"] == name).unwrap()["args"].clone()
    };
    assert_eq!(last("bytes in flight")["bytes"], 0);
    assert_eq!(last("resident frames")["frames"], 6);
    let used = last("pages used");
    assert_eq!([&used["kept"], &used["read ahead"], &used["late"], &used["demanded"]], [5, 1, 1, 5]);
    let hints = last("hints");
    assert_eq!([&hints["used"], &hints["late"], &hints["wasted"]], [2, 1, 2]);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(run in any_run(), lost in 0..3u64) {
        let run = Timeline { lost, ..run };
        prop_assert_eq!(run.check(), Ok(()));
        prop_assert_eq!(read(written(&run).as_bytes()).unwrap(), run);
    }

    #[test]
    fn every_read_is_on_one_lane_and_no_lane_has_two_at_once(run in any_run()) {
        let mut expected: Vec<(u64, u64, u64)> = Vec::new();
        for entry in run.events.iter() {
            if let Event::Arrived { page, since } | Event::Failed { page, since } = entry.event {
                expected.push((since.0, entry.at.0, page.0.into()));
            }
        }
        let mut found = Vec::new();
        let mut lanes: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        for (thread, begin, end, args) in slices(&written(&run)).into_iter().filter(|slice| slice.0 >= 10) {
            found.push((begin, end, args["page"].as_u64().unwrap()));
            lanes.entry(thread).or_default().push((begin, end));
        }
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
        for (lane, mut reads) in lanes.clone() {
            reads.sort_unstable();
            prop_assert!(reads.windows(2).all(|pair| pair[0].1 <= pair[1].0), "lane {lane}: {reads:?}");
        }
        // Packed: as many lanes as reads were in flight at once, from the first on.
        let mut in_flight = (0usize, 0usize);
        for entry in run.events.iter() {
            match entry.event {
                Event::Read { .. } => in_flight = (in_flight.0 + 1, in_flight.1.max(in_flight.0 + 1)),
                Event::Arrived { .. } | Event::Failed { .. } => in_flight.0 -= 1,
                _ => {}
            }
        }
        prop_assert!(lanes.keys().all(|&lane| lane < 10 + in_flight.1 as u64));
    }
}
