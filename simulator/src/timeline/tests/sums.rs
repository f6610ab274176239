//! Sums over timelines, against ones taken nanosecond by nanosecond.

use forebay_pager::{Entry, Event, Nanos};
use proptest::prelude::*;

use super::super::{Figures, Hints, Phase, Timeline, Uses};
use super::{any_run, at, leased, small, timeline};

#[test]
fn the_small_run_by_hand() {
    let run = small();
    let f = Figures::of(&run).unwrap();
    let nanos = |seconds: f64| (seconds * 1e9).round() as u64;
    let prompt = f.prompt.unwrap();
    assert_eq!((prompt.tokens, nanos(prompt.time_s), prompt.bytes_read), (2, 2000, 6 * 4096));
    assert_eq!(nanos(prompt.stall * prompt.time_s), 397 + 499 + 400);
    assert_eq!((f.phase, f.first_token_s.map(nanos)), (Phase::Decode, Some(3000)));
    assert_eq!((f.rate.tokens, nanos(f.rate.time_s), nanos(f.rate.stall_s)), (1, 2000, 700));
    assert_eq!((f.rate.reads, f.rate.bytes_read), (2, 2 * 4096));
    // Reads were in flight from 3060 to 3400, 3511 to 3900 and 3901 to 4300.
    assert_eq!(nanos(f.rate.flash_busy * f.rate.time_s), 340 + 389 + 399);
    assert_eq!(f.uses, Uses { kept: 5, ahead: 0, late: 0, demanded: 1 });
    assert_eq!(f.hints, Hints { read: 2, used: 0, late: 0, wasted: 2 });
    assert_eq!(f.rate.expert_hit_rate, Some(1.0));
    let shares: Vec<_> = f.by_kind.iter().map(|s| (&*s.name, nanos(s.time_s), nanos(s.stall_s))).collect();
    let expected = [
        ("embedding", 50, 0),
        ("attention", 450, 0),
        ("experts", 100, 0),
        ("feed-forward", 800, 700),
        ("head", 600, 0),
    ];
    assert_eq!(shares, expected);
    let layers: Vec<_> = f.by_layer.iter().map(|s| (&*s.name, nanos(s.time_s))).collect();
    assert_eq!(layers, [("embedding", 50), ("layer 0", 550), ("layer 1", 800), ("head", 600)]);
    assert_eq!((f.latencies.p50, f.latencies.max, f.read_sizes.max), (340, 399, 4096));

    let rows = &f.residency.rows;
    assert!(f.residency.by_expert && f.residency.columns == 3);
    assert_eq!(rows.iter().map(|row| row.layer).collect::<Vec<_>>(), [Some(0), Some(1), None]);
    assert_eq!(rows[0].dense, Some(1.0));
    // One page of the first expert from 3400 to 3510; the second all the time, the third never.
    assert_eq!(rows[0].columns, [110.0 / 2.0 / 2000.0, 1.0, 0.0]);
    assert_eq!((rows[1].dense, rows[2].dense), (Some(700.0 / 2000.0), Some(1.0)));
}

#[test]
fn a_late_hint_is_told_from_one_in_time() {
    let run = small();
    let prompt_only = Timeline { end: Nanos(3000), events: run.events[..27].to_vec().into(), ..run };
    let f = Figures::of(&prompt_only).unwrap();
    assert_eq!((f.phase, f.first_token_s), (Phase::Prompt, None));
    assert_eq!(f.uses, Uses { kept: 0, ahead: 1, late: 1, demanded: 4 });
    assert_eq!(f.hints, Hints { read: 2, used: 2, late: 1, wasted: 0 });
}

#[test]
fn what_was_there_before_the_first_event_was_kept() {
    let pass = Event::Pass { tokens: 1, position: 2 };
    let run = timeline("warm", vec![at(10, pass), at(10, Event::Step(3)), at(20, leased(9))]);
    let f = Figures::of(&run).unwrap();
    assert_eq!(f.uses, Uses { kept: 1, ..Uses::default() });
    assert_eq!(f.residency.rows[2].dense, Some(1.0));
}

#[test]
fn a_pass_that_is_cut_off_is_left_out() {
    let whole = small();
    let pass = at(5000, Event::Pass { tokens: 1, position: 3 });
    let mut events = whole.events.to_vec();
    events.extend([pass, at(5010, Event::Step(0))]);
    let cut = Timeline { events: events.into(), lost: 7, end: Nanos(9000), ..whole.clone() };
    let (cut, whole) = (Figures::of(&cut).unwrap(), Figures::of(&whole).unwrap());
    assert_eq!(cut.lost_events, 7);
    assert_eq!(Figures { lost_events: 0, ..cut }, whole);
}

#[test]
fn without_a_pass_there_is_nothing_to_tell() {
    assert_eq!(Figures::of(&timeline("none", vec![at(1, Event::Step(0))])), None);
}

/// Which of the intervals that events tell of have a nanosecond.
fn covered(events: &[Entry], nano: u64, interval: impl Fn(&Event) -> Option<Nanos>) -> bool {
    events.iter().any(|entry| interval(&entry.event).is_some_and(|since| since.0 <= nano && nano < entry.at.0))
}

proptest! {
    #[test]
    fn sums_are_those_of_single_nanoseconds(run in any_run()) {
        let Some(f) = Figures::of(&run) else { return Ok(()) };
        let first_of = |position: u32| run.events.iter().find_map(|entry| match entry.event {
            Event::Pass { position: p, .. } if p >= position => Some(entry.at.0),
            _ => None,
        });
        let (from, to) = match (f.phase, first_of(run.facts.prompt_tokens)) {
            (Phase::Decode, Some(from)) => (from, run.end.0),
            _ => (first_of(0).unwrap(), run.end.0),
        };
        let nanos = |seconds: f64| (seconds * 1e9).round() as u64;
        prop_assert_eq!(nanos(f.rate.time_s), to - from);
        let stalled = |event: &Event| match *event {
            Event::Stalled { since } => Some(since),
            _ => None,
        };
        let stall = (from..to).filter(|&nano| covered(&run.events, nano, stalled)).count() as u64;
        prop_assert_eq!(nanos(f.rate.stall_s), stall);
        prop_assert_eq!(nanos(f.rate.stall_s) + nanos(f.rate.compute_s), to - from);
        // However the time is shared out, nothing is lost and nothing counted twice.
        for shares in [&f.by_kind, &f.by_layer] {
            prop_assert_eq!(shares.iter().map(|share| nanos(share.time_s)).sum::<u64>(), to - from);
            prop_assert_eq!(shares.iter().map(|share| nanos(share.stall_s)).sum::<u64>(), stall);
            prop_assert_eq!(shares.iter().map(|share| share.uses.all()).sum::<u64>(), f.uses.all());
        }
        prop_assert_eq!(f.passes.iter().map(|pass| pass.nanos).sum::<u64>(), to - from);
        prop_assert_eq!(f.passes.iter().map(|pass| pass.stall_nanos).sum::<u64>(), stall);
        prop_assert_eq!(f.passes.iter().map(|pass| pass.bytes).sum::<u64>(), f.rate.bytes_read);
        prop_assert_eq!(f.read_sizes.count, f.rate.reads);
        let shares = f.residency.rows.iter().flat_map(|row| row.columns.iter().chain(&row.dense));
        prop_assert!(shares.clone().all(|share| (0.0..=1.0 + 1e-6).contains(share)), "{:?}", f.residency);
    }

    #[test]
    fn the_flash_is_busy_while_a_read_is_in_flight(run in any_run()) {
        let Some(f) = Figures::of(&run) else { return Ok(()) };
        let from = run.end.0 - (f.rate.time_s * 1e9).round() as u64;
        let mut busy = 0;
        let mut reads = 0u64;
        for pair in run.events.windows(2) {
            match pair[0].event {
                Event::Read { .. } => reads += 1,
                Event::Arrived { .. } | Event::Failed { .. } => reads -= 1,
                _ => {}
            }
            if reads > 0 {
                busy += pair[1].at.0.max(from) - pair[0].at.0.max(from);
            }
        }
        // What is in flight when the events end is so until the end.
        let last = run.events.last().map_or(0, |entry| {
            let reads = reads as i64 + match entry.event {
                Event::Read { .. } => 1,
                Event::Arrived { .. } | Event::Failed { .. } => -1,
                _ => 0,
            };
            if reads > 0 { run.end.0 - entry.at.0.max(from) } else { 0 }
        });
        prop_assert_eq!((f.rate.flash_busy * f.rate.time_s * 1e9).round() as u64, busy + last);
    }
}
