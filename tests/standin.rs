//! A real model made into a mixture of experts whose results are known, SmolLM2: whatever the router chooses, the output is that of
//! the dense model; but the bytes of each expert differ, and mixing up the parts of two breaks it.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::path::Path;
use std::process::Command;

use common::standin::{CHOSEN, EXPERTS};
use forebay::measure;
use forebay_infer::kernels::ops::argmax;
use forebay_infer::open::{Loaded, Options, open_engine};
use forebay_prefetch::{Lookahead, PolicyKind, SchedulerOptions};
use serde_json::Value;

const STEPS: usize = 8;
/// The order of sums differs, and where it moves an activation to the next of 255 steps, logits move with it.
const TOLERANCE: f32 = 5e-2;
const PROMPT: &str = "The forebay is the small pool right in front of a turbine: a bounded window that is always full.";

/// The logits after the prompt and after each of some tokens, which are those given or else the likeliest; and these tokens.
fn run(loaded: &Loaded, options: &Options, given: Option<&[u32]>) -> (Vec<Vec<f32>>, Vec<u32>) {
    let tokens = loaded.tokenizer.encode(PROMPT, Default::default());
    let (mut engine, ..) = open_engine(&loaded.gguf, &loaded.map, options).unwrap();
    let (mut rows, mut greedy) = (vec![engine.forward(&tokens, |_| ()).unwrap().to_vec()], Vec::new());
    let _ = engine.weights_mut().scheduler_mut().take_expert_stats();
    for step in 0..STEPS {
        greedy.push(given.map_or_else(|| argmax(rows.last().unwrap()) as u32, |given| given[step]));
        rows.push(engine.forward(&greedy[greedy.len() - 1..], |_| ()).unwrap().to_vec());
    }
    let scheduler = engine.weights_mut().scheduler_mut();
    let experts = scheduler.take_expert_stats();
    eprintln!("window {:5}: {experts:?}", scheduler.pager().frames());
    if loaded.map.decoder.experts().next().is_some() {
        assert_eq!(experts.used, (STEPS * loaded.map.decoder.layers.len() * CHOSEN) as u64);
    }
    (rows, greedy)
}

/// What `run` and `plan` say of such a model; and the whole process stays below its ceiling.
fn the_command_line_tells(path: &Path, directory: &Path) {
    const MIB: u64 = 160;
    let json = |args: &[&str]| -> Value {
        let ram = format!("{MIB}MiB");
        let command = Command::new(env!("CARGO_BIN_EXE_forebay")).args(args).args(["--ram", &ram, "--json"]).output();
        let output = command.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let path = path.to_str().unwrap();
    let trace = directory.join("run.route.csv");
    let trace = trace.to_str().unwrap();
    let run = json(&["run", path, "-p", "Count to twenty.", "-n", "12", "--ignore-eos", "--trace-out", trace]);
    assert!(run["memory"]["peak_resident"].as_u64().unwrap() <= MIB << 20, "{run}");
    let experts = |key: &str| run["experts"][key].as_f64().unwrap();
    assert_eq!(experts("used_per_token"), (30 * CHOSEN) as f64);
    assert!(experts("loads_per_token") > 0.0 && experts("loads_per_token") <= experts("used_per_token"), "{run}");
    assert!(experts("stalls_per_token") > 0.0 && experts("stall_s") > 0.0, "{run}");
    let of_prompt = &run["prompt_experts"];
    let [needed, read] = ["needed", "read"].map(|key| of_prompt[key].as_u64().unwrap());
    assert!(read > 0 && read <= needed && needed <= (30 * EXPERTS) as u64, "{of_prompt}");
    assert_eq!(of_prompt["most_reads_in_a_chunk"], 1, "{of_prompt}");
    let output = Command::new(env!("CARGO_BIN_EXE_forebay")).args(["replay", trace, "--json"]).output().unwrap();
    let replay: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The last token is not fed back.
    assert_eq!(
        (replay["decode_tokens"].as_u64(), replay["prompt_tokens"].as_u64()),
        (Some(11), run["prompt_tokens"].as_u64())
    );
    assert_eq!(replay["sizes"][0]["policies"][0]["decode"]["needs"], 11 * 30 * CHOSEN);
    let plan = json(&["plan", path, "--no-measure", "--ctx", "256"]);
    let of = |key: &str| plan[key].as_u64().unwrap();
    let dense = of("weight_bytes") - of("expert_bytes");
    assert_eq!(of("streamed_bytes"), dense + of("expert_bytes") / (EXPERTS / CHOSEN) as u64);
    assert!(of("window") > dense && of("read_per_token") < of("streamed_bytes") - dense, "{plan}");
}

/// What `bench` counts: no run reads less of experts than its bound.
fn a_bound_is_below_what_is_read(standin: &Loaded) {
    const PROMPT: usize = 24;
    let lookahead = Lookahead::Off;
    let scheduler = SchedulerOptions { lookahead, ..Default::default() };
    let base = Options { scheduler, ..common::options(measure::context(PROMPT, STEPS)) };
    let (dense, experts) = standin.map.dense_and_expert_bytes();
    let [small, large] = [30, 60].map(|percent| {
        let window = (dense + experts) * percent / 100;
        let ram = measure::ceiling_for_window(&standin.map, &base, window).unwrap();
        let decoding =
            measure::decode(standin, &Options { ram, ..base }, &measure::Course::Likeliest { prompt: PROMPT }, STEPS)
                .unwrap();
        let least = decoding.least(&standin.map);
        let read = decoding.experts.bytes as f64 / STEPS as f64;
        eprintln!("{percent} %: {read:.0} bytes of experts read per token, {least:?}, {:?}", decoding.experts);
        assert_eq!(decoding.experts.used, (STEPS * 30 * CHOSEN) as u64);
        assert_eq!(least.experts_used as u64, (30 * CHOSEN) as u64 * experts / (30 * EXPERTS) as u64);
        assert!(0.0 < least.experts && least.experts <= read && read <= least.experts_used, "{least:?}, {read}");
        // What is dense stays.
        assert_eq!(least.bytes(), least.experts);
        assert!(decoding.missed() >= read, "{decoding:?}");
        (least.experts, decoding.experts.hit_rate())
    });
    assert!(large.0 < small.0 && large.1 > small.1, "{small:?}, {large:?}");
}

#[test]
fn exchangeable_experts_are_the_dense_model() {
    let Some(path) = common::model("smollm2-135m-instruct") else { return };
    let directory = tempfile::tempdir().unwrap();
    let standin = directory.path().join("standin.gguf");
    common::standin::write(&path, &standin).unwrap();
    the_command_line_tells(&standin, directory.path());
    let [dense, standin] = [&path, &standin].map(|path| Loaded::open(path).unwrap());
    a_bound_is_below_what_is_read(&standin);
    let base = common::options(64);
    let (expected, tokens) = run(&dense, &base, None);
    let (rows, _) = run(&standin, &base, Some(&tokens));
    let mut worst: f32 = 0.0;
    for (row, expected) in rows.iter().zip(&expected) {
        let (least, most) = expected.iter().fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
        let difference = row.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        worst = worst.max(difference / (most - least));
    }
    eprintln!("{worst:.1e} of the range away from the dense model");
    assert!(worst <= TOLERANCE, "{worst:.1e} of the range");

    let (dense_bytes, expert_bytes) = standin.map.dense_and_expert_bytes();
    assert!(expert_bytes > 3 * dense_bytes);
    for percent in [15, 50] {
        let window = (dense_bytes + expert_bytes) * percent / 100;
        let ram = measure::ceiling_for_window(&standin.map, &base, window).unwrap();
        for policy in [PolicyKind::Forecast, PolicyKind::Lru] {
            let scheduler = SchedulerOptions { policy, ..Default::default() };
            let (other, _) = run(&standin, &Options { ram, scheduler, ..base }, Some(&tokens));
            let bits = |rows: &[Vec<f32>]| rows.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&other) == bits(&rows), "{policy}, a window of {percent} %: other bits");
        }
    }
}
