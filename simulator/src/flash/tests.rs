//! The model against what it says of itself.

use super::*;
use proptest::prelude::*;

const MIB: u32 = 1 << 20;

/// Round numbers and no chance: 1 GB/s of which a stream gets half, 100 us of latency.
fn plain() -> FlashProfile {
    FlashProfile {
        correction: Correction::default(),
        link_bytes_s: 1e9,
        stream_bytes_s: 0.5e9,
        latency_s: 100e-6,
        commands_s: 100_000.0,
        transfer_bytes: u64::from(MIB),
        turnaround_s: 0.0,
        units: 1 << 12,
        sense_s: 0.0,
        sense_bytes: 4096.0,
        jitter: 0.0,
        tail: Tail { share: 0.0, times: 1.0 },
        depth: UsefulDepth { requests: 1000.0, sag: 0.0, floor: 1.0 },
        map: MapCache { bytes: 1e9, miss_times: 2.0 },
        small_core_share: 0.5,
        heat: Heat {
            ambient_c: 25.0,
            kelvin_watt: 8.0,
            joules_kelvin: 0.5,
            warm_c: 30.0,
            hot_c: 40.0,
            recovery_k: 2.0,
            warm_share: 0.8,
            hot_share: 0.5,
        },
        background: Background { share: 0.0, burst_share: 0.5, burst_s: 0.01 },
        tiers: vec![Tier { capacity_gb: 512, rate_times: 2.0 }],
        joules_byte: 0.0,
    }
}

fn run(profile: &FlashProfile, options: FlashOptions, reads: &[(u64, Request)]) -> Vec<Ended> {
    let mut flash = Flash::new(profile, options);
    let mut ended = Vec::new();
    for (now, request) in reads {
        flash.advance(Nanos(*now), &mut ended);
        flash.submit(Nanos(*now), *request);
    }
    while let Some(at) = flash.next_end() {
        flash.advance(at, &mut ended);
    }
    assert_eq!(flash.in_flight(), 0);
    ended
}

/// `count` reads of `len` bytes, all at once; when each ends, in microseconds.
fn at_once(profile: &FlashProfile, options: FlashOptions, count: u64, len: u32) -> Vec<f64> {
    let reads: Vec<_> = (0..count).map(|id| (0, Request { id, offset: id * u64::from(len), len })).collect();
    run(profile, options, &reads).iter().map(|e| e.at.0 as f64 / 1e3).collect()
}

#[track_caller]
fn near(found: &[f64], wanted: &[f64]) {
    let same = found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 0.01);
    assert!(same, "{found:?} instead of {wanted:?}");
}

#[test]
fn one_read_takes_its_command_its_latency_and_its_bytes() {
    near(&at_once(&plain(), FlashOptions::default(), 1, 500_000), &[10.0 + 100.0 + 1000.0]);
}

#[test]
fn reads_share_the_link_and_a_stream_has_its_own_limit() {
    // Two take what two streams can, and the second begins one command later.
    near(&at_once(&plain(), FlashOptions::default(), 2, 500_000), &[1110.0, 1120.0]);
    // Four share 1 GB/s: by hand, from one change of the rate to the next.
    let four = at_once(&plain(), FlashOptions::default(), 4, 500_000);
    near(&four, &[2086.667, 2101.667, 2111.667, 2118.333]);
}

#[test]
fn commands_are_taken_one_after_the_other() {
    let small = at_once(&plain(), FlashOptions::default(), 100, 1);
    near(&small[99..], &[100.0 * 10.0 + 100.0 + 0.002]);
}

#[test]
fn a_small_core_and_a_wide_range_slow_commands_down() {
    let last = |options| at_once(&plain(), options, 100, 1)[99];
    let small = FlashOptions { core: IssuingCore::Small, ..FlashOptions::default() };
    near(&[last(small)], &[100.0 * 20.0 + 100.0 + 0.002]);
    let wide = FlashOptions { range_bytes: Some(2_000_000_000), ..FlashOptions::default() };
    near(&[last(wide)], &[100.0 * 15.0 + 100.0 + 0.002]);
}

#[test]
fn a_unit_senses_one_transfer_at_a_time() {
    let profile = FlashProfile { units: 1, sense_s: 50e-6, ..plain() };
    near(&at_once(&profile, FlashOptions::default(), 3, 4096), &[118.192, 168.192, 218.192]);
}

#[test]
fn a_long_read_is_split_and_waits_for_its_commands_only_where_they_are_slow() {
    let profile = FlashProfile { turnaround_s: 5e-6, ..plain() };
    // Four transfers cost the link four turnarounds; the commands of the later ones pass while the first moves.
    near(&at_once(&profile, FlashOptions::default(), 1, 4 * MIB), &[110.0 + (4.0 * 1048576.0 + 4.0 * 5000.0) / 500.0]);
    let slow = FlashProfile { commands_s: 100.0, ..plain() };
    near(&at_once(&slow, FlashOptions::default(), 1, 4 * MIB), &[4.0 * 10_000.0 + 100.0 + 1048576.0 / 500.0]);
}

#[test]
fn beyond_the_useful_depth_everything_slows_down() {
    let profile =
        FlashProfile { depth: UsefulDepth { requests: 2.0, sag: 0.1, floor: 0.6 }, stream_bytes_s: 1e9, ..plain() };
    assert_eq!(profile.depth.share(2), 1.0);
    assert_eq!(profile.depth.share(7), 1.0 / 1.5);
    assert_eq!(profile.depth.share(100), 0.6);
    let two = at_once(&profile, FlashOptions::default(), 2, 8 * MIB)[1] / 2.0;
    let eight = at_once(&profile, FlashOptions::default(), 8, 8 * MIB)[7] / 8.0;
    assert!(eight > two * 1.2, "{two} {eight}");
}

#[test]
fn a_correction_multiplies_every_part_of_a_read() {
    let correction = Correction::new(&[4096, MIB], &[1, 4], vec![vec![2.0; 2], vec![1.0, 3.0]]).unwrap();
    let profile = FlashProfile { correction, stream_bytes_s: 1e9, ..plain() };
    near(&at_once(&profile, FlashOptions::default(), 1, 4096), &[2.0 * (110.0 + 4.096)]);
    near(&at_once(&profile, FlashOptions::default(), 1, MIB), &[110.0 + 1048.576]);
    // Kept up, throughput is what the figures say, divided.
    let sum = |profile: &FlashProfile| at_once(profile, FlashOptions::default(), 64, MIB)[63];
    assert!(
        (sum(&profile) / sum(&FlashProfile { correction: Correction::default(), ..profile.clone() }) - 3.0).abs() < 0.1
    );
}

#[test]
fn a_larger_capacity_is_faster_where_its_tier_says_so() {
    let end = |capacity_gb| at_once(&plain(), FlashOptions { capacity_gb, ..FlashOptions::default() }, 1, 500_000)[0];
    assert_eq!((end(None), end(Some(256)), end(Some(1024))), (1110.0, 1110.0, 610.0));
}

#[test]
fn sustained_load_heats_the_device_and_rest_cools_it() {
    let profile = FlashProfile { joules_byte: 5e-9, stream_bytes_s: 1e9, ..plain() };
    let mut flash = Flash::new(&profile, FlashOptions::default());
    let (mut ended, mut now, mut states) = (Vec::new(), Nanos::ZERO, vec![]);
    for id in 0..20_000 {
        flash.submit(now, Request { id, offset: 0, len: MIB });
        now = flash.next_end().unwrap();
        flash.advance(now, &mut ended);
        if states.last() != Some(&flash.thermal().0) {
            states.push(flash.thermal().0);
        }
    }
    assert_eq!(states, [ThermalState::Cold, ThermalState::Warm, ThermalState::Hot], "5 W through 8 K/W");
    let took = |e: &[Ended]| (e[100].at - e[0].at).as_secs_f64();
    let (first, last) = (took(&ended), took(&ended[ended.len() - 101..]));
    assert!(last > 1.7 * first, "{first} {last}");
    flash.submit(now + Nanos(3_600_000_000_000), Request { id: 0, offset: 0, len: MIB });
    assert_eq!(flash.thermal().0, ThermalState::Cold, "after an hour of rest");
    assert!((flash.thermal().1 - 25.0).abs() < 0.01);
}

#[test]
fn heat_from_elsewhere_counts() {
    let mut flash = Flash::new(&plain(), FlashOptions::default());
    flash.warm(5.0);
    flash.submit(Nanos(100_000_000), Request { id: 0, offset: 0, len: 1 });
    let (state, celsius) = flash.thermal();
    assert_eq!(state, ThermalState::Warm);
    assert!(
        (celsius - (35.0 + 25.0 * 0.025) / 1.025).abs() < 1e-9,
        "5 J on 0.5 J/K, and one step of cooling: {celsius}"
    );
}

#[test]
fn other_traffic_takes_its_share() {
    let busy = Background { share: 0.25, burst_share: 0.5, burst_s: 0.01 };
    let profile = FlashProfile { background: busy, stream_bytes_s: 1e9, ..plain() };
    let alone = at_once(&plain(), FlashOptions::default(), 4000, MIB)[3999];
    let shared = at_once(&profile, FlashOptions::default(), 4000, MIB)[3999];
    assert!((shared / alone - 1.0 / 0.75).abs() < 0.03, "{alone} {shared}");
}

#[test]
fn tails_and_jitter_keep_the_mean() {
    let mean = |profile: &FlashProfile| {
        let reads: Vec<_> = (0..20_000).map(|id| (id * 10_000_000, Request { id, offset: id, len: 4096 })).collect();
        let ended = run(profile, FlashOptions::default(), &reads);
        let sum: u64 = ended.iter().map(|e| e.at.0 - e.id * 10_000_000).sum();
        (sum as f64 / 20_000.0, ended.iter().map(|e| e.at.0 - e.id * 10_000_000).max().unwrap())
    };
    let (wanted, _) = mean(&plain());
    let (tailed, worst) = mean(&FlashProfile { tail: Tail { share: 0.01, times: 10.0 }, ..plain() });
    assert!((tailed / wanted - 1.0).abs() < 0.02 && worst > 900_000, "{tailed} {worst}");
    let (scattered, _) = mean(&FlashProfile { jitter: 0.9, ..plain() });
    assert!((scattered / wanted - 1.0).abs() < 0.02, "{scattered}");
}

#[test]
fn faults_come_as_often_as_asked_for_and_take_their_time() {
    let faults = Faults { delayed: 0.1, delay_s: 0.005, short: 0.1, failed: 0.1, errno: 5, corrupt: 0.1 };
    let reads: Vec<_> = (0..10_000).map(|id| (id * 20_000_000, Request { id, offset: 0, len: MIB })).collect();
    let ended = run(&plain(), FlashOptions { faults, ..FlashOptions::default() }, &reads);
    assert_eq!(ended.len(), 10_000);
    let mut counts = [0; 5];
    for end in &ended {
        let took = end.at.0 - end.id * 20_000_000;
        let delay = if took >= 5_000_000 { 5_000_000 } else { 0 };
        counts[4] += usize::from(delay > 0);
        let bytes = match end.outcome {
            Outcome::Whole => MIB,
            Outcome::Corrupt => {
                counts[0] += 1;
                MIB
            }
            Outcome::Short(came) => {
                assert!((1..MIB).contains(&came));
                counts[1] += 1;
                came
            }
            Outcome::Failed(errno) => {
                assert_eq!(errno, 5);
                counts[2] += 1;
                0
            }
        };
        assert!(took.abs_diff(delay + 110_000 + u64::from(bytes) * 2) <= 1, "{end:?}");
    }
    let wanted = [810, 900, 1000, 0, 1000];
    assert!(counts.iter().zip(wanted).all(|(c, w): (&usize, usize)| c.abs_diff(w) < 120), "{counts:?}");
}

fn scenario(seed: u64, reads: u64) -> (FlashProfile, FlashOptions, Vec<(u64, Request)>) {
    let mut chance = Chance::new(seed, 99);
    let mut now = 0;
    let background = Background { share: 0.1, burst_share: 0.4, burst_s: 0.002 };
    let profile = FlashProfile {
        turnaround_s: 5e-6,
        units: 3,
        sense_s: 60e-6,
        sense_bytes: 65536.0,
        jitter: 0.3,
        tail: Tail { share: 0.02, times: 5.0 },
        depth: UsefulDepth { requests: 6.0, sag: 0.02, floor: 0.8 },
        background,
        joules_byte: 2e-9,
        ..plain()
    };
    let faults = Faults { delayed: 0.01, delay_s: 0.003, short: 0.02, failed: 0.02, errno: 5, corrupt: 0.02 };
    let requests = (0..reads).map(|id| {
        now += if chance.happens(0.7) { 0 } else { (chance.uniform() * 2e6) as u64 };
        let len = 4096 << (chance.uniform() * 11.0) as u32;
        (now, Request { id, offset: (chance.uniform() * 1e11) as u64, len })
    });
    let requests = requests.collect();
    (profile, FlashOptions { seed, faults, other_watts: 2.0, ..FlashOptions::default() }, requests)
}

/// FNV-1a over all that ended.
fn hash(ended: &[Ended]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut word =
        |x: u64| x.to_le_bytes().iter().for_each(|b| hash = (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    for end in ended {
        let (kind, value) = match end.outcome {
            Outcome::Whole => (0, 0),
            Outcome::Short(came) => (1, u64::from(came)),
            Outcome::Failed(errno) => (2, errno as u64),
            Outcome::Corrupt => (3, 0),
        };
        [end.id, end.at.0, kind, value].into_iter().for_each(&mut word);
    }
    hash
}

#[test]
fn one_seed_gives_one_sequence_of_events_at_any_optimisation_level() {
    let hash_of = |seed| {
        let (profile, options, reads) = scenario(seed, 3000);
        hash(&run(&profile, options, &reads))
    };
    let hashes: Vec<u64> = (0..8).map(hash_of).collect();
    assert_eq!(hashes, (0..8).map(hash_of).collect::<Vec<_>>());
    assert!((1..8).all(|i| hashes[i] != hashes[i - 1]), "{hashes:x?}");
    // The same from builds without optimisation and with all of it; it changes when the model does.
    assert_eq!(format!("{:016x}", hashes[0]), "d94c1abb6ab5fd03");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Looking ahead and moving on in any steps changes nothing, and the look ahead is right.
    #[test]
    fn how_it_is_looked_at_changes_nothing(seed in 0u64..1000, steps in prop::collection::vec(1u64..3_000_000, 1..50)) {
        let (profile, options, reads) = scenario(seed, 200);
        let wanted = run(&profile, options.clone(), &reads);
        let mut flash = Flash::new(&profile, options);
        let (mut ended, mut now, mut step) = (Vec::new(), 0, steps.iter().cycle());
        for (at, request) in &reads {
            while now < *at {
                now = (*at).min(now + step.next().unwrap());
                let foretold = flash.next_end();
                let before = ended.len();
                flash.advance(Nanos(now), &mut ended);
                match foretold {
                    Some(at) if at.0 <= now => prop_assert_eq!(ended[before].at, at),
                    _ => prop_assert_eq!(ended.len(), before),
                }
            }
            flash.submit(Nanos(*at), *request);
        }
        while let Some(at) = flash.next_end() {
            prop_assert_eq!(flash.advance_to_end(), Some(at));
            let before = ended.len();
            flash.advance(at, &mut ended);
            prop_assert_eq!(ended[before].at, at);
        }
        prop_assert_eq!(flash.advance_to_end(), None);
        prop_assert_eq!(ended, wanted);
    }

    /// Every read ends once, in the order of time, and never sooner than its bytes can move; the link is never outrun.
    #[test]
    fn nothing_is_lost_and_nothing_is_too_fast(seed in 0u64..1000) {
        let (profile, options, reads) = scenario(seed, 300);
        let ended = run(&profile, options, &reads);
        let mut ids: Vec<u64> = ended.iter().map(|e| e.id).collect();
        ids.sort_unstable();
        prop_assert!(ids.into_iter().eq(0..300));
        prop_assert!(ended.windows(2).all(|w| w[0].at <= w[1].at));
        let mut moved = 0.0;
        for end in &ended {
            let (at, request) = reads[end.id as usize];
            let bytes = match end.outcome {
                Outcome::Whole | Outcome::Corrupt => f64::from(request.len),
                Outcome::Short(came) => f64::from(came),
                Outcome::Failed(_) => 0.0,
            };
            moved += bytes;
            prop_assert!((end.at.0 - at) as f64 / 1e9 >= bytes / profile.stream_bytes_s);
            prop_assert!(end.at.as_secs_f64() >= moved / profile.link_bytes_s);
        }
    }
}
