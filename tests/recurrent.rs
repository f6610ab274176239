//! What recurrent layers keep of the context: it survives a pass that fails, is forgotten with the context, and is paid.
#![allow(clippy::disallowed_methods)] // Tests make files.

mod common;

use std::path::{Path, PathBuf};

use common::fixture::Fixture;
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
