//! What a run records of its routers, and that a replay of it decides as the run did, as far as the two can be compared: a
//! replay knows slots of experts and no time, a run pages, a queue, and what its routers say early.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use common::mixture::{LAYERS, Spec};
use forebay_infer::model::RouteRecorder;
use forebay_infer::open::{Loaded, Options, SystemEngine};
use forebay_pager::PageId;
use forebay_prefetch::experts::replay::{Budget, replay};
use forebay_prefetch::experts::trace::{Phase, Trace};
use forebay_prefetch::experts::{ExpertForecast, ExpertPolicy, ExpertPolicyKind, Learned};
use forebay_prefetch::policy::{Policy, Use};
use forebay_prefetch::{ExpertStats, Lookahead, SchedulerOptions};

const CONTEXT: usize = 128;
const PROMPT: usize = 21;
const DECODED: usize = 60;

/// Runs `engine`, and hands out what has recorded it.
fn recorded(engine: &mut SystemEngine, recorder: RouteRecorder) -> RouteRecorder {
    engine.record_routes(Some(recorder));
    let tokens: Vec<u32> = (0..(PROMPT + DECODED) as u32).map(|i| (i * 31 + i * i * 3) % 48).collect();
    engine.forward(&tokens[..PROMPT], |_| ()).unwrap();
    for &token in &tokens[PROMPT..] {
        engine.forward(&[token], |_| ()).unwrap();
    }
    engine.record_routes(None).unwrap()
}

/// A run with its trace: what it counted, and its experts in the order in which they would leave.
fn run(path: &Path, options: &Options, to: &Path) -> (ExpertStats, Vec<PageId>) {
    let (loaded, mut engine, _) = common::open(path, options);
    let out = Box::new(BufWriter::new(File::create(to).unwrap()));
    let recorder = RouteRecorder::new(&loaded.map, "made up.gguf", PROMPT, out).unwrap();
    recorded(&mut engine, recorder).finish().unwrap();
    let scheduler = engine.weights_mut().scheduler_mut();
    (scheduler.expert_stats(), scheduler.leaving_experts())
}

fn read(path: &Path) -> Trace {
    Trace::read(BufReader::new(File::open(path).unwrap())).unwrap()
}

/// Experts that the trace says were not in memory, each once for a visit; and the bytes that were read for them.
fn misses(path: &Path) -> (u64, u64) {
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let (mut seen, mut bytes) = (HashSet::new(), 0);
    for row in rows {
        let fields: Vec<&str> = row.split(',').collect();
        let pass = if fields[1] == "0" { 0 } else { fields[2].parse::<usize>().unwrap() };
        if fields[7] == "0" {
            seen.insert((pass, fields[3].to_owned(), fields[5].to_owned()));
            bytes += fields[8].parse::<u64>().unwrap();
        }
    }
    (seen.len() as u64, bytes)
}

fn options(path: &Path, window: Option<u64>, lookahead: Lookahead) -> Options {
    let scheduler = SchedulerOptions { lookahead, ..Default::default() };
    let base = Options { page_len: Some(1), chunk: Some(PROMPT), scheduler, ..common::options(CONTEXT) };
    let loaded = Loaded::open(path).unwrap();
    let ram =
        window.map_or(base.ram, |window| forebay::measure::ceiling_for_window(&loaded.map, &base, window).unwrap());
    Options { ram, ..base }
}

#[test]
fn what_is_kept_in_memory_is_what_would_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let [model, to] = ["model.gguf", "run.csv"].map(|name| directory.path().join(name));
    Spec { experts: 16, chosen: 2, ..Spec::new("qwen3moe") }.write(&model, 7);
    let options = options(&model, None, Lookahead::Off);
    run(&model, &options, &to);
    let (loaded, mut engine, _) = common::open(&model, &options);
    let recorder = RouteRecorder::in_memory(&loaded.map, "made_up.gguf", PROMPT).unwrap();
    assert_eq!(recorded(&mut engine, recorder).into_trace().unwrap(), Some(read(&to)));
}

#[test]
fn a_replay_decides_as_the_run_did() {
    let directory = tempfile::tempdir().unwrap();
    let [model, to] = ["model.gguf", "run.csv"].map(|name| directory.path().join(name));
    let spec = Spec { experts: 16, chosen: 2, ..Spec::new("qwen3moe") };
    spec.write(&model, 7);
    let map = Loaded::open(&model).unwrap().map;
    let (dense, experts) = map.dense_and_expert_bytes();

    // With everything in memory only first uses miss, in the run as in the replay.
    let (stats, _) = run(&model, &options(&model, None, Lookahead::Off), &to);
    let trace = read(&to);
    assert_eq!((trace.tokens(Phase::Prompt), trace.tokens(Phase::Decode)), (PROMPT, DECODED));
    assert_eq!((trace.header().model.as_str(), trace.header().arch.as_str()), ("made_up.gguf", "qwen3moe"));
    assert_eq!(trace.expert_bytes(1) * (LAYERS * 16) as u64, experts);
    let dense_of_layers: u64 = trace.header().sizes.iter().flatten().map(|sizes| sizes.dense).sum();
    assert!(dense_of_layers > 0 && dense_of_layers < dense, "all but the head");
    let all = Budget { capacity: trace.expert_count(), ahead: 0.0 };
    let outcome = replay(&trace, &mut *ExpertPolicyKind::Forecast.build(&trace, all.capacity, None), all);
    assert_eq!(stats.used, outcome.prompt.needs + outcome.decode.needs);
    assert_eq!(stats.loads, outcome.prompt.misses() + outcome.decode.misses());
    let bytes = outcome.prompt.demand_bytes + outcome.decode.demand_bytes;
    assert_eq!(misses(&to), (stats.loads, bytes));

    // With half of them in memory the same experts are the next to leave.
    for lookahead in [Lookahead::Off, Lookahead::Learnt] {
        let (stats, leaving) = run(&model, &options(&model, Some(dense + experts / 2), lookahead), &to);
        let trace = read(&to);
        let missed = misses(&to);
        assert_eq!((stats.used, stats.loads), (outcome.prompt.needs + outcome.decode.needs, missed.0), "{lookahead}");
        assert!(stats.loads > bytes / trace.expert_bytes(0), "{lookahead}: some are read again, {stats:?}");
        let learned = Learned::new(trace.grid(), trace.used());
        let mut policy = match lookahead {
            Lookahead::Off => ExpertForecast::new(trace.grid(), learned),
            _ => ExpertForecast::with_live_lookahead(trace.grid(), learned),
        };
        trace.visits().for_each(|routing| policy.observe(&routing));
        leaving.iter().for_each(|&expert| policy.touch(expert, 0, Use::Done));
        assert!(leaving.len() >= LAYERS * 16 / 4, "{lookahead}: {} experts in memory", leaving.len());
        let order: Vec<f64> = leaving.iter().map(|&expert| policy.next_use(expert)).collect();
        assert!(order.is_sorted_by(|a, b| a >= b), "{lookahead}: {order:?}");
        assert!(order[0] > order[order.len() - 1]);
        assert_eq!(policy.least(&|_| true).map(|e| policy.next_use(e)), Some(order[0]), "{lookahead}");
    }
}
