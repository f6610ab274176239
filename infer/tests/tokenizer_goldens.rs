//! The tokenizers of real models give llama.cpp's ids, over a corpus with Unicode, white space, code and emoji.
//!
//! Models are looked for in the directory `FOREBAY_MODELS` and in the cache that `forebay fetch` fills. Where a model is
//! not found its test says so on the terminal, past the test harness, and checks nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use forebay_infer::gguf::Model;
use forebay_infer::tokenizer::{EncodeOptions, Tokenizer};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    model: Expected,
    cases: Vec<Case>,
    pieces: BTreeMap<u32, String>,
    control: Vec<u32>,
}

#[derive(Deserialize)]
struct Expected {
    tokenizer: String,
    n_vocab: usize,
    bos: i64,
    eos: i64,
    adds_bos: bool,
    adds_eos: bool,
    end_of_generation: Vec<u32>,
}

#[derive(Deserialize)]
struct Case {
    text: String,
    plain: Vec<u32>,
    special: Vec<u32>,
}

fn model_file(name_has: &str) -> Option<PathBuf> {
    let given = std::env::var_os("FOREBAY_MODELS").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    given.into_iter().chain(cache.map(|cache| cache.join("forebay"))).find_map(|dir| {
        let files = std::fs::read_dir(dir).ok()?;
        let mut models: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        models.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            name.contains(name_has) && name.ends_with(".gguf")
        });
        models.into_iter().min()
    })
}

/// The tokenizer of a model, unless the model is not here.
fn tokenizer(name_has: &str) -> Option<Tokenizer> {
    let Some(path) = model_file(name_has) else {
        // Not `eprintln`, which the test harness would keep to itself.
        let note =
            format!("\nSKIPPED, nothing checked: no model `{name_has}*.gguf`; set FOREBAY_MODELS to its directory\n");
        std::io::stderr().write_all(note.as_bytes()).unwrap();
        return None;
    };
    let model = Model::open(&path).unwrap();
    Some(Tokenizer::from_metadata(&model.metadata).unwrap())
}

fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn check(golden_name: &str, name_has: &str) {
    let Some(tokenizer) = tokenizer(name_has) else { return };
    let golden: Golden = golden(golden_name);
    let expected = &golden.model;
    assert_eq!(tokenizer.vocab_len(), expected.n_vocab);
    assert_eq!(tokenizer.bos().map_or(-1, i64::from), expected.bos);
    assert_eq!(tokenizer.eos().map_or(-1, i64::from), expected.eos);
    assert_eq!((tokenizer.adds_bos(), tokenizer.adds_eos()), (expected.adds_bos, expected.adds_eos));
    assert_eq!(tokenizer.eog(), expected.end_of_generation);
    assert!(tokenizer.memory() < 13 << 20, "{} bytes", tokenizer.memory());

    let mut wrong = Vec::new();
    for case in &golden.cases {
        for (yes, ids) in [(false, &case.plain), (true, &case.special)] {
            let found = tokenizer.encode(&case.text, EncodeOptions { add_special: yes, parse_special: yes });
            if found != *ids {
                wrong.push(format!("{:?} (special: {yes})\n  here {found:?}\n  peer {ids:?}", case.text));
            }
        }
    }
    let all = 2 * golden.cases.len();
    let note =
        format!("\n{name_has}: {} of {all} encodings equal, {} KiB\n", all - wrong.len(), tokenizer.memory() >> 10);
    std::io::stderr().write_all(note.as_bytes()).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (&id, piece) in &golden.pieces {
        let mut bytes = Vec::new();
        tokenizer.decode_piece(id, true, &mut bytes);
        assert_eq!(hex(&bytes), *piece, "piece of {id}");
        bytes.clear();
        tokenizer.decode_piece(id, false, &mut bytes);
        assert_eq!(bytes.is_empty(), golden.control.contains(&id), "hidden piece of {id}");
    }
    for case in &golden.cases {
        // SentencePiece cannot tell its own sign for a space from a space.
        let sign = if golden.model.tokenizer == "llama" { "\u{2581}" } else { " " };
        assert_eq!(tokenizer.decode(&case.plain, true), case.text.replace(sign, " "));
    }
}

#[derive(Deserialize)]
struct Chat {
    conversations: Vec<Conversation>,
}

#[derive(Deserialize)]
struct Conversation {
    text: String,
    ids: Vec<u32>,
}

/// Rendered conversations, which spell special tokens out.
fn check_chat(name: &str, name_has: &str) {
    let Some(tokenizer) = tokenizer(name_has) else { return };
    let mut all: BTreeMap<String, serde_json::Value> = golden("chat.json");
    let chat: Chat = serde_json::from_value(all.remove(name).unwrap()).unwrap();
    for conversation in chat.conversations {
        assert_eq!(tokenizer.encode_chat(&conversation.text), conversation.ids, "{}", conversation.text);
    }
}

#[test]
fn smollm2() {
    check("smollm2.tokens.json", "smollm2-135m");
    check_chat("smollm2", "smollm2-135m");
}

#[test]
fn gemma3() {
    check("gemma3.tokens.json", "gemma-3-270m");
}

#[test]
fn qwen2() {
    check("qwen2-coder-1.5b.tokens.json", "qwen2.5-coder-1.5b");
    check_chat("qwen2-coder-1.5b", "qwen2.5-coder-1.5b");
}
