//! What can be wrong with a vocabulary.

/// Why a tokenizer cannot be made from a model's metadata. Each names the metadata key at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A key that the tokenizer needs is not there.
    #[error("`{key}` is missing")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A key holds a value of another type than it should.
    #[error(transparent)]
    Metadata(#[from] crate::gguf::Error),
    /// The vocabulary is of a kind that is not supported.
    #[error("`tokenizer.ggml.model` is `{model}`; supported are gpt2 (byte-level BPE), llama (SPM) and gemma4")]
    UnknownModel {
        /// The value found.
        model: String,
    },
    /// The pre-tokenizer is not known.
    #[error("`tokenizer.ggml.pre` is `{pre}`, which is not a known pre-tokenizer; known are {}", super::pre::known().collect::<Vec<_>>().join(", "))]
    UnknownPreTokenizer {
        /// The value found.
        pre: String,
    },
    /// The vocabulary has no tokens, or more than the format of this index can count.
    #[error(
        "`tokenizer.ggml.tokens` has {tokens} tokens of {bytes} bytes; supported are 1 to 2^28 tokens of 2^31 bytes"
    )]
    Size {
        /// How many tokens.
        tokens: usize,
        /// How many bytes of text.
        bytes: usize,
    },
    /// An array has fewer elements than there are tokens.
    #[error("`{key}` has {found} elements for {expected} tokens")]
    TooShort {
        /// The key.
        key: &'static str,
        /// Its elements.
        found: usize,
        /// The tokens.
        expected: usize,
    },
    /// Two tokens have the same text.
    #[error("`tokenizer.ggml.tokens` has the same text, `{text}`, at {first} and at {second}")]
    Duplicate {
        /// The text, made printable.
        text: String,
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// A score is not a number.
    #[error("`tokenizer.ggml.scores` is not a number at {token}")]
    Score {
        /// The token.
        token: u32,
    },
    /// A merge is not two pieces with a space between.
    #[error("`tokenizer.ggml.merges` has `{text}` at {rank}, which is not two pieces with a space between")]
    Merge {
        /// Its place in the list.
        rank: usize,
        /// The text, made printable.
        text: String,
    },
    /// A token of type BYTE is not written `<0xXX>`.
    #[error("`tokenizer.ggml.token_type` says that token {token}, `{text}`, is a byte; it is not written like <0x0A>")]
    Byte {
        /// The token.
        token: u32,
        /// The text, made printable.
        text: String,
    },
    /// A special token is outside the vocabulary.
    #[error("`{key}` is {id}, and the vocabulary has {tokens} tokens")]
    OutOfRange {
        /// The key.
        key: &'static str,
        /// The id found.
        id: u32,
        /// The tokens.
        tokens: usize,
    },
    /// The file asks for a token to be added and does not say which.
    #[error("`{flag}` is true, but `{key}` names no token")]
    NothingToAdd {
        /// The flag.
        flag: &'static str,
        /// The key that should name the token.
        key: &'static str,
    },
}

/// Text of a token for a message: printable and of bounded length.
pub(super) fn printable(text: &[u8]) -> String {
    let shown = &text[..text.len().min(64)];
    let mut out = String::from_utf8_lossy(shown).escape_debug().to_string();
    if shown.len() < text.len() {
        out.push('…');
    }
    out
}
