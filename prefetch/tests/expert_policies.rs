//! Policies for experts, on made-up routing.

mod synthetic;

use std::collections::HashMap;

use forebay_prefetch::experts::replay::{Budget, Outcome, replay};
use forebay_prefetch::experts::trace::{Header, LayerBytes, Phase, Row, Trace, TraceBuilder};
use forebay_prefetch::experts::{ExpertGrid, ExpertPolicyKind, LeastRead, least_read};
use proptest::prelude::*;

/// Percent of the experts in memory.
const SIZES: [usize; 12] = [1, 2, 4, 6, 9, 12, 18, 25, 37, 50, 65, 80];
const BASELINES: [ExpertPolicyKind; 3] = [ExpertPolicyKind::Lru, ExpertPolicyKind::Lfu, ExpertPolicyKind::Clock];

fn run(trace: &Trace, kind: ExpertPolicyKind, capacity: usize, ahead: f64) -> Outcome {
    replay(trace, &mut *kind.build(trace, capacity, None), Budget { capacity, ahead })
}

/// Below the size where nearly everything fits: strictly. Above, all policies differ by a handful of experts that come back once,
/// and which of them do is chance: within 0.2 % of the needs.
#[test]
fn the_forecast_is_never_below_lru_lfu_or_clock() {
    for recipe in &synthetic::RECIPES {
        let trace = synthetic::trace(recipe);
        for percent in SIZES {
            let capacity = trace.expert_count() * percent / 100;
            let forecast = run(&trace, ExpertPolicyKind::Forecast, capacity, 0.0).decode;
            let lookahead = run(&trace, ExpertPolicyKind::Lookahead, capacity, 1.0).decode;
            for kind in BASELINES {
                let other = run(&trace, kind, capacity, 0.0).decode;
                let chance = if percent < 30 { 0 } else { other.needs / 500 };
                let what = format!("{} at {percent} %: {kind} has {} hits", recipe.name, other.hits);
                assert!(forecast.hits + chance >= other.hits, "{what}, the forecast {}", forecast.hits);
                assert!(lookahead.hits + chance >= other.hits, "{what}, the lookahead {}", lookahead.hits);
            }
        }
    }
}

#[test]
fn only_reading_ahead_can_pass_belady() {
    for recipe in &synthetic::RECIPES {
        let trace = synthetic::trace(recipe);
        for percent in SIZES {
            let capacity = trace.expert_count() * percent / 100;
            let total = |o: Outcome| o.prompt.hits + o.decode.hits;
            let best = total(run(&trace, ExpertPolicyKind::Belady, capacity, 0.0));
            for kind in ExpertPolicyKind::ALL {
                assert!(total(run(&trace, kind, capacity, 0.0)) <= best, "{} at {percent} %: {kind}", recipe.name);
            }
        }
    }
}

/// LRU on a window below one token's needs replaces every expert before it comes round again, and hits nothing.
#[test]
fn there_is_no_cliff() {
    for recipe in &synthetic::RECIPES {
        let trace = synthetic::trace(recipe);
        let needs_of_a_token = recipe.layers * recipe.used;
        for capacity in [needs_of_a_token / 8, needs_of_a_token / 2, needs_of_a_token - 1] {
            let rate = |kind| run(&trace, kind, capacity, 0.0).decode.hit_rate();
            let (forecast, belady) = (rate(ExpertPolicyKind::Forecast), rate(ExpertPolicyKind::Belady));
            assert!(forecast > 0.4 * belady, "{}, {capacity} experts: {forecast} of {belady}", recipe.name);
            assert!(rate(ExpertPolicyKind::Lru) < forecast);
        }
    }
}

#[test]
fn what_is_counted_adds_up() {
    let trace = synthetic::trace(&synthetic::RECIPES[3]);
    let capacity = trace.expert_count() / 8;
    for (kind, ahead) in ExpertPolicyKind::ALL.into_iter().map(|kind| (kind, 1.0)) {
        let Outcome { prompt, decode } = run(&trace, kind, capacity, ahead);
        assert_eq!((prompt.tokens, decode.tokens), (30, 150));
        assert_eq!(decode.needs, 150 * 12 * 4);
        assert_eq!(prompt.hits, 0, "the prompt visits each layer once, with nothing in memory");
        assert_eq!(decode.demand_bytes, decode.misses() << 20);
        assert_eq!(decode.hint_bytes, decode.hints << 20);
        assert!(decode.used_hints <= decode.hints && decode.hints <= 150 * 12);
        assert_eq!(decode.hints > 0, kind == ExpertPolicyKind::Lookahead, "{kind}");
    }
    let everything = run(&trace, ExpertPolicyKind::Lru, trace.expert_count(), 0.0);
    assert_eq!(everything, run(&trace, ExpertPolicyKind::Forecast, trace.expert_count(), 0.0));
    assert_eq!(run(&trace, ExpertPolicyKind::Forecast, 0, 0.0).decode.hits, 0);
}

#[test]
fn a_modelled_lookahead_is_worth_its_recall() {
    let trace = synthetic::trace(&synthetic::RECIPES[0]);
    let capacity = trace.expert_count() / 8;
    let hits = |recall| {
        let mut policy = ExpertPolicyKind::Lookahead.build(&trace, capacity, Some(recall));
        replay(&trace, &mut *policy, Budget { capacity, ahead: 4.0 }).decode.hit_rate()
    };
    let rates = [0.5, 0.8, 1.0].map(hits);
    assert!(rates.is_sorted(), "{rates:?}");
    assert!(rates[2] > 0.9, "all is named, and there is time for all of it: {rates:?}");
}

/// The most hits that any choice of what to keep can have: all of them are tried.
fn most_hits(trace: &Trace, capacity: usize) -> u64 {
    let mut caches = HashMap::from([(0u32, 0u64)]);
    for routing in trace.visits() {
        let needed = routing
            .choices
            .iter()
            .fold(0u32, |set, choice| set | 1 << trace.grid().page(routing.layer, choice.expert as usize).index());
        let mut after: HashMap<u32, u64> = HashMap::new();
        for (cache, hits) in caches {
            let hits = hits + u64::from((cache & needed).count_ones());
            let all = cache | needed;
            let mut kept = all;
            loop {
                if kept.count_ones() as usize <= capacity {
                    let best = after.entry(kept).or_default();
                    *best = hits.max(*best);
                }
                if kept == 0 {
                    break;
                }
                kept = (kept - 1) & all;
            }
        }
        caches = after;
    }
    caches.into_values().max().unwrap_or(0)
}

/// Two layers of four experts, of which each token chooses up to two; a prompt of two tokens first.
fn tiny(choices: &[(u32, u32)]) -> Trace {
    let mut builder = TraceBuilder::new(synthetic::header(2, 4, 2)).unwrap();
    let mut push = |phase, step: usize, layer: u32, (a, b): (u32, u32)| {
        for (slot, expert) in [a].into_iter().chain((a != b).then_some(b)).enumerate() {
            let (step, slot) = (step as u32, slot as u32);
            builder
                .push(Row { turn: 0, phase, step, layer, slot, expert, weight: 0.5, resident: false, read: 0 })
                .unwrap();
        }
    };
    for (i, &pair) in choices.iter().enumerate().take(4) {
        push(Phase::Prompt, i % 2, i as u32 / 2, pair);
    }
    for (i, &pair) in choices.iter().enumerate().skip(4) {
        push(Phase::Decode, i / 2, i as u32 % 2, pair);
    }
    builder.finish().unwrap()
}

proptest! {
    #[test]
    fn belady_is_the_optimum(choices in prop::collection::vec((0u32..4, 0u32..4), 4..24), capacity in 0usize..8) {
        let trace = tiny(&choices);
        let outcome = run(&trace, ExpertPolicyKind::Belady, capacity, 0.0);
        prop_assert_eq!(outcome.prompt.hits + outcome.decode.hits, most_hits(&trace, capacity));
    }

    #[test]
    fn the_least_read_is_the_least(
        choices in prop::collection::vec((0u32..3, 0u32..3), 4..14),
        memory in 0usize..10,
        first in 0usize..5,
    ) {
        let trace = unequal(&choices);
        let first = first.min(trace.visits().len());
        let least = least_read(&trace, memory as u64, first);
        prop_assert_eq!(least.needed - least.read, most_kept(&trace, memory, first));
    }
}

#[test]
fn the_least_read_is_what_belady_misses_from_a_cold_start() {
    for recipe in &synthetic::RECIPES {
        let trace = synthetic::trace(recipe);
        for percent in SIZES {
            let capacity = trace.expert_count() * percent / 100;
            let Outcome { prompt, decode } = run(&trace, ExpertPolicyKind::Belady, capacity, 0.0);
            let memory = capacity as u64 * trace.largest_expert();
            let bytes = |experts| experts * trace.largest_expert();
            let expected = LeastRead {
                needed: bytes(prompt.needs + decode.needs),
                read: bytes(prompt.misses() + decode.misses()),
            };
            assert_eq!(least_read(&trace, memory, 0), expected, "{} at {percent} %", recipe.name);
            // Warm, and counted from the middle, it is no more than the same counts there.
            let visits = trace.visits().len() - recipe.layers * recipe.decode as usize;
            assert!(least_read(&trace, memory, visits).read <= bytes(decode.misses()));
        }
    }
}

/// Two layers of three experts; those of the second are twice as large, in units of a byte.
fn unequal(choices: &[(u32, u32)]) -> Trace {
    let sizes = [1, 2].map(|expert| Some(LayerBytes { expert, dense: 1 })).to_vec();
    let grid = ExpertGrid { layers: 2, experts: 3 };
    let header = Header { model: "made-up".into(), arch: "none".into(), grid, used: 2, sizes };
    let mut builder = TraceBuilder::new(header).unwrap();
    for (i, &(a, b)) in choices.iter().enumerate() {
        for (slot, expert) in [a].into_iter().chain((a != b).then_some(b)).enumerate() {
            let (step, layer, slot) = (i as u32 / 2, i as u32 % 2, slot as u32);
            let phase = Phase::Decode;
            builder
                .push(Row { turn: 0, phase, step, layer, slot, expert, weight: 0.5, resident: false, read: 0 })
                .unwrap();
        }
    }
    builder.finish().unwrap()
}

/// The most bytes that need not be read, whatever bytes of [`unequal`] experts are kept: all sets of them are tried, each byte by
/// itself, and before visit `first` any bytes that came up may be there.
fn most_kept(trace: &Trace, memory: usize, first: usize) -> u64 {
    const BYTES: [[u32; 3]; 2] = [[1, 2, 4], [0b11 << 3, 0b11 << 5, 0b11 << 7]];
    const SETS: usize = 1 << 9;
    let needed = |visit: usize| {
        let routing = trace.visit(visit).unwrap();
        routing.choices.iter().fold(0, |set, choice| set | BYTES[routing.layer][choice.expert as usize])
    };
    let fits = |set: u32| set.count_ones() as usize <= memory;
    let seen = (0..first).fold(0, |set, visit| set | needed(visit));
    let start = |set: u32| (set & !seen == 0 && fits(set)).then_some(0);
    let mut best: Vec<Option<u64>> = (0..SETS as u32).map(start).collect();
    for visit in first..trace.visits().len() {
        let needed = needed(visit);
        let mut after = vec![None; SETS];
        for (set, kept) in (0..SETS as u32).zip(&best).filter_map(|(set, kept)| Some((set, (*kept)?))) {
            let kept = kept + u64::from((set & needed).count_ones());
            let all = set | needed;
            let subsets = (0..=all).filter(|&subset| subset & !all == 0 && fits(subset));
            subsets.for_each(|subset| after[subset as usize] = after[subset as usize].max(Some(kept)));
        }
        best = after;
    }
    best.into_iter().flatten().max().unwrap_or(0)
}
