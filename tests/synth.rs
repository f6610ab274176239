//! Synthesised models: every shape is one that the architectures accept, and small ones of each kind run, whether their experts
//! have bytes of their own or share them.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use forebay_infer::gguf::write::Writer;
use forebay_infer::gguf::{Model, TensorType};
use forebay_infer::kernels::Isa;
use forebay_infer::kernels::ops::argmax;
use forebay_infer::model::ModelMap;
use forebay_infer::open::{Options, divide};
use forebay_infer::synth::routing::{REFERENCE, Spread};
use forebay_infer::synth::{Config, SHAPES, Synthesis};

/// Small models of every kind.
const SMALL: [(&str, &str); 5] = [
    (
        "qwen3_5_moe",
        r#""num_key_value_heads": 2, "head_dim": 64, "linear_key_head_dim": 32, "linear_num_key_heads": 2,
        "linear_value_head_dim": 32, "linear_num_value_heads": 4, "linear_conv_kernel_dim": 4, "full_attention_interval": 2,
        "num_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 256, "shared_expert_intermediate_size": 256,
        "rope_parameters": { "rope_theta": 1e6, "partial_rotary_factor": 0.25 }"#,
    ),
    (
        "qwen3_moe",
        r#""num_key_value_heads": 2, "head_dim": 64, "num_experts": 16, "num_experts_per_tok": 3, "moe_intermediate_size": 256"#,
    ),
    (
        "deepseek_v3",
        r#""q_lora_rank": 64, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "v_head_dim": 32,
        "n_routed_experts": 16, "num_experts_per_tok": 3, "n_shared_experts": 1, "moe_intermediate_size": 256,
        "intermediate_size": 512, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5,
        "rope_scaling": { "type": "yarn", "factor": 4, "original_max_position_embeddings": 1024, "mscale_all_dim": 1.0 }"#,
    ),
    (
        "gpt_oss",
        r#""num_key_value_heads": 2, "head_dim": 64, "num_local_experts": 16, "num_experts_per_tok": 3, "intermediate_size": 256,
        "sliding_window": 8"#,
    ),
    ("llama", r#""num_key_value_heads": 2, "intermediate_size": 512"#),
];
const CONTEXT: usize = 64;

fn config(kind: &str, rest: &str) -> Config {
    let json = format!(
        r#"{{ "model_type": "{kind}", "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 600,
        "rms_norm_eps": 1e-6, "max_position_embeddings": 4096, {rest} }}"#
    );
    Config::from_json(&json).unwrap()
}

fn write(synthesis: &Synthesis, path: &Path) {
    let mut told = 0;
    synthesis.write(BufWriter::new(File::create(path).unwrap()), |done| told = done).unwrap();
    assert!(told > 0);
}

/// The tokens after <|300|>, always the likeliest, and the logits of the last.
fn walk(path: &Path, options: &Options) -> (Vec<usize>, Vec<f32>) {
    let (loaded, mut engine, _) = common::open(path, options);
    let mut tokens = loaded.tokenizer.encode("<|300|>", Default::default());
    assert_eq!(tokens, [300]);
    let mut walked = Vec::new();
    let mut logits = Vec::new();
    for _ in 0..12 {
        logits = engine.forward(&tokens, |_| ()).unwrap().to_vec();
        walked.push(argmax(&logits));
        tokens = vec![*walked.last().unwrap() as u32];
    }
    (walked, logits)
}

#[test]
fn small_models_walk_through_their_vocabulary_in_any_window() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, rest) in SMALL {
        let path = directory.path().join(format!("{kind}.gguf"));
        write(&Synthesis::new(&config(kind, rest), TensorType::Q4_K, 1 << 30, 7, kind).unwrap(), &path);
        assert_eq!(Model::open(&path).unwrap().pool, None);
        let (walked, logits) = walk(&path, &common::options(CONTEXT));
        assert_eq!(walked, (301..313).collect::<Vec<_>>(), "{kind}");
        let floor = common::floor(&path, &common::options(CONTEXT));
        assert!(walk(&path, &floor).1.iter().zip(&logits).all(|(a, b)| a.to_bits() == b.to_bits()), "{kind}");
    }
}

#[test]
fn tensors_that_share_their_bytes_are_read_as_if_they_had_their_own() {
    let directory = tempfile::tempdir().unwrap();
    for (kind, rest) in SMALL {
        let (whole, path) = (directory.path().join("whole.gguf"), directory.path().join("shared.gguf"));
        let synthesis = |disk| Synthesis::new(&config(kind, rest), TensorType::Q4_0, disk, 7, kind);
        let too_small = synthesis(1).unwrap_err().to_string();
        assert!(too_small.contains("bytes are too few"), "{too_small}");
        write(&synthesis(1 << 30).unwrap(), &whole);
        let all = Model::open(&whole).unwrap();
        let mine = |name: &str| name.contains("_exps.weight") || (kind == "llama" && name.contains("blk."));
        let sharing = all.tensors.iter().filter(|t| mine(&t.name) && t.rows() > 1);
        let (count, bytes) = sharing.fold((0, 0), |(count, bytes), t| (count + 1, bytes + t.bytes));
        // A third of what they take, beside what has bytes of its own and what is set aside for the header.
        let synthesis = synthesis(all.total_bytes() - bytes + bytes / 3 + (64 << 20) + (64 << 10)).unwrap();
        write(&synthesis, &path);
        let model = Model::open(&path).unwrap();
        let pool = model.pool.unwrap();
        assert_eq!(Some(pool.bytes), synthesis.pool_bytes(), "{kind}");
        assert_eq!(model.tensors.iter().filter(|t| pool.holds(t)).count(), count, "{kind}");
        assert_eq!(model.tensors.len(), all.tensors.len(), "{kind}");
        assert!(model.file_len(0).unwrap() < all.file_len(0).unwrap(), "{kind}");
        let (_, logits) = walk(&path, &common::options(CONTEXT));
        assert!(logits.iter().all(|x| x.is_finite()), "{kind}");
        let floor = common::floor(&path, &common::options(CONTEXT));
        assert!(walk(&path, &floor).1.iter().zip(&logits).all(|(a, b)| a.to_bits() == b.to_bits()), "{kind}");
    }
}

/// The header alone, in a file as long as the model: its data is a hole.
fn header(synthesis: &Synthesis, path: &Path) -> Model {
    let mut file = File::create(path).unwrap();
    drop(synthesis.header().begin(&mut file).unwrap());
    file.flush().unwrap();
    file.set_len(synthesis.file_bytes() + (64 << 20)).unwrap();
    Model::open(path).unwrap()
}

#[test]
fn the_shapes_are_models_of_the_size_that_their_names_say() {
    let directory = tempfile::tempdir().unwrap();
    let billions = [396.0, 235.0, 671.0, 116.8, 405.8];
    for ((name, json), billions) in SHAPES.into_iter().zip(billions) {
        let config = Config::from_json(json).unwrap();
        let synthesis = Synthesis::new(&config, TensorType::Q4_K, 48 << 30, 0, name).unwrap();
        let model = header(&synthesis, &directory.path().join(name));
        assert!(synthesis.tensor_bytes() > 48 << 30 && synthesis.pool_bytes().is_some(), "{name}");
        let elements: f64 = model.tensors.iter().map(|t| t.dims.iter().product::<u64>() as f64).sum();
        assert!((elements / 1e9 / billions - 1.0).abs() < 0.01, "{name}: {elements:e}");
        let map = ModelMap::new(&model).unwrap();
        assert_eq!(map.decoder.layers.len() as u64, config.num_hidden_layers, "{name}");
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
}

/// A form of activations for each head is as wide as what a head is multiplied with, not as the model.
#[test]
fn what_heads_have_for_inputs_does_not_grow_with_the_model() {
    let directory = tempfile::tempdir().unwrap();
    let (kind, rest) = SMALL[2];
    for ty in [TensorType::Q4_K, TensorType::Q4_0, TensorType::F16] {
        let per_token = |dim: u64, heads: u64| {
            let json = format!(
                r#"{{ "model_type": "{kind}", "hidden_size": {dim}, "num_hidden_layers": 2, "num_attention_heads": {heads},
                "vocab_size": 600, "rms_norm_eps": 1e-6, "max_position_embeddings": 4096, {rest} }}"#
            );
            let synthesis = Synthesis::new(&Config::from_json(&json).unwrap(), ty, 1 << 30, 7, kind).unwrap();
            let path = directory.path().join("header.gguf");
            let map = ModelMap::new(&header(&synthesis, &path)).unwrap();
            let mut options = common::options(CONTEXT);
            options.isa = Isa::Portable;
            divide(&map, &options).unwrap().needs.activations_per_token
        };
        // What one input and those of the heads take is shared, so it may grow less with more heads.
        let growth = |heads: u64| per_token(4096, heads) - per_token(2048, heads);
        assert!(growth(32) <= growth(4), "{ty}: {} and {}", growth(32), growth(4));
        assert!(per_token(2048, 32) > per_token(2048, 4), "{ty}: but each head has some");
    }
}

#[test]
fn routing_is_like_what_was_recorded() {
    let (name, json) = SHAPES[1];
    let json = json.replace("\"num_experts_per_tok\": 8", "\"num_experts_per_tok\": 6");
    let synthesis = Synthesis::new(&Config::from_json(&json).unwrap(), TensorType::Q4_0, 48 << 30, 3, name).unwrap();
    let drawn = synthesis.routing();
    let mean = |of: fn(&Spread) -> f64| drawn.iter().map(|d| of(&d.spread)).sum::<f64>() / drawn.len() as f64;
    let near = |of: fn(&Spread) -> f64| (mean(of) - of(&REFERENCE)).abs() < 0.1;
    assert!(
        near(|s| s.before) && near(|s| s.long_before) && near(|s| s.top_eighth) && near(|s| s.touched),
        "{drawn:?} beside {REFERENCE:?}"
    );
}

#[test]
fn tensors_that_begin_at_the_same_byte_are_not_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let [whole, path] = ["whole.gguf", "same.gguf"].map(|name| directory.path().join(name));
    let (kind, rest) = SMALL[1];
    write(&Synthesis::new(&config(kind, rest), TensorType::Q8_0, 1 << 30, 7, kind).unwrap(), &whole);
    let (model, bytes) = (Model::open(&whole).unwrap(), std::fs::read(&whole).unwrap());
    // A pool of everything, in which the embedding begins where a matrix of fewer rows does.
    let start = model.tensors.iter().map(|t| t.offset).min().unwrap();
    let longest = model.tensors.iter().map(|t| t.bytes).max().unwrap();
    let mut writer = Writer::new();
    model.metadata.iter().for_each(|(key, value)| {
        writer.value(key, value).unwrap();
    });
    writer.pool(bytes.len() as u64 - start + longest);
    let place = |name: &str| model.tensor(name).unwrap().offset - start;
    for tensor in &model.tensors {
        let at = if tensor.name == "token_embd.weight" { "blk.0.attn_q.weight" } else { &tensor.name };
        writer.shared_tensor(&tensor.name, tensor.ty, &tensor.dims, place(at));
    }
    let pool = [&bytes[start as usize..], &vec![0; longest as usize]].concat();
    std::fs::write(&path, writer.to_bytes([pool]).unwrap()).unwrap();
    let logits = |options: &Options| {
        let (_, mut engine, _) = common::open(&path, options);
        (0..600u32).step_by(97).map(|token| engine.forward(&[token], |_| ()).unwrap().to_vec()).collect::<Vec<_>>()
    };
    let all = logits(&common::options(CONTEXT));
    assert_eq!(logits(&common::floor(&path, &common::options(CONTEXT))), all);
}

#[test]
fn what_is_no_shape_is_an_error_that_says_so() {
    let error = |json: &str| {
        Config::from_json(json)
            .map(|config| Synthesis::new(&config, TensorType::Q4_K, 1 << 40, 0, "x").unwrap_err().to_string())
    };
    let json = |kind: &str, rest: &str| {
        format!(
            r#"{{ "model_type": "{kind}", "hidden_size": 256, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 512,
        "rms_norm_eps": 1e-6, "max_position_embeddings": 64 {rest} }}"#
        )
    };
    assert_eq!(
        error(&json("mamba", "")).unwrap(),
        "model_type is 'mamba'; known are qwen3_5_moe, qwen3_moe, mixtral, deepseek_v3, deepseek_v32, kimi_k2, glm_moe_dsa, gpt_oss \
         and llama"
    );
    assert_eq!(error(&json("qwen3_moe", "")).unwrap(), "head_dim: missing, which qwen3_moe needs");
    assert_eq!(
        error(&json("llama", ", \"intermediate_size\": 0")).unwrap(),
        "intermediate_size: 0 is not a size of a model"
    );
    let mixture = |more: &str| {
        let (kind, rest) = SMALL[2];
        error(&json(kind, &format!(", {rest}")).replace("\"n_group\": 4, \"topk_group\": 2", more)).unwrap()
    };
    assert_eq!(mixture("\"n_group\": 3, \"topk_group\": 2"), "n_group: 2 of 3 groups of 16 experts");
    assert_eq!(mixture("\"n_group\": 8, \"topk_group\": 1"), "n_group: 1 of 8 groups of 16 experts");
    assert_eq!(
        error(&json("qwen3_moe", &format!(", {}", SMALL[1].1)).replace("_per_tok\": 3", "_per_tok\": 17")).unwrap(),
        "num_experts_per_tok: 17 of 16 experts"
    );
    assert_eq!(
        error(&json("llama", ", \"num_key_value_heads\": 3, \"intermediate_size\": 512")).unwrap(),
        "num_key_value_heads: 3 does not divide the 2 heads"
    );
    assert!(error("{}").unwrap_err().to_string().starts_with("missing field"));
    assert!(
        Config::named("gpt-5")
            .unwrap_err()
            .to_string()
            .starts_with("there is no shape 'gpt-5'; there are qwen3.5-397b-a17b,")
    );
}
