//! What a tokenizer is made from: the vocabulary as a model file states it.

/// Token types, as numbered in `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenType {
    Undefined,
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl TokenType {
    pub(super) fn from_number(n: i32) -> Self {
        match n {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Undefined,
        }
    }
}

/// An array of a vocabulary, walked once.
pub type Values<'a, T> = Box<dyn Iterator<Item = T> + 'a>;

/// The vocabulary of a model, as its file states it: the values under `tokenizer.ggml.`, borrowed and read once.
///
/// `None` means that the file does not have the key.
#[derive(Default)]
pub struct VocabSource<'a> {
    /// `tokenizer.ggml.model`: `gpt2`, `llama` or `gemma4`.
    pub model: &'a str,
    /// `tokenizer.ggml.pre`: how words are cut before byte-pair merges.
    pub pre: Option<&'a str>,
    /// `general.name`. Phi-3 models are told by it: their special tokens take the white space after them.
    pub name: Option<&'a str>,
    /// `tokenizer.ggml.tokens`: the text of each token, in the order of ids.
    pub tokens: Option<Values<'a, &'a [u8]>>,
    /// `tokenizer.ggml.scores`, for SPM: a merge to a token with a higher score goes first.
    pub scores: Option<Values<'a, f32>>,
    /// `tokenizer.ggml.token_type`: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte.
    pub types: Option<Values<'a, i32>>,
    /// `tokenizer.ggml.merges`, for BPE: two pieces with a space between, the most urgent first.
    pub merges: Option<Values<'a, &'a [u8]>>,
    /// Special tokens that the file names.
    pub ids: SpecialIds,
    /// `tokenizer.ggml.add_bos_token`
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`
    pub add_space_prefix: Option<bool>,
}

/// Ids of special tokens that a model file names, under `tokenizer.ggml.`. `u32::MAX` is taken as absent: converters
/// write -1 for "none".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpecialIds {
    /// `bos_token_id`: begins a text.
    pub bos: Option<u32>,
    /// `eos_token_id`: ends a text.
    pub eos: Option<u32>,
    /// `eot_token_id`: ends a turn.
    pub eot: Option<u32>,
    /// `eom_token_id`: ends a message.
    pub eom: Option<u32>,
    /// `unknown_token_id`: stands for what has no token.
    pub unk: Option<u32>,
    /// `padding_token_id`. Kept for the caller; nothing here uses it.
    pub pad: Option<u32>,
    /// `fim_pad_token_id`: ends generation, as do the next two.
    pub fim_pad: Option<u32>,
    /// `fim_rep_token_id`
    pub fim_rep: Option<u32>,
    /// `fim_sep_token_id`
    pub fim_sep: Option<u32>,
}
