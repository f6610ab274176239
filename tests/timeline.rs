//! Timelines of real runs: nothing is computed or decided otherwise, and they tell what the pager counted.
#![allow(clippy::disallowed_methods)] // Tests open files.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use forebay::simulate::simulate;
use forebay::timeline::{MOST_EVENTS, Run, capacity, of_engine, of_simulation};
use forebay_infer::open::{Loaded, Options};
use forebay_pager::{Event, Journal};
use forebay_simulator::Case;
use forebay_simulator::timeline::{self, ClockKind, Figures, Phase};

const CONFIG: &str = r#"{ "model_type": "qwen3_moe", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
    "vocab_size": 600, "rms_norm_eps": 1e-6, "max_position_embeddings": 4096, "num_key_value_heads": 2, "head_dim": 64,
    "num_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 512 }"#;
const CONTEXT: usize = 48;
const PROMPT: usize = 5;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn forebay(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_forebay")).args(args).env_remove("FOREBAY_LOG").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A prompt, then greedy tokens. Returns the bits of all logits.
fn run(engine: &mut forebay_infer::open::SystemEngine, tokens: usize) -> Vec<u32> {
    let mut next: Vec<u32> = (1..=PROMPT as u32).collect();
    let mut bits = Vec::new();
    for _ in 0..=tokens {
        let logits = engine.forward(&next, |_| ()).unwrap();
        bits.extend(logits.iter().map(|x| x.to_bits()));
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
        next = vec![best.0 as u32];
    }
    bits
}

#[test]
fn a_timeline_tells_what_the_pager_counted() {
    for name in ["arch/quantized-q8-0.gguf", "experts/qwen3moe.gguf", "experts/qwen3next.gguf"] {
        let path = golden(name);
        let options = Options { page_len: Some(4096), ..common::floor(&path, &common::options(CONTEXT)) };
        let (_, mut engine, _) = common::open(&path, &options);
        let without = run(&mut engine, 20);

        let (loaded, mut engine, budget) = common::open(&path, &options);
        let begin = engine.now();
        engine.weights_mut().scheduler_mut().pager_mut().keep_journal(Some(Journal::new(MOST_EVENTS)));
        assert_eq!(run(&mut engine, 20), without, "{name}");
        let pager = engine.weights_mut().scheduler_mut().pager_mut();
        let journal = pager.keep_journal(None).unwrap();
        let stats = pager.take_stats();

        let about =
            Run { model: name, flash: "a file", clock: ClockKind::System, budget: &budget, prompt_tokens: PROMPT };
        let line = of_engine(about, &loaded.map, &engine, &journal, begin);
        assert_eq!(line.check(), Ok(()));
        let mut file = Vec::new();
        timeline::write(&line, &mut file).unwrap();
        assert_eq!(timeline::read(&file[..]).unwrap(), line);

        let count = |of: fn(&Event) -> bool| line.events.iter().filter(|entry| of(&entry.event)).count() as u64;
        assert_eq!(count(|event| matches!(event, Event::Arrived { .. })), stats.reads - stats.gathered, "{name}");
        assert_eq!(count(|event| matches!(event, Event::Evicted { .. })), stats.evictions, "{name}");
        // As if all of it had been decoded, so that the sums are of the whole run.
        let whole = timeline::Timeline { facts: timeline::Facts { prompt_tokens: 0, ..line.facts.clone() }, ..line };
        let f = Figures::of(&whole).unwrap();
        assert_eq!(f.phase, Phase::Decode);
        assert_eq!(f.passes.iter().map(|pass| pass.tokens).sum::<u32>(), PROMPT as u32 + 20);
        assert_eq!(f.hints.read, stats.hints, "{name}");
        assert_eq!(f.hints.wasted, stats.hints_wasted, "{name}");
        let stall = stats.stall.as_secs_f64();
        // The clock is read once more for the journal.
        assert!((f.rate.stall_s - stall).abs() < 1e-3 + 0.05 * stall, "{name}: {} and {stall}", f.rate.stall_s);
        assert!(f.rate.reads > 0 && f.uses.all() > 0, "{name}");
    }
}

#[test]
fn a_journal_is_no_longer_than_the_ceiling_allows_and_long_enough() {
    let path = golden("experts/qwen3moe.gguf");
    let map = Loaded::open(&path).unwrap().map;
    let large = 64 << 30;
    assert!(capacity(&map, 0, 1, None, large) > map.steps.len());
    assert!(capacity(&map, 100, 100, None, large) > capacity(&map, 0, 100, None, large));
    assert_eq!(capacity(&map, 0, 1 << 40, None, large), MOST_EVENTS);
    let ceiling = 16 << 20;
    assert!(Journal::bytes(capacity(&map, 0, 1 << 40, Some(4096), ceiling)) as u64 <= ceiling / 16);
}

#[test]
fn a_run_writes_its_timeline_and_a_report_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (line, page, model) = (path("run.json"), path("page.html"), golden("experts/qwen3moe.gguf"));
    let prompt = ["run", model.to_str().unwrap(), "--raw", "-p", "0123", "-n", "6", "--ignore-eos", "--ram", "64MiB"];
    let plain = forebay(&prompt);
    let traced = forebay(&[&prompt[..], &["--timeline", &line]].concat());
    assert!(traced.status.success(), "{}", text(&traced.stderr));
    assert_eq!((&traced.stdout, &traced.stderr), (&plain.stdout, &plain.stderr));

    let figures = forebay(&["report", &line, "--json"]);
    let figures: serde_json::Value = serde_json::from_slice(&figures.stdout).unwrap();
    assert_eq!((&figures["facts"]["model"], &figures["rate"]["tokens"]), (&"qwen3moe.gguf".into(), &5.into()));
    let output = forebay(&["report", &line, "-o", &page]);
    assert!(output.status.success() && output.stdout.is_empty(), "{}", text(&output.stderr));
    assert!(std::fs::read_to_string(&page).unwrap().contains("<h1>qwen3moe.gguf</h1>"));
    assert!(forebay(&["report", &line]).status.success());
    assert!(folder.path().join("run.html").exists(), "beside the timeline, where no other place is named");

    let fails = |args: &[&str], code: i32, message: &str| {
        let output = forebay(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(message), "{args:?}: {}", text(&output.stderr));
    };
    let whole = std::fs::read(&line).unwrap();
    std::fs::write(&page, &whole[..whole.len() / 2]).unwrap();
    fails(&["report", &page], 4, "page.html: the timeline ends too early, or is not all there: EOF while parsing");
    fails(&["report", model.to_str().unwrap()], 4, "this is no JSON: expected value at line 1 column 1");
    fails(&["report", &path("none.json")], 1, "none.json: No such file");
    fails(&["report", &line, "-o", &line], 2, "the page would replace the timeline");
    fails(&["report", &line, "-o", &path("no/page.html")], 1, "no/page.html: No such file");
    let nowhere = path("no/run.json");
    fails(&[&prompt[..], &["--timeline", &nowhere]].concat(), 1, "no/run.json: No such file");
}

#[test]
fn a_simulated_run_has_a_timeline_of_the_same_kind() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(&config, CONFIG).unwrap();
    let case = Case::new("oneplus-15r", config.to_str().unwrap());
    let case = Case { tokens: 6, prompt: 5, ram: Some("64MiB".parse().unwrap()), ..case };
    let simulation = simulate(&case, MOST_EVENTS).unwrap();
    let line = of_simulation(&case, &simulation).unwrap();
    assert_eq!(line.check(), Ok(()));
    let f = Figures::of(&line).unwrap();
    assert_eq!((f.phase, f.rate.tokens, f.experts), (Phase::Decode, 6, 16));
    assert_eq!(f.facts.clock, ClockKind::Virtual);
    let run = simulation.nominal.as_ref().unwrap();
    let seconds = |time: forebay_pager::Nanos| time.as_secs_f64();
    assert_eq!((f.rate.time_s, f.first_token_s), (seconds(run.decode), Some(seconds(run.prompt))));
    assert_eq!(f.rate.stall_s, seconds(run.stats.stall), "virtual clocks do not go on by themselves");
    assert_eq!(f.rate.reads, run.stats.reads - run.stats.gathered);
    assert!(of_simulation(&case, &simulate(&case, 0).unwrap()).is_none(), "nothing was kept");
}
