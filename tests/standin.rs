//! A real model made into a mixture of experts whose results are known: each layer of SmolLM2 gets 8 experts, each the layer's
//! feed-forward block with its neurons in another order. Whatever the router chooses, the output is that of the dense model;
//! but the bytes of each expert differ, and mixing up the parts of two breaks it.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use forebay_infer::gguf::write::Writer;
use forebay_infer::gguf::{Model, Tensor, TensorType};
use forebay_infer::kernels::ops::argmax;
use forebay_infer::open::{Loaded, Options, open_engine};
use forebay_prefetch::{PolicyKind, SchedulerOptions};
use serde_json::Value;

const EXPERTS: usize = 8;
const CHOSEN: usize = 2;
const STEPS: usize = 8;
/// The order of sums differs, and where it moves an activation to the next of 255 steps, logits move with it.
const TOLERANCE: f32 = 5e-2;
const PROMPT: &str = "The forebay is the small pool right in front of a turbine: a bounded window that is always full.";

/// The order of `units` things in expert `expert`: the first one's is as it was.
fn order(units: usize, expert: usize) -> impl Iterator<Item = usize> {
    // Steps that are prime to the number of units go through all of them.
    let step =
        (1..).map(|i| 2 * i * expert + 1).find(|s| (2..=*s).all(|d| s % d != 0 || !units.is_multiple_of(d))).unwrap();
    (0..units).map(move |i| (i * step + expert) % units)
}

/// The matrices of all experts made of a dense one, whose neurons are its rows, or its columns in `down`.
fn exchange(tensor: &Tensor, bytes: &[u8]) -> Vec<u8> {
    let (row, rows) = (tensor.row_bytes(), tensor.rows());
    let unit = tensor.ty.block_len().max(32);
    let mut out = Vec::with_capacity(EXPERTS * bytes.len());
    for expert in 0..EXPERTS {
        if tensor.name.contains("ffn_down") {
            let unit_bytes = unit / tensor.ty.block_len() * tensor.ty.block_bytes();
            for row in bytes.chunks_exact(row) {
                order(tensor.cols() / unit, expert)
                    .for_each(|i| out.extend_from_slice(&row[i * unit_bytes..][..unit_bytes]));
            }
        } else {
            order(rows / unit, expert).for_each(|i| out.extend_from_slice(&bytes[i * unit * row..][..unit * row]));
        }
    }
    out
}

fn write(dense: &Path, to: &Path) {
    let (model, bytes) = (Model::open(dense).unwrap(), std::fs::read(dense).unwrap());
    let mut writer = Writer::new();
    for (key, value) in model.metadata.iter() {
        writer.value(key, value).unwrap();
    }
    writer.scalar("llama.expert_count", EXPERTS as u32).scalar("llama.expert_used_count", CHOSEN as u32);
    let is_block = |t: &Tensor| ["ffn_gate.", "ffn_up.", "ffn_down."].iter().any(|part| t.name.contains(part));
    let dim = model.metadata.u64("llama.embedding_length").unwrap();
    let gates: Vec<&Tensor> = model.tensors.iter().filter(|t| t.name.contains("ffn_gate.")).collect();
    for tensor in &model.tensors {
        let (mut name, mut dims) = (tensor.name.clone(), tensor.dims.clone());
        if is_block(tensor) {
            name = name.replace(".weight", "_exps.weight");
            dims.push(EXPERTS as u64);
        }
        writer.tensor(&name, tensor.ty, &dims);
    }
    for gate in &gates {
        writer.tensor(&gate.name.replace("ffn_gate.", "ffn_gate_inp."), TensorType::F32, &[dim, EXPERTS as u64]);
    }
    let mut body = writer.begin(BufWriter::new(std::fs::File::create(to).unwrap())).unwrap();
    for tensor in &model.tensors {
        let data = &bytes[tensor.offset as usize..tensor.end() as usize];
        if is_block(tensor) { body.data(&exchange(tensor, data)).unwrap() } else { body.data(data).unwrap() }
    }
    for layer in 0..gates.len() {
        let weight = |i: u64| ((i * 7919 + layer as u64 * 104_729) % 1009) as f32 / 1009.0 - 0.5;
        let router: Vec<u8> = (0..dim * EXPERTS as u64).flat_map(|i| weight(i).to_le_bytes()).collect();
        body.data(&router).unwrap();
    }
    body.finish().unwrap();
}

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

#[test]
fn exchangeable_experts_are_the_dense_model() {
    let Some(path) = common::model("smollm2-135m-instruct") else { return };
    let directory = tempfile::tempdir().unwrap();
    let standin = directory.path().join("standin.gguf");
    write(&path, &standin);
    the_command_line_tells(&standin, directory.path());
    let [dense, standin] = [&path, &standin].map(|path| Loaded::open(path).unwrap());
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
        let ram = forebay::measure::ceiling_for_window(&standin, &base, window).unwrap();
        for policy in [PolicyKind::Forecast, PolicyKind::Lru] {
            let scheduler = SchedulerOptions { policy, ..Default::default() };
            let (other, _) = run(&standin, &Options { ram, scheduler, ..base }, Some(&tokens));
            let bits = |rows: &[Vec<f32>]| rows.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&other) == bits(&rows), "{policy}, a window of {percent} %: other bits");
        }
    }
}
