//! The splitters against the published patterns, run by a regular expression engine.

use fancy_regex::Regex;
use proptest::prelude::*;

use super::named;

const CONTRACTIONS: &str = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const SPACES: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str =
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"##;

fn llama3(digits: &str) -> String {
    format!(r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}")
}

fn camel(letter: &str, contractions: &str, digits: &str) -> String {
    let upper = format!("((?=[{letter}])([^a-z]))");
    let lower = format!("((?=[{letter}])([^A-Z]))");
    let lead = r"[^\r\n\p{L}\p{N}]?";
    format!(
        r"{lead}{upper}*{lower}+{contractions}|{lead}{upper}+{lower}*{contractions}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
    )
}

/// The patterns of each pre-tokenizer.
fn patterns() -> Vec<(&'static str, Vec<String>)> {
    let attached = format!("{CONTRACTIONS}?");
    let one = |pattern: &str| vec![pattern.to_owned()];
    let cjk = "[一-龥\u{3040}-ゟ゠-ヿ]+".to_owned();
    vec![
        ("gpt-2", one(GPT2)),
        ("smollm", vec![r"\p{N}".to_owned(), GPT2.to_owned()]),
        (
            "default",
            [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"].map(str::to_owned).to_vec(),
        ),
        ("falcon", [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"].map(str::to_owned).to_vec()),
        ("llama-bpe", vec![llama3(r"\p{N}{1,3}")]),
        ("qwen2", vec![llama3(r"\p{N}")]),
        (
            "qwen35",
            vec![format!(
                r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"
            )],
        ),
        (
            "seed-coder",
            vec![format!(
                r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{SPACES}"
            )],
        ),
        (
            "bailingmoe",
            vec![format!(
                r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
            )],
        ),
        (
            "jais-2",
            vec![llama3(r"\p{N}{1,3}").replace(
                r"\s+(?!\S)|\s+",
                r"\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
            )],
        ),
        (
            "exaone-moe",
            vec![format!(
                r"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
            )],
        ),
        ("gpt-4o", vec![camel(r"\p{L}", &attached, r"\p{N}{1,3}")]),
        ("tekken", vec![camel(r"\p{L}", "", r"\p{N}")]),
        ("granite-embed-multi-97m", vec![camel(r"\p{L}\p{M}", &attached, r"\p{N}{1,3}")]),
        ("deepseek-v3", vec![r"\p{N}{1,3}".to_owned(), cjk.clone(), format!("{DEEPSEEK3}|{SPACES}")]),
        (
            "spark2_5",
            vec![
                r"\p{N}{1,3}".to_owned(),
                cjk,
                format!(r"{}|[\r\n]|\s+(?!\S)|\s+", DEEPSEEK3.replace(r"[\r\n]*", "")),
                r"\p{N}".to_owned(),
            ],
        ),
        (
            "deepseek-coder",
            [r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"].map(str::to_owned).to_vec(),
        ),
        ("bloom", one(" ?[^(\\s|.,!?…。，、।۔،)]+")),
        ("superbpe", vec![r"\p{N}+".to_owned(), "(?=([0-9]{3})+(?![0-9]))".to_owned()]),
        (
            "chameleon",
            vec![
                "<sentinel:[0-9]+>".to_owned(),
                "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z".to_owned(),
                r"([\t\n]|    |  )".to_owned(),
                r"\p{N}".to_owned(),
                r"[\p{P}!-/:-@\[-`{-~]".to_owned(),
                GPT2.to_owned(),
            ],
        ),
    ]
}

/// Matches, and what is between them, pattern after pattern.
fn oracle<'a>(patterns: &[Regex], text: &'a str) -> Vec<&'a str> {
    let mut pieces = vec![text];
    for pattern in patterns {
        let mut finer = Vec::new();
        for piece in pieces {
            let mut from = 0;
            for found in pattern.find_iter(piece) {
                let found = found.unwrap();
                finer.extend([&piece[from..found.start()], found.as_str()]);
                from = found.end();
            }
            finer.push(&piece[from..]);
        }
        pieces = finer.into_iter().filter(|piece| !piece.is_empty()).collect();
    }
    pieces
}

thread_local! {
    static COMPILED: Vec<(&'static str, Vec<Regex>)> = patterns()
        .into_iter()
        .map(|(name, patterns)| (name, patterns.iter().map(|pattern| Regex::new(pattern).unwrap()).collect()))
        .collect();
}

/// Texts of characters whose class has been the same in every version of Unicode.
fn text() -> impl Strategy<Value = String> {
    let spaces = r"[ \t\r\n\u{a0}a.1]{0,30}";
    let letters = r"[a-cA-CÉß中の가'’\u{301}\u{93f} ]{0,30}";
    let digits = "[0-9٣½²a .,]{0,20}";
    let all = r"[ -~]{0,40}|[ \t\r\na-zA-Z0-9.,;:'/!?€$`…。，中国か한éÀ😀\u{200d}\u{301}\u{0}\u{7f}\u{85}]{0,40}";
    let words = "( |  |\n|'s|'S|'ll|'VE|'x|I|don|AbC|<sentinel:1>|IMGIMGABZ|1234|/|!){0,12}";
    prop_oneof![spaces, letters, digits, all, words]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn splitters_do_what_the_patterns_say(text in text()) {
        COMPILED.with(|compiled| {
            for (name, patterns) in compiled {
                let mut words = Vec::new();
                named(name).unwrap().split(&text, &mut |word| words.push(word));
                prop_assert_eq!(&words, &oracle(patterns, &text), "{} {:?}", name, text);
            }
            Ok(())
        })?;
    }
}

#[test]
fn digits_are_grouped_from_the_right() {
    let split = |name: &str, text| {
        let mut words = Vec::new();
        named(name).unwrap().split(text, &mut |word| words.push(word.to_owned()));
        words
    };
    assert_eq!(split("afmoe", "1234567"), ["1", "234", "567"]);
    assert_eq!(split("superbpe", "a 1234567"), ["a ", "1", "234", "567"]);
    assert_eq!(split("tiny_aya", "x 12345 y"), ["x", " ", "12", "345", " y"]);
}

#[test]
fn line_ends_and_trailing_space_of_deepseek_llm() {
    let mut words = Vec::new();
    named("deepseek-llm").unwrap().split("Hello, wörld  \n中文12  ", &mut |word| words.push(word));
    // Its third pattern has ASCII letters among the punctuation, which cuts at other letters.
    assert_eq!(words, ["Hello", ",", " w", "ö", "rld", "  ", "\n", "中文", "12", "  "]);
}

#[test]
fn names_are_unique() {
    let mut names: Vec<&str> = super::known().collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
