//! What recurrent layers keep of the context: it survives a pass that fails, is forgotten with the context, and is paid. And
//! what a file says of such layers.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::path::{Path, PathBuf};

use common::fixture::Fixture;
use forebay_infer::gguf::write::Writer;
use forebay_infer::gguf::{Model, Value};
use forebay_infer::model::state_bytes;
use forebay_infer::open::{Loaded, Options, SystemEngine, divide};

const CONTEXT: usize = 64;
/// Tokens before the pass that fails.
const DONE: usize = 9;

fn fixture(name: &str) -> Fixture {
    Fixture::load("experts", name, CONTEXT)
}

/// A copy that may be damaged.
fn copy(fixture: &Fixture, directory: &Path) -> PathBuf {
    let path = directory.join("model.gguf");
    std::fs::copy(&fixture.path, &path).unwrap();
    path
}

fn logits(engine: &mut SystemEngine, tokens: &[u32]) -> Vec<u32> {
    engine.forward(tokens, |_| ()).unwrap().iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_failed_pass_leaves_the_context_as_it_was() {
    for name in ["qwen3next", "qwen35moe"] {
        let fixture = fixture(name);
        let directory = tempfile::tempdir().unwrap();
        let path = copy(&fixture, directory.path());
        // Chunks of 4: of the tokens after the first ones, the pass of the first chunk fails.
        let options = Options { chunk: Some(4), ..common::floor(&path, &common::options(CONTEXT)) };
        let (first, rest) = fixture.tokens[..DONE + 7].split_at(DONE);
        let (loaded, mut engine, _) = common::open(&path, &options);
        logits(&mut engine, first);
        let expected = logits(&mut engine, rest);

        let whole = std::fs::read(&path).unwrap();
        let last_layer = format!("blk.{}.", loaded.map.decoder.shape.layers - 1);
        let lost = loaded.gguf.tensors.iter().filter(|t| t.name.starts_with(&last_layer)).map(|t| t.offset).min();
        let (_, mut engine, _) = common::open(&path, &options);
        logits(&mut engine, first);
        // The file loses its last layer while the model is open: all layers before it have been computed by then.
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(lost.unwrap()).unwrap();
        for _ in 0..2 {
            let error = engine.forward(rest, |_| ()).unwrap_err().to_string();
            assert!(error.contains("cannot read page "), "{error}");
            assert_eq!(engine.position(), DONE);
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(logits(&mut engine, rest) == expected, "{name}");
    }
}

#[test]
fn a_cleared_context_is_empty() {
    let fixture = fixture("qwen35moe-tiled");
    let (_, mut engine, _) = common::open(&fixture.path, &common::options(CONTEXT));
    let first = logits(&mut engine, &fixture.tokens[..5]);
    assert!(logits(&mut engine, &fixture.tokens[..5]) != first);
    engine.clear();
    assert_eq!(logits(&mut engine, &fixture.tokens[..5]), first);
}

#[test]
fn the_states_are_paid() {
    // Three layers with 3 past inputs of 64 channels and 4 heads of 8 rows in one stripe of 16; twice, in 4 bytes.
    let loaded = Loaded::open(&fixture("qwen3next").path).unwrap();
    let states = 3 * (3 * 64 + 4 * 8 * 16) * 2 * 4;
    assert_eq!(state_bytes(&loaded.map), states);
    let budget = divide(&loaded.map, &common::options(CONTEXT)).unwrap();
    assert_eq!(budget.needs.state, states);
    // Those layers keep neither keys nor values.
    let (heads, elements) = (2, 16 + 32); // Values are padded to whole stripes.
    assert_eq!(budget.needs.kv, heads * elements * CONTEXT as u64 * 2);
}

/// Writes a copy of the model at `from` without the key `without`, and with what `add` adds.
fn rewrite(from: &Path, to: &Path, without: &str, add: impl FnOnce(&mut Writer)) {
    let (model, bytes) = (Model::open(from).unwrap(), std::fs::read(from).unwrap());
    let mut writer = Writer::new();
    for (key, value) in model.metadata.iter().filter(|(key, _)| *key != without) {
        writer.value(key, value).unwrap();
    }
    add(&mut writer);
    for tensor in &model.tensors {
        writer.tensor(&tensor.name, tensor.ty, &tensor.dims);
    }
    let data = model.tensors.iter().map(|t| &bytes[t.offset as usize..t.end() as usize]);
    std::fs::write(to, writer.to_bytes(data).unwrap()).unwrap();
}

#[test]
fn the_interval_of_old_files_says_which_layers_are_recurrent() {
    let fixture = fixture("qwen3next");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("old.gguf");
    rewrite(&fixture.path, &path, "qwen3next.attention.recurrent_layers", |_| ());
    let run = |path: &Path| logits(&mut common::open(path, &common::options(CONTEXT)).1, &fixture.tokens[..5]);
    assert!(run(&path) == run(&fixture.path));
}

#[test]
fn sizes_that_do_not_fit_are_named() {
    let fixture = fixture("qwen3next");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spoilt.gguf");
    let spoilt = |key: &str, value: Value<'_>| {
        rewrite(&fixture.path, &path, key, |writer| {
            writer.value(key, value).unwrap();
        });
        let error = Loaded::open(&path).unwrap_err().to_string();
        error.strip_prefix(&format!("{}: {key} is ", path.display())).unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    let prefix = "qwen3next.ssm";
    assert_eq!(spoilt(&format!("{prefix}.time_step_rank"), Value::U32(3)), "3, expected a multiple of the 2 key heads");
    assert_eq!(spoilt(&format!("{prefix}.inner_size"), Value::U32(30)), "30, expected a multiple of the 4 value heads");
    assert_eq!(spoilt(&format!("{prefix}.conv_kernel"), Value::U32(0)), "0, expected 1 to 64");
    let key = "qwen3next.attention.recurrent_layers";
    rewrite(&fixture.path, &path, key, |writer| {
        writer.array(key, &[true, false]);
    });
    let error = Loaded::open(&path).unwrap_err().to_string();
    assert!(error.ends_with(&format!("{key} is a list of 2, expected one of 4, one per layer")), "{error}");
}
