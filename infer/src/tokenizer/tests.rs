//! Small vocabularies: properties, oracles, and what is wrong with bad ones.

use proptest::prelude::*;

use super::*;

/// A byte-level vocabulary: every byte, then these pieces, merged in the order given.
struct Toy {
    tokens: Vec<String>,
    types: Vec<i32>,
    merges: Vec<String>,
}

impl Toy {
    fn new(merges: &[(&str, &str)], special: &[(&str, i32)]) -> Self {
        let mut tokens: Vec<String> = (0..=255).map(|b| bytes::to_char(b).to_string()).collect();
        for (left, right) in merges {
            let merged = format!("{left}{right}");
            if !tokens.contains(&merged) {
                tokens.push(merged);
            }
        }
        let mut types = vec![1; tokens.len()];
        for (text, kind) in special {
            tokens.push((*text).to_owned());
            types.push(*kind);
        }
        Self { tokens, types, merges: merges.iter().map(|(left, right)| format!("{left} {right}")).collect() }
    }

    fn source(&self) -> VocabSource<'_> {
        VocabSource {
            model: "gpt2",
            pre: Some("gpt-2"),
            tokens: Some(Box::new(self.tokens.iter().map(String::as_bytes))),
            types: Some(Box::new(self.types.iter().copied())),
            merges: Some(Box::new(self.merges.iter().map(String::as_bytes))),
            ..VocabSource::default()
        }
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::new(self.source()).unwrap()
    }
}

const MERGES: [(&str, &str); 12] = [
    ("a", "b"),
    ("b", "a"),
    ("ab", "a"),
    ("a", "a"),
    ("aa", "aa"),
    ("Ġ", "a"),
    ("Ġa", "b"),
    ("Ã", "©"),
    ("ab", "ab"),
    ("b", "b"),
    ("Ċ", "Ċ"),
    ("bb", "aa"),
];

fn spm_source<'a>(tokens: &'a [(&'a str, f32, i32)]) -> VocabSource<'a> {
    VocabSource {
        model: "llama",
        tokens: Some(Box::new(tokens.iter().map(|(text, ..)| text.as_bytes()))),
        scores: Some(Box::new(tokens.iter().map(|(_, score, _)| *score))),
        types: Some(Box::new(tokens.iter().map(|(_, _, kind)| *kind))),
        ..VocabSource::default()
    }
}

const SPM: [(&str, f32, i32); 14] = [
    ("<unk>", 0.0, 2),
    ("<s>", 0.0, 3),
    ("</s>", 0.0, 3),
    ("<0x0A>", 0.0, 6),
    ("<0xC3>", 0.0, 6),
    ("<0xA9>", 0.0, 6),
    ("\u{2581}", -1.0, 1),
    ("a", -2.0, 1),
    ("b", -3.0, 1),
    ("ab", -4.0, 1),
    ("\u{2581}a", -5.0, 1),
    ("aba", -6.0, 1),
    ("\u{2581}ab", -4.5, 1),
    ("[x]", 0.0, 4),
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[ab \né']{0,40}", "[a-zA-Z0-9 '\r\n\t.,!é中\u{301}]{0,60}"]
}

/// Byte-pair encoding as it is defined: the most urgent merge, leftmost first, until there is none.
fn slow_merge(word: &str) -> Vec<String> {
    let mut parts: Vec<String> = word.bytes().map(|b| bytes::to_char(b).to_string()).collect();
    loop {
        let best = (1..parts.len())
            .filter_map(|at| {
                let rank = MERGES.iter().position(|&(l, r)| (l, r) == (parts[at - 1].as_str(), parts[at].as_str()))?;
                Some((rank, at))
            })
            .min();
        let Some((_, at)) = best else { return parts };
        let right = parts.remove(at);
        parts[at - 1].push_str(&right);
    }
}

/// The same for scores: the highest, leftmost first.
fn slow_spm(text: &str) -> Vec<String> {
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let score = |at: usize| {
            let joined = format!("{}{}", parts[at - 1], parts[at]);
            SPM.iter().find(|(text, ..)| *text == joined).map(|(_, score, _)| *score)
        };
        let mut best: Option<(f32, usize)> = None;
        for at in 1..parts.len() {
            if let Some(score) = score(at)
                && best.is_none_or(|(top, _)| score > top)
            {
                best = Some((score, at));
            }
        }
        let Some((_, at)) = best else { return parts };
        let right = parts.remove(at);
        parts[at - 1].push_str(&right);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn bytes_come_back(text in text(), pre in proptest::sample::select(pre::known().collect::<Vec<_>>())) {
        let toy = Toy::new(&MERGES, &[]);
        let plain_text = pre::named(pre).is_some_and(|pre| pre.plain_text);
        prop_assume!(!plain_text);
        let tokenizer = Tokenizer::new(VocabSource {
            pre: Some(pre), add_bos: Some(false), ..toy.source()
        }).unwrap();
        let ids = tokenizer.encode(&text, EncodeOptions::default());
        prop_assert_eq!(tokenizer.decode(&ids, false), text);
    }

    #[test]
    fn words_are_the_text(text in text(), pre in proptest::sample::select(pre::known().collect::<Vec<_>>())) {
        let mut words = Vec::new();
        pre::named(pre).unwrap().split(&text, &mut |word| words.push(word));
        prop_assert!(words.iter().all(|word| !word.is_empty()), "{:?}", words);
        prop_assert_eq!(words.concat(), text);
    }

    #[test]
    fn merging_is_what_it_is_defined_to_be(word in "[ab]{0,60}") {
        let tokenizer = Toy::new(&MERGES, &[]).tokenizer();
        let ids = tokenizer.encode(&word, EncodeOptions::default());
        let found: Vec<&[u8]> = ids.iter().filter_map(|&id| tokenizer.token_text(id)).collect();
        let expected = slow_merge(&word);
        prop_assert_eq!(found, expected.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
    }

    #[test]
    fn scores_do_what_they_are_defined_to_do(word in "[ab ]{0,60}") {
        let tokenizer = Tokenizer::new(VocabSource { add_space_prefix: Some(false), ..spm_source(&SPM) }).unwrap();
        let ids = tokenizer.encode(&word, EncodeOptions::default());
        let found: Vec<&[u8]> = ids.iter().filter_map(|&id| tokenizer.token_text(id)).collect();
        let expected = slow_spm(&word.replace(' ', SPACE));
        prop_assert_eq!(found, expected.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
    }

    #[test]
    fn hostile_vocabularies_do_not_panic(
        model in proptest::sample::select(vec!["gpt2", "llama", "gemma4", "bert", ""]),
        pre in proptest::option::of(proptest::sample::select(vec!["smollm", "gemma4", "llama3", "?"])),
        tokens in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 0..20),
        types in proptest::option::of(proptest::collection::vec(-1i32..9, 0..24)),
        scores in proptest::option::of(proptest::collection::vec(any::<f32>(), 0..24)),
        merges in proptest::option::of(proptest::collection::vec("[ab ]{0,4}", 0..8)),
        ids in proptest::array::uniform3(proptest::option::of(0u32..24)),
        flags in proptest::array::uniform3(proptest::option::of(any::<bool>())),
        text in text(),
    ) {
        let made = Tokenizer::new(VocabSource {
            model,
            pre,
            name: Some("Phi-3"),
            tokens: Some(Box::new(tokens.iter().map(|t| &t[..]))),
            scores: scores.as_ref().map(|s| Box::new(s.iter().copied()) as Values<'_, f32>),
            types: types.as_ref().map(|t| Box::new(t.iter().copied()) as Values<'_, i32>),
            merges: merges.as_ref().map(|m| Box::new(m.iter().map(String::as_bytes)) as Values<'_, &[u8]>),
            ids: SpecialIds { bos: ids[0], eos: ids[1], unk: ids[2], ..SpecialIds::default() },
            add_bos: flags[0],
            add_eos: flags[1],
            add_space_prefix: flags[2],
        });
        match made {
            Ok(tokenizer) => {
                let ids = tokenizer.encode(&text, EncodeOptions { add_special: true, parse_special: true });
                prop_assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_len()));
                tokenizer.decode(&ids, true);
            }
            Err(error) => prop_assert!(error.to_string().contains("tokenizer.ggml."), "{}", error),
        }
    }
}

fn error(source: VocabSource<'_>) -> String {
    Tokenizer::new(source).unwrap_err().to_string()
}

#[test]
fn faults_are_named() {
    let toy = Toy::new(&MERGES, &[]);
    assert_eq!(error(VocabSource { tokens: None, ..toy.source() }), "`tokenizer.ggml.tokens` is missing");
    assert_eq!(error(VocabSource { merges: None, ..toy.source() }), "`tokenizer.ggml.merges` is missing");
    assert_eq!(error(VocabSource { scores: None, ..spm_source(&SPM) }), "`tokenizer.ggml.scores` is missing");
    assert_eq!(
        error(VocabSource { model: "bert", ..toy.source() }),
        "`tokenizer.ggml.model` is `bert`; supported are gpt2 (byte-level BPE), llama (SPM) and gemma4"
    );
    let unknown = error(VocabSource { pre: Some("new\n"), ..toy.source() });
    assert!(
        unknown.starts_with("`tokenizer.ggml.pre` is `new\\n`, which is not a known pre-tokenizer; known are default,")
    );
    assert!(unknown.contains(" smollm,") && unknown.contains(" qwen35,"));
    assert_eq!(
        error(VocabSource { types: Some(Box::new([1, 1].into_iter())), ..toy.source() }),
        format!("`tokenizer.ggml.token_type` has 2 elements for {} tokens", toy.tokens.len())
    );
    assert_eq!(
        error(VocabSource { scores: Some(Box::new([0.0].into_iter())), ..spm_source(&SPM) }),
        "`tokenizer.ggml.scores` has 1 elements for 14 tokens"
    );
    let scores = SPM.iter().map(|(text, score, _)| if *text == "aba" { f32::NAN } else { *score });
    assert_eq!(
        error(VocabSource { scores: Some(Box::new(scores)), ..spm_source(&SPM) }),
        "`tokenizer.ggml.scores` is not a number at 11"
    );
    let twice: [&[u8]; 3] = [b"x", b"y", b"x"];
    assert_eq!(
        error(VocabSource { tokens: Some(Box::new(twice.into_iter())), ..toy.source() }),
        "`tokenizer.ggml.tokens` has the same text, `x`, at 0 and at 2"
    );
    for bad in ["ab", " b", "a ", ""] {
        let merges: [&[u8]; 2] = [b"a b", bad.as_bytes()];
        assert_eq!(
            error(VocabSource { merges: Some(Box::new(merges.into_iter())), ..toy.source() }),
            format!("`tokenizer.ggml.merges` has `{bad}` at 1, which is not two pieces with a space between")
        );
    }
    assert_eq!(
        error(VocabSource { ids: SpecialIds { eos: Some(999), ..SpecialIds::default() }, ..toy.source() }),
        format!("`tokenizer.ggml.eos_token_id` is 999, and the vocabulary has {} tokens", toy.tokens.len())
    );
    assert_eq!(
        error(VocabSource { add_bos: Some(true), ..toy.source() }),
        "`tokenizer.ggml.add_bos_token` is true, but `tokenizer.ggml.bos_token_id` names no token"
    );
    let types = SPM.iter().map(|(text, _, kind)| if *text == "a" { 6 } else { *kind });
    assert_eq!(
        error(VocabSource { types: Some(Box::new(types)), ..spm_source(&SPM) }),
        "`tokenizer.ggml.token_type` says that token 7, `a`, is a byte; it is not written like <0x0A>"
    );
    let none: [&[u8]; 0] = [];
    assert!(error(VocabSource { tokens: Some(Box::new(none.into_iter())), ..toy.source() }).contains("has 0 tokens"));
}

#[test]
fn an_absent_id_may_be_written_as_minus_one() {
    let toy = Toy::new(&MERGES, &[]);
    let ids = SpecialIds { pad: Some(u32::MAX), ..SpecialIds::default() };
    assert_eq!(Tokenizer::new(VocabSource { ids, ..toy.source() }).unwrap().pad(), None);
}

#[test]
fn special_tokens_are_found_longest_first_and_control_tokens_only_on_request() {
    let toy = Toy::new(&[("a", "b")], &[("<a>", 3), ("<a><b>", 3), ("ab!", 4), ("!", 3)]);
    let mut toy = toy;
    toy.tokens.remove(usize::from(b'!'));
    toy.types.remove(usize::from(b'!'));
    let tokenizer = toy.tokenizer();
    let show = |parse_special| {
        let ids = tokenizer.encode("<a><a><b>ab!!", EncodeOptions { add_special: false, parse_special });
        ids.iter()
            .map(|&id| String::from_utf8_lossy(tokenizer.token_text(id).unwrap()).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(show(true), ["<a>", "<a><b>", "ab!", "!"]);
    assert_eq!(show(false)[..3], ["<", "a", ">"]);
    assert!(show(false).contains(&"ab!".to_owned()));
    let id = tokenizer.token_id("<a>").unwrap();
    let mut out = Vec::new();
    tokenizer.decode_piece(id, false, &mut out);
    assert!(out.is_empty());
    tokenizer.decode_piece(id, true, &mut out);
    assert_eq!(out, b"<a>");
}

#[test]
fn phi3_special_tokens_take_the_white_space_after_them() {
    let toy = Toy::new(&[], &[("<|end|>", 3), ("<s>", 3)]);
    let tokenizer = Tokenizer::new(VocabSource { name: Some("Phi-3 mini"), ..toy.source() }).unwrap();
    let ids = tokenizer.encode("<|end|> \n x<s> y", EncodeOptions { add_special: false, parse_special: true });
    assert_eq!(tokenizer.decode(&ids, true), "<|end|>x<s> y");
}

#[test]
fn spm_prefixes_a_space_after_special_tokens_and_falls_back_to_bytes() {
    let tokenizer = Tokenizer::new(spm_source(&SPM)).unwrap();
    let encode = |text, parse_special| tokenizer.encode(text, EncodeOptions { add_special: true, parse_special });
    assert_eq!(encode("", true), [1]);
    assert_eq!(encode("ab", true), [1, 12]);
    assert_eq!(encode("ab[x]ab\n", true), [1, 12, 13, 12, 3]);
    assert_eq!(encode("</s>a", true), [1, 2, 10]);
    // Bytes without a token are the unknown token.
    assert_eq!(encode("é☃", true), [1, 6, 4, 5, 0, 0, 0]);
    assert_eq!(tokenizer.decode(&[12, 4, 5, 3], false), "abé\n");
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.unk()), (Some(1), Some(2), Some(0)));
    assert!(tokenizer.is_eog(2) && !tokenizer.is_eog(1));
}

#[test]
fn a_chat_has_one_beginning() {
    let toy = Toy::new(&[], &[("<s>", 3), ("</s>", 3)]);
    let ids = SpecialIds { bos: Some(256), eos: Some(257), ..SpecialIds::default() };
    let source = VocabSource { ids, add_bos: Some(true), add_eos: Some(true), ..toy.source() };
    let tokenizer = Tokenizer::new(source).unwrap();
    let all = EncodeOptions { add_special: true, parse_special: true };
    assert_eq!(tokenizer.encode("<s>a", all), [256, 256, u32::from(b'a'), 257]);
    assert_eq!(tokenizer.encode_chat("<s>a"), [256, u32::from(b'a')]);
    assert_eq!(tokenizer.encode_chat("a"), [256, u32::from(b'a')]);
}

#[test]
fn merges_may_go_through_pieces_that_are_no_tokens() {
    // "ab" is no token, "abc" is.
    let mut toy = Toy::new(&[("a", "b"), ("ab", "c")], &[]);
    toy.tokens.retain(|token| token != "ab");
    toy.types.pop();
    let tokenizer = toy.tokenizer();
    let text = |text: &str| {
        let ids = tokenizer.encode(text, EncodeOptions::default());
        ids.iter()
            .map(|&id| String::from_utf8_lossy(tokenizer.token_text(id).unwrap()).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(text("abc"), ["abc"]);
    assert_eq!(text("ab"), ["a", "b"]);
    assert_eq!((tokenizer.vocab_len(), tokenizer.token_id("ab")), (257, None));
}

#[test]
fn very_long_runs_take_no_more_than_their_share() {
    let toy = Toy::new(&MERGES, &[("<|x|>", 4)]);
    for pre in pre::known() {
        let pre_is_plain = pre::named(pre).unwrap().plain_text;
        let tokenizer = Tokenizer::new(VocabSource { pre: Some(pre), add_bos: Some(false), ..toy.source() }).unwrap();
        for unit in ["a", " ", "\n", "<", "1", "'", "é", "aA", "ÉB", "\u{301}", " \n", "a 1"] {
            let text = unit.repeat(20_000);
            let ids = tokenizer.encode(&text, EncodeOptions { add_special: true, parse_special: true });
            assert!(pre_is_plain || tokenizer.decode(&ids, true) == text, "{pre} {unit:?}");
        }
    }
    let tokenizer = Tokenizer::new(spm_source(&SPM)).unwrap();
    assert_eq!(tokenizer.encode(&"ab".repeat(200_000), EncodeOptions::default()).len(), 200_000);
}

#[test]
fn plain_text_vocabularies_have_words_with_spaces_and_bytes_for_the_rest() {
    let tokens = ["<bos>", "<0xC3>", "<0xA9>", "a", "b", "\u{2581}", "\u{2581}a", "ab", "\n", "\n\n"];
    let merges = ["\u{2581} a", "a b", "\u{2581}a b"];
    let tokenizer = Tokenizer::new(VocabSource {
        model: "gemma4",
        tokens: Some(Box::new(tokens.iter().map(|token| token.as_bytes()))),
        types: Some(Box::new([3, 6, 6, 1, 1, 1, 1, 1, 1, 1].into_iter())),
        merges: Some(Box::new(merges.iter().map(|merge| merge.as_bytes()))),
        ids: SpecialIds { bos: Some(0), ..SpecialIds::default() },
        ..VocabSource::default()
    })
    .unwrap();
    let ids = tokenizer.encode("ab a\u{e9}b\n\n\nb", EncodeOptions { add_special: true, parse_special: false });
    assert_eq!(ids, [0, 7, 6, 1, 2, 4, 8, 8, 8, 4]);
    assert_eq!(tokenizer.encode("a\n\n", EncodeOptions::default()), [3, 9]);
    assert_eq!(tokenizer.decode(&ids, false), "ab a\u{e9}b\n\n\nb");
}
