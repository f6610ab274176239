//! The names of a plan's steps, against the names of the tensors that each step multiplies.
#![allow(clippy::disallowed_methods)] // Tests open files.

use std::path::{Path, PathBuf};

use forebay_infer::gguf;
use forebay_infer::model::{Matrix, ModelMap, step_names};
use forebay_prefetch::StepKind;

fn map(path: &Path) -> ModelMap {
    ModelMap::new(&gguf::Model::open(path).unwrap()).unwrap()
}

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder)
}

/// What the tensors of a step are there for, by what files call them.
fn kind_of(matrix: &Matrix) -> StepKind {
    let part = matrix.name.splitn(3, '.').nth(2).unwrap_or("");
    match part.trim_end_matches(".weight") {
        "ssm_ba" | "ssm_beta" | "ssm_alpha" | "ssm_out" | "attn_gate" => StepKind::Recurrence,
        "ffn_gate_inp" => StepKind::Router,
        shared if shared.ends_with("_shexp") => StepKind::Shared,
        experts if experts.ends_with("_exps") => StepKind::Experts,
        ffn if ffn.starts_with("ffn_") => StepKind::FeedForward,
        attention if attention.starts_with("attn_") => StepKind::Attention,
        _ => StepKind::Head,
    }
}

#[test]
fn every_step_of_every_architecture_is_named_for_its_tensors() {
    let mut seen = Vec::new();
    for folder in ["arch", "experts"] {
        let files = std::fs::read_dir(golden(folder)).unwrap().map(|entry| entry.unwrap().path());
        for path in files.filter(|path| path.extension().is_some_and(|e| e == "gguf")) {
            let Ok(map) = gguf::Model::open(&path).map_err(drop).and_then(|m| ModelMap::new(&m).map_err(drop)) else {
                continue; // Made to be refused.
            };
            let names = step_names(&map);
            assert_eq!(names.len(), map.steps.len(), "{}", path.display());
            for ((step, matrices), name) in map.matrices_by_step().zip(&names) {
                let about = || format!("{}: {name}: {matrices:?}", path.display());
                assert_eq!(step.chosen.is_some(), name.kind == StepKind::Experts, "{}", about());
                let layer = matrices[0].name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
                assert_eq!(name.layer, layer, "{}", about());
                // The queries, keys and values of a recurrence are called as those of attention: its other tensors tell.
                let kinds: Vec<StepKind> = matrices.iter().map(kind_of).collect();
                assert!(kinds.contains(&name.kind), "{}", about());
                seen.push(name.kind);
            }
        }
    }
    assert!(StepKind::ALL.iter().all(|kind| seen.contains(kind)));
}

#[test]
fn the_steps_of_a_layer_by_name() {
    let names = |folder: &str, file: &str| -> Vec<String> {
        step_names(&map(&golden(folder).join(file))).iter().map(ToString::to_string).collect()
    };
    let llama = names("arch", "llama-gqa.gguf");
    assert_eq!(llama[..2], ["layer 0 attention qkv", "layer 0 attention output"]);
    assert_eq!(llama[2..4], ["layer 0 feed-forward gate and up", "layer 0 feed-forward down"]);
    assert_eq!(llama.last().unwrap(), "head");
    let mixture = names("experts", "qwen2moe.gguf");
    let channel = ["router", "shared gate and up", "shared down", "experts"].map(|part| format!("layer 0 {part}"));
    assert_eq!(mixture[2..6], channel);
    let recurrent = names("experts", "qwen3next.gguf");
    assert_eq!(recurrent[..2], ["layer 0 recurrence input", "layer 0 recurrence output"]);
    assert!(recurrent.iter().any(|name| name == "layer 3 attention qkv"), "{recurrent:?}");
    let latent = names("experts", "deepseek2-v2.gguf");
    let parts = ["latent", "query", "keys", "values", "output"].map(|part| format!("layer 0 attention {part}"));
    assert_eq!(latent[..5], parts);
}
