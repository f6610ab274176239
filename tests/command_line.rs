//! The program as its users run it: answers, machine-readable output, exit codes, and the ceiling on the whole process.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn forebay(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.args(args).env_remove("FOREBAY_LOG").stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A small model with made-up weights.
fn fixture(name: &str) -> String {
    format!("{}/tests/golden/arch/{name}.gguf", env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn fails(args: &[&str], code: i32, message: &str) {
    let output = forebay(args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    assert!(stderr.contains(message), "{args:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{args:?}: an error leaves standard output empty");
}

#[test]
fn synth_and_bench_refuse_with_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    let [there, short] = ["there.gguf", "short.txt"].map(|n| folder.path().join(n).to_str().unwrap().to_owned());
    std::fs::write(&there, b"x").unwrap();
    std::fs::write(&short, b"0").unwrap();
    fails(&["synth", "--shape", "gpt-oss-120b", &there], 2, "is there already; --force replaces it");
    assert_eq!(std::fs::read(&there).unwrap(), b"x");
    fails(&["synth", "--shape", "no-such", "x"], 2, "--shape: there is no shape 'no-such'");
    fails(&["synth", "--shape", "gpt-oss-120b", "--quant", "q9", "x"], 2, "'q9' is not among");
    fails(&["bench", &fixture("llama-gqa"), "--text", &short], 2, "are wanted");
}

#[test]
fn a_question_is_answered_sensibly() {
    if common::model("smollm2-135m-instruct").is_none() {
        return;
    }
    let output = forebay(&["run", "-p", "What is the capital of France? Answer in one sentence.", "-n", "32"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("Paris"), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "", "nothing to complain of");
}

#[test]
fn the_whole_process_stays_below_its_ceiling() {
    if common::model("smollm2-135m-instruct").is_none() {
        return;
    }
    for mib in [40u64, 56, 80] {
        let ram = format!("{mib}MiB");
        let args = ["run", "-p", "Count to twenty.", "-n", "24", "--ignore-eos", "--ram", &ram, "--json"];
        let output = forebay(&args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let peak = report["memory"]["peak_resident"].as_u64().unwrap();
        assert!(peak <= mib << 20, "{} KiB at a ceiling of {mib} MiB", peak >> 10);
        assert_eq!(report["finish"], "length");
        assert_eq!(report["tokens"].as_array().unwrap().len(), 24);
        assert!(report["flash"]["bytes_read"].as_u64().unwrap() > 0, "the model does not fit: it must be streamed");
    }
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    if common::model("smollm2-135m-instruct").is_none() {
        return;
    }
    let args =
        ["run", "-p", "What is the capital of France? Answer in one sentence.", "-n", "32", "--stop", "Par", "--json"];
    let output = forebay(&args);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["finish"], "stop");
    assert!(!report["text"].as_str().unwrap().contains("Par"));
}

#[test]
fn a_seed_repeats_itself() {
    if common::model("smollm2-135m-instruct").is_none() {
        return;
    }
    let run = |seed: &str| {
        text(&forebay(&["run", "-p", "Tell a story.", "-n", "16", "--temp", "1.5", "--seed", seed]).stdout)
    };
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn a_conversation_that_no_longer_fits_forgets_its_oldest_turns() {
    if common::model("smollm2-135m-instruct").is_none() {
        return;
    }
    let mut chat = Command::new(env!("CARGO_BIN_EXE_forebay"))
        .args(["chat", "--ctx", "96", "-n", "40"])
        .env_remove("FOREBAY_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let turns = b"Tell me about rivers, please, in many words.\nAnd lakes?\nAnd seas?\n";
    chat.stdin.take().unwrap().write_all(turns).unwrap();
    let output = chat.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("[the oldest turn is forgotten: the context has 96 tokens"));
    assert_eq!(text(&output.stdout).lines().filter(|line| !line.is_empty()).count(), 3, "an answer to each");
}

#[test]
fn what_cannot_work_is_refused_with_the_numbers() {
    if common::model("smollm2-135m-instruct").is_none() {
        return;
    }
    fails(&["run", "-p", "x", "--ram", "4MiB"], 3, "a ceiling of 4.0 MiB is too small for this model: the least is ");
    fails(&["run", "-p", "one two three", "--ctx", "2"], 3, "the context of 2 tokens is full");
    fails(&["run", "--raw", "-p", ""], 1, "the prompt is empty");
    fails(&["run", "-p", "x", "--top-p", "1.5"], 2, "top_p");
    fails(&["run", "-p", "x", "--stop", ""], 2, "--stop: ");
    fails(&["run", "-p", "x", "--page", "1TiB"], 2, "a page has 4 KiB to 64 MiB");
}

#[test]
fn bad_input_is_named() {
    fails(&["run", "no/such/model.gguf", "-p", "x"], 1, "no/such/model.gguf: no such file");
    fails(&["run", "no-such-name", "-p", "x"], 6, "there is no model 'no-such-name' to fetch; there are ");
    fails(&["run", "-p", "x", "--ram", "much"], 2, "'much' is no size");
    fails(&["run"], 2, "--prompt");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.gguf");
    std::fs::write(&path, b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff").unwrap();
    fails(&["inspect", path.to_str().unwrap()], 4, "damaged.gguf");
}

#[test]
fn a_model_that_shrinks_below_its_header_is_an_error() {
    let Some(model) = common::model("smollm2-135m-instruct") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("short.gguf");
    std::fs::copy(&model, &path).unwrap();
    let whole = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole - 1000).unwrap();
    fails(&["run", path.to_str().unwrap(), "-p", "x"], 4, "short.gguf");
}

#[test]
fn inspect_and_plan_speak_json() {
    if common::model("smollm2-135m-instruct").is_none() {
        return;
    }
    let inspected: Value = serde_json::from_slice(&forebay(&["inspect", "--json"]).stdout).unwrap();
    assert_eq!(inspected["metadata"]["general.architecture"], "llama");
    assert_eq!(inspected["tensors"].as_array().unwrap().len(), 272);
    let args = ["plan", "--ram", "64MiB", "--ctx", "256", "--no-measure", "--json"];
    let plan: Value = serde_json::from_slice(&forebay(&args).stdout).unwrap();
    let of = |key: &str| plan[key].as_u64().unwrap();
    assert_eq!(of("read_per_token"), of("streamed_bytes") - of("window"));
    let parts = [
        "process",
        "resident_vectors",
        "kv_cache",
        "recurrent_states",
        "logits",
        "activations",
        "embedding_rows",
        "page_tables",
        "reserve",
        "window",
    ];
    assert!(parts.iter().map(|p| of(p)).sum::<u64>() <= 64 << 20);
    // What the KV cache saves in 8 bits the window gets: 17 of 32 bytes are left, of a context of 256 positions. In f32 it
    // takes twice the bytes from the window.
    let with = |kv: &str| -> Value {
        serde_json::from_slice(&forebay(&[&args[..], &["--kv-type", kv]].concat()).stdout).unwrap()
    };
    let (in_8_bits, in_f32) = (with("q8_0"), with("f32"));
    assert_eq!([&plan["kv_type"], &in_8_bits["kv_type"], &in_f32["kv_type"]], ["f16", "q8_0", "f32"]);
    assert_eq!(in_8_bits["kv_cache"].as_u64().unwrap() * 32, of("kv_cache") * 17);
    assert_eq!(in_f32["kv_cache"].as_u64().unwrap(), of("kv_cache") * 2);
    assert!(in_8_bits["window"].as_u64().unwrap() > of("window"));
    assert!(in_f32["window"].as_u64().unwrap() < of("window"));
}

#[test]
fn a_prompt_cache_spares_the_prompt_and_changes_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.cache");
    let cache = file.to_str().unwrap();
    let run = |model: &str, prompt: &str, more: &[&str]| -> Value {
        let output = forebay(&[&["run", &fixture(model), "--raw", "-n", "8", "--json", "-p", prompt], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "nothing to complain of");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // A first prompt, the same, one that goes on, a part of it, another beginning like it, another model's own.
    let tokens = |prompt: &str| run("llama-gqa", prompt, &[])["prompt_tokens"].as_u64().unwrap();
    let (short, long) = (tokens("0123 4567"), tokens("0123 4567 89"));
    let steps = [
        ("0123 4567", 0, true),
        ("0123 4567", short, false),
        ("0123 4567 89", short, true),
        ("0123 4567", short - 1, false),
        ("0123 4567 89", long, false),
    ];
    for (prompt, reused, written) in steps {
        let before = std::fs::read(&file).ok();
        let with = run("llama-gqa", prompt, &["--prompt-cache", cache]);
        assert_eq!(with["prompt_reused"], reused, "{prompt}");
        assert_eq!(before != std::fs::read(&file).ok(), written, "{prompt}");
        let without = run("llama-gqa", prompt, &[]);
        assert_eq!(without["prompt_reused"], 0);
        for key in ["text", "tokens", "prompt_tokens"] {
            assert_eq!(with[key], without[key], "{prompt}: {key}");
        }
    }
    let stats = forebay(&[
        "run",
        &fixture("llama-gqa"),
        "--raw",
        "-n",
        "1",
        "-p",
        "0123 4567",
        "--stats",
        "--prompt-cache",
        cache,
    ]);
    let stderr = text(&stats.stderr);
    assert!(stderr.contains("prompt   1 tokens in "), "{stderr}");
    assert!(stderr.contains(&format!("         {} tokens from the prompt cache in ", short - 1)), "{stderr}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "no other file is left");
}

#[test]
fn a_prompt_cache_that_does_not_fit_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let cache = path("prompt.cache");
    let (llama, gemma) = (fixture("llama-gqa"), fixture("gemma3"));
    let run = |model| ["run", model, "--raw", "-n", "1", "-p", "0123", "--prompt-cache"];
    assert!(forebay(&[&run(&llama)[..], &[&cache]].concat()).status.success());
    let whole = std::fs::read(&cache).unwrap();
    let refused = |args: &[&str], code: i32, message: &str| {
        fails(args, code, message);
        assert!(!args.contains(&&cache[..]) || std::fs::read(&cache).unwrap() == whole, "it is as it was");
    };
    let of = |what: &str| format!("forebay: {cache}: {what}\n");
    refused(&[&run(&gemma)[..], &[&cache]].concat(), 4, &of("the context was saved with another model"));
    refused(
        &[&run(&llama)[..], &[&cache, "--kv-type", "q8_0"]].concat(),
        4,
        &of("the context was saved with a KV cache in f16, and this one is in q8_0"),
    );
    let damaged = path("damaged.cache");
    for (bytes, message) in [
        (&whole[..whole.len() - 1], "damaged.cache: the saved context is cut off\n"),
        (&[&whole[..whole.len() - 1], &[!whole[whole.len() - 1]]].concat(), "is damaged: its digest does not fit\n"),
        (b"some other file", "damaged.cache: this is no saved context of forebay\n"),
    ] {
        std::fs::write(&damaged, bytes).unwrap();
        refused(&[&run(&llama)[..], &[&damaged]].concat(), 4, message);
        assert_eq!(std::fs::read(&damaged).unwrap(), bytes, "it may be a file of someone else");
    }
    refused(&[&run(&llama)[..], &[&path("no/such/folder")]].concat(), 1, "no/such: ");
    refused(&[&run(&llama)[..], &[folder.path().to_str().unwrap()]].concat(), 1, ": not a file\n");
    refused(&[&run(&llama)[..], &[&cache, "--trace-out", &path("x.csv")]].concat(), 2, "cannot be used with");
    refused(&[&run(&llama)[..], &[&cache, "--ctx", "2"]].concat(), 3, "the context of 2 tokens is full: 0 are in it");
}

#[test]
fn a_prompt_cache_that_cannot_be_written_costs_no_text() {
    let folder = tempfile::tempdir().unwrap();
    // As long as a name can be: there is no longer one for the file that is not yet complete.
    let cache = folder.path().join("n".repeat(255));
    let base = ["run", &fixture("llama-gqa"), "--raw", "-n", "8", "-p", "0123"];
    let without = forebay(&base);
    let output = forebay(&[&base[..], &["--prompt-cache", cache.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, without.stdout);
    assert!(text(&output.stderr).contains("nnn: File name too long"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn the_ceiling_holds_while_a_prompt_is_saved_and_restored() {
    if common::model("smollm2-135m-instruct").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("prompt.cache");
    let prompt = "Count the stars. ".repeat(150);
    let base = ["run", "-n", "4", "--ram", "80MiB", "--json", "-p", &prompt];
    let report = |more: &[&str]| -> Value {
        let output = forebay(&[&base[..], more].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let expected = report(&[]);
    for reused in [0, expected["prompt_tokens"].as_u64().unwrap()] {
        let report = report(&["--prompt-cache", cache.to_str().unwrap()]);
        assert_eq!(report["prompt_reused"], reused);
        assert_eq!(report["tokens"], expected["tokens"]);
        let peak = report["memory"]["peak_resident"].as_u64().unwrap();
        assert!(peak <= 80 << 20, "{} KiB", peak >> 10);
    }
    // A second copy in memory would not have fitted.
    assert!(std::fs::metadata(&cache).unwrap().len() > 8 << 20);
}

#[test]
fn policies_are_compared_on_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.route.csv");
    let mut rows = String::from(
        "# route_trace v1\n# model=m arch=a n_layer=2 n_expert=4 n_expert_used=1\n# layer=0 expert_bytes=1000 dense_bytes=1\n\
         # layer=1 expert_bytes=1000 dense_bytes=1\nturn,phase,step,layer,slot,expert,weight,residency,expert_bytes\n",
    );
    for step in 0..40 {
        rows += &format!("0,1,{step},0,0,{},1,0,0\n0,1,{step},1,0,{},1,0,0\n", step % 3, step / 10);
    }
    std::fs::write(&path, &rows).unwrap();
    let trace = path.to_str().unwrap();
    let report = forebay(&["replay", trace, "--residency", "25,50", "--json"]);
    assert!(report.status.success(), "{}", text(&report.stderr));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let policies = report["sizes"][1]["policies"].as_array().unwrap();
    assert_eq!(policies.len(), 7);
    assert_eq!((policies[0]["policy"].as_str(), report["sizes"][1]["experts"].as_u64()), (Some("belady"), Some(4)));
    // Three experts of the first layer in turn and one of the second: with four kept only first uses miss.
    assert_eq!(policies[0]["decode"]["misses"], 7);
    let table = forebay(&["replay", trace, "--ram", "4000", "--policies", "forecast,lru"]);
    assert!(text(&table.stdout).contains("50.0 % of the experts in memory: 4"), "{}", text(&table.stdout));

    std::fs::write(&path, rows.replace(",39,1,0,3,", ",39,1,0,4,")).unwrap();
    fails(&["replay", trace], 4, "line 85: field 'expert' is '4'");
    fails(&["replay", trace, "--policies", "magic"], 2, "unknown policy 'magic'");
    fails(&["replay", "/nowhere.csv"], 1, "/nowhere.csv");
}
