//! The names of pre-tokenizers, their passes and the settings that come with them.

use super::Pass;
use super::Pass::{
    BlankThen, CutBeforeThrees, DeepSeek3, DigitsFromRight, Exactly, FirstOf, Gpt2, Image, Indent, Lines, Sentinel,
    SpaceThen, TrailingSpace, UpTo,
};
use super::set::{AFMOE_ASIAN, CJK, DEEPSEEK_CJK, DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, Set, YOUTU};
use super::words::{Contractions, Letters, Tail, Words};

/// A pre-tokenizer: its passes, and what llama.cpp sets for models that name it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PreTokenizer {
    /// How a text is cut.
    pub(super) passes: &'static [Pass],
    /// A word that is a token stays whole, whatever the merges say.
    pub(in super::super) ignore_merges: bool,
    /// Begin with the begin-of-text token unless the file says otherwise.
    pub(in super::super) add_bos: bool,
    /// Tokens are plain UTF-8 with `▁` for spaces, not GPT-2's spelling of bytes.
    pub(in super::super) plain_text: bool,
}

const LLAMA3: Words = Words {
    contractions: Contractions::Alone,
    letters: Letters::Plain,
    digits: 3,
    tail: Tail::Lines,
    marks_are_no_symbols: false,
    halving_spaces: false,
};
const QWEN2: Words = Words { digits: 1, ..LLAMA3 };
const QWEN35: Words = Words { letters: Letters::Marks, marks_are_no_symbols: true, ..QWEN2 };
const CAMEL: Words = Words {
    contractions: Contractions::Attached,
    letters: Letters::Camel { marks: false },
    tail: Tail::LinesAndSlashes,
    ..LLAMA3
};
const TEKKEN: Words = Words { contractions: Contractions::No, digits: 1, ..CAMEL };
const KIMI: Words = Words { contractions: Contractions::Attached, letters: Letters::Han, ..LLAMA3 };
const EXAONE_MOE: Words = Words { letters: Letters::Spaced, tail: Tail::OneLineOrSlash, ..QWEN2 };
// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`, in which llama.cpp takes every case for a letter.
const TINY_AYA: Words = Words { letters: Letters::Marks, ..CAMEL };

const ASCII_SYMBOLS: Set = Set::PunctuationAnd("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~");
const DIGITS: Pass = UpTo(1, Set::Numbers);
const THREE_DIGITS: Pass = UpTo(3, Set::Numbers);
const ALL_DIGITS: Pass = UpTo(usize::MAX, Set::Numbers);
const ASCII_THREES: Pass = Exactly(3, Set::AsciiDigits);
const CJK_RUNS: Pass = UpTo(usize::MAX, CJK);
const DEEPSEEK3: Pass = DeepSeek3 { lines_alone: false };

const fn plain(passes: &'static [Pass]) -> PreTokenizer {
    PreTokenizer { passes, ignore_merges: false, add_bos: false, plain_text: false }
}

const fn whole_words(passes: &'static [Pass]) -> PreTokenizer {
    PreTokenizer { ignore_merges: true, ..plain(passes) }
}

const fn plain_text() -> PreTokenizer {
    PreTokenizer { plain_text: true, ..plain(&[Lines]) }
}

/// Every name that `tokenizer.ggml.pre` may hold here.
#[rustfmt::skip]
const NAMES: &[(&[&str], PreTokenizer)] = &[
    (&["default"], plain(&[UpTo(usize::MAX, Set::PunctuationAnd("$+<=>^~|")), Gpt2, ALL_DIGITS, ASCII_THREES])),
    (&["gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
       "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "mpt", "olmo", "jais", "trillion",
       "granite-docling", "exaone4"],
     plain(&[Gpt2])),
    (&["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
     plain(&[DIGITS, Gpt2])),
    (&["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"],
     plain(&[Pass::Words(QWEN2)])),
    (&["qwen35"], plain(&[Pass::Words(QWEN35)])),
    (&["ufakzeka"], plain(&[Pass::Words(Words { contractions: Contractions::No, ..QWEN2 })])),
    (&["bailingmoe", "bailingmoe2", "llada-moe"], plain(&[Pass::Words(QWEN2)])),
    (&["seed-coder"], plain(&[Pass::Words(Words { tail: Tail::None, ..QWEN2 })])),
    (&["laguna"], plain(&[Lines, Pass::Words(QWEN2)])),
    (&["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
     PreTokenizer { add_bos: true, ..whole_words(&[Pass::Words(LLAMA3)]) }),
    (&["dbrx", "smaug-bpe", "chatglm-bpe"], plain(&[Pass::Words(LLAMA3)])),
    (&["glm4", "glm5"], whole_words(&[Pass::Words(LLAMA3)])),
    (&["minicpm5"], whole_words(&[THREE_DIGITS, Pass::Words(Words { digits: usize::MAX, ..LLAMA3 })])),
    (&["jais-2"], plain(&[Pass::Words(Words { halving_spaces: true, ..LLAMA3 })])),
    (&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], plain(&[Pass::Words(CAMEL)])),
    (&["tekken"], PreTokenizer { add_bos: true, ..whole_words(&[Pass::Words(TEKKEN)]) }),
    (&["granite-embed-multi-97m"],
     whole_words(&[Pass::Words(Words { letters: Letters::Camel { marks: true }, ..CAMEL })])),
    (&["tiny_aya", "cohere2moe"], plain(&[DigitsFromRight, Pass::Words(TINY_AYA)])),
    (&["youtu"], whole_words(&[FirstOf(&YOUTU), Pass::Words(Words { digits: 1, ..TINY_AYA })])),
    (&["kimi-k2"], plain(&[Pass::Words(KIMI)])),
    (&["exaone-moe"], plain(&[Pass::Words(EXAONE_MOE)])),
    (&["deepseek-llm"],
     plain(&[UpTo(1, Set::LineEnds), SpaceThen(DEEPSEEK_LETTERS), SpaceThen(DEEPSEEK_PUNCTUATION), TrailingSpace,
             UpTo(usize::MAX, DEEPSEEK_CJK), ALL_DIGITS])),
    (&["deepseek-coder"],
     plain(&[UpTo(1, Set::LineEnds), SpaceThen(Set::Letters), SpaceThen(Set::Punctuation),
             UpTo(usize::MAX, DEEPSEEK_CJK), DIGITS])),
    (&["deepseek-v3", "hunyuan-dense", "hy_v4", "joyai-llm"], plain(&[THREE_DIGITS, CJK_RUNS, DEEPSEEK3])),
    (&["spark2_5"], plain(&[THREE_DIGITS, CJK_RUNS, DeepSeek3 { lines_alone: true }, DIGITS])),
    (&["afmoe"], plain(&[DigitsFromRight, UpTo(usize::MAX, AFMOE_ASIAN), DEEPSEEK3])),
    (&["falcon"], plain(&[UpTo(usize::MAX, Set::PunctuationAnd("$+<=>^~|`")), Gpt2, ASCII_THREES])),
    (&["poro-chat", "bloom", "gpt3-finnish"], plain(&[BlankThen(Set::NotBloomStops)])),
    (&["viking"], plain(&[BlankThen(Set::NotBloomStops), DIGITS])),
    (&["superbpe"], plain(&[ALL_DIGITS, CutBeforeThrees])),
    (&["chameleon"],
     PreTokenizer { add_bos: true, ..plain(&[Sentinel, Image, Indent, DIGITS, UpTo(1, ASCII_SYMBOLS), Gpt2]) }),
    (&["gemma4", "granite-embed-multi-311m"], PreTokenizer { add_bos: true, ..plain_text() }),
    (&["sarvam-moe"], plain_text()),
];

/// The pre-tokenizer of that name.
pub(in super::super) fn named(name: &str) -> Option<&'static PreTokenizer> {
    NAMES.iter().find(|(names, _)| names.contains(&name)).map(|(_, pre)| pre)
}

/// All names, for a message.
pub(in super::super) fn known() -> impl Iterator<Item = &'static str> {
    NAMES.iter().flat_map(|(names, _)| names.iter().copied())
}
