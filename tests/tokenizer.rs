//! The tokenizers of real models give llama.cpp's ids, over a corpus with Unicode, white space, code and emoji.

mod common;

use std::collections::BTreeMap;

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

/// The tokenizer of a model, unless the model is not here.
fn tokenizer(name: &str) -> Option<Tokenizer> {
    let model = Model::open(common::model(name)?).unwrap();
    Some(Tokenizer::from_metadata(&model.metadata).unwrap())
}

fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_value(common::golden(name)).unwrap()
}

fn check(golden_name: &str, name: &str) {
    let Some(tokenizer) = tokenizer(name) else { return };
    let golden: Golden = golden(golden_name);
    let expected = &golden.model;
    assert_eq!(tokenizer.vocab_len(), expected.n_vocab);
    assert_eq!(tokenizer.bos().map_or(-1, i64::from), expected.bos);
    assert_eq!(tokenizer.eos().map_or(-1, i64::from), expected.eos);
    assert_eq!((tokenizer.adds_bos(), tokenizer.adds_eos()), (expected.adds_bos, expected.adds_eos));
    assert_eq!(tokenizer.eog(), expected.end_of_generation);
    assert!(tokenizer.memory() < 8 << 20, "{} bytes", tokenizer.memory());

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
    eprintln!("{name}: {} of {all} encodings equal, {} KiB", all - wrong.len(), tokenizer.memory() >> 10);
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
fn check_chat(key: &str, name: &str) {
    let Some(tokenizer) = tokenizer(name) else { return };
    let mut all: BTreeMap<String, serde_json::Value> = golden("chat.json");
    let chat: Chat = serde_json::from_value(all.remove(key).unwrap()).unwrap();
    for conversation in chat.conversations {
        assert_eq!(tokenizer.encode_chat(&conversation.text), conversation.ids, "{}", conversation.text);
    }
}

#[test]
fn smollm2() {
    check("smollm2.tokens.json", "smollm2-135m-instruct");
    check_chat("smollm2", "smollm2-135m-instruct");
}

#[test]
fn gemma3() {
    check("gemma3.tokens.json", "gemma-3-270m");
}

#[test]
fn qwen2() {
    check("qwen2-coder-1.5b.tokens.json", "qwen2.5-coder-1.5b-instruct");
    check_chat("qwen2-coder-1.5b", "qwen2.5-coder-1.5b-instruct");
}
