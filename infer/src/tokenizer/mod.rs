//! Tokenizers: text to token ids and back, with the vocabulary that a model file carries.
//!
//! The ids are those that llama.cpp gives for the same file. Two kinds of vocabulary are supported: byte-pair encoding
//! (`gpt2`, with the pre-tokenizer that `tokenizer.ggml.pre` names; and `gemma4`, the same on plain text) and
//! SentencePiece's scores (`llama`).
//!
//! A vocabulary is held packed, because it counts against the ceiling of the process: 150,000 tokens with as many
//! merges take under 8 MB ([`Tokenizer::memory`]), and nothing is kept per token on the heap.

mod bpe;
mod build;
mod bytes;
mod error;
mod gguf;
mod merges;
mod partition;
mod pieces;
mod pre;
mod source;
mod special;
mod spm;

#[cfg(test)]
mod tests;

pub use self::error::TokenizerError;
pub use self::source::{SpecialIds, Values, VocabSource};

use self::bpe::Bpe;
use self::partition::{Finder, Fragment};
use self::pieces::Pieces;
use self::special::{Attributes, Special};
use self::spm::Spm;

/// What to do about special tokens when encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// Begin and end with the tokens that the model wants there.
    pub add_special: bool,
    /// Take the text of a control token, such as `<|im_end|>`, for that token. Do not, for text from outside.
    pub parse_special: bool,
}

/// A model's tokenizer.
#[derive(Debug)]
pub struct Tokenizer {
    pieces: Pieces,
    /// One for each token; `pieces` may hold more texts, which occur in merges only.
    attributes: Vec<Attributes>,
    special: Special,
    finder: Finder,
    model: Model,
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
}

#[derive(Debug)]
enum Model {
    Bpe(Bpe),
    Spm(Spm),
}

/// How SentencePiece writes a space.
const SPACE: &str = "\u{2581}";

impl Tokenizer {
    /// Makes a tokenizer from a vocabulary.
    pub fn new(source: VocabSource<'_>) -> Result<Self, TokenizerError> {
        build::build(source)
    }

    /// The tokens of `text`.
    pub fn encode(&self, text: &str, options: EncodeOptions) -> Vec<u32> {
        let mut out = Vec::new();
        self.encode_into(text, options, &mut out);
        out
    }

    /// Appends the tokens of `text` to `out`.
    ///
    /// With `add_special`, a text that spells the begin-of-text token out, as many chat templates do, gets it twice, as
    /// with llama.cpp; [`Tokenizer::encode_chat`] does not.
    pub fn encode_into(&self, text: &str, options: EncodeOptions, out: &mut Vec<u32>) {
        if options.add_special && self.add_bos {
            out.extend(self.special.bos);
        }
        let (mut fragments, mut spare) = (Vec::new(), Vec::new());
        self.finder.partition(text, options.parse_special, &self.pieces, &self.attributes, &mut fragments, &mut spare);
        match &self.model {
            Model::Bpe(bpe) => self.encode_bpe(bpe, text, &fragments, out),
            Model::Spm(spm) => self.encode_spm(spm, text, &fragments, out),
        }
        if options.add_special && self.add_eos {
            out.extend(self.special.eos);
        }
    }

    /// The tokens of a conversation that a chat template rendered: special tokens are parsed, and the begin-of-text
    /// token is added unless the template wrote it. No end-of-text token is added, for the conversation goes on.
    pub fn encode_chat(&self, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        self.encode_into(text, EncodeOptions { add_special: false, parse_special: true }, &mut out);
        if let Some(bos) = self.special.bos
            && self.add_bos
            && out.first() != Some(&bos)
        {
            out.insert(0, bos);
        }
        out
    }

    fn encode_bpe(&self, bpe: &Bpe, text: &str, fragments: &[Fragment], out: &mut Vec<u32>) {
        let mut scratch = bpe::Scratch::default();
        let mut escaped = String::new();
        for &fragment in fragments {
            let part = match fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    continue;
                }
                Fragment::Text(from, to) if bpe.pre.plain_text => {
                    escape(&text[from..to], &mut escaped);
                    &escaped
                }
                Fragment::Text(from, to) => &text[from..to],
            };
            bpe.pre.split(part, &mut |word| {
                bpe.encode(word, &self.pieces, self.attributes.len() as u32, &mut scratch, out);
            });
        }
    }

    fn encode_spm(&self, spm: &Spm, text: &str, fragments: &[Fragment], out: &mut Vec<u32>) {
        let mut scratch = spm::Scratch::default();
        let mut escaped = String::new();
        let mut after_special = true;
        for &fragment in fragments {
            match fragment {
                Fragment::Token(id) => out.push(id),
                Fragment::Text(from, to) => {
                    escape(&text[from..to], &mut escaped);
                    if self.add_space_prefix && after_special {
                        escaped.insert_str(0, SPACE);
                    }
                    spm.encode(&escaped, &self.pieces, &mut scratch, out);
                }
            }
            after_special = matches!(fragment, Fragment::Token(_));
        }
    }

    /// Appends the bytes that token `id` writes. Control tokens write nothing unless `special`, and then their name.
    ///
    /// Bytes, not text: a character may be spread over tokens. [`crate::stream::TextStream`] puts them together.
    pub fn decode_piece(&self, id: u32, special: bool, out: &mut Vec<u8>) {
        let Some(&attributes) = self.attributes.get(id as usize) else { return };
        if attributes.any(Attributes::HIDDEN) && !special {
            return;
        }
        let text = self.pieces.get(id);
        if attributes.any(Attributes::SPECIAL) {
            out.extend_from_slice(text);
        } else if attributes.any(Attributes::NORMAL) {
            match &self.model {
                Model::Bpe(bpe) if !bpe.pre.plain_text => spelled_bytes(text, out),
                Model::Bpe(_) | Model::Spm(_) => unescape(text, out),
            }
        } else if attributes.any(Attributes::BYTE) {
            out.extend(bytes::from_hex(text));
        }
    }

    /// The text of `ids`, with the space that encoding put before it taken off again. Bytes that are not UTF-8 become
    /// U+FFFD.
    pub fn decode(&self, ids: &[u32], special: bool) -> String {
        let mut out = Vec::new();
        for &id in ids {
            self.decode_piece(id, special, &mut out);
        }
        let prefixed = self.add_space_prefix && matches!(self.model, Model::Spm(_));
        let bytes = if prefixed { out.strip_prefix(b" ").unwrap_or(&out) } else { &out };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Whether `id` ends generation.
    pub fn is_eog(&self, id: u32) -> bool {
        self.special.ends.binary_search(&id).is_ok()
    }

    /// The tokens that end generation, ascending.
    pub fn eog(&self) -> &[u32] {
        &self.special.ends
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.special.bos
    }

    /// The token that ends a text.
    pub fn eos(&self) -> Option<u32> {
        self.special.eos
    }

    /// The token that ends a turn of a conversation.
    pub fn eot(&self) -> Option<u32> {
        self.special.eot
    }

    /// The token for what has no other.
    pub fn unk(&self) -> Option<u32> {
        self.special.unk
    }

    /// The token that fills up batches.
    pub fn pad(&self) -> Option<u32> {
        self.special.pad
    }

    /// Whether [`EncodeOptions::add_special`] begins a text with [`Tokenizer::bos`].
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// Whether [`EncodeOptions::add_special`] ends a text with [`Tokenizer::eos`].
    pub fn adds_eos(&self) -> bool {
        self.add_eos
    }

    /// How many tokens there are; ids are below.
    pub fn vocab_len(&self) -> usize {
        self.attributes.len()
    }

    /// The text of a token as the vocabulary spells it.
    pub fn token_text(&self, id: u32) -> Option<&[u8]> {
        ((id as usize) < self.vocab_len()).then(|| self.pieces.get(id))
    }

    /// The token that the vocabulary spells so.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.pieces.find(text.as_bytes()).filter(|&id| (id as usize) < self.vocab_len())
    }

    /// Bytes of memory that the tokenizer holds.
    pub fn memory(&self) -> usize {
        let model = match &self.model {
            Model::Bpe(bpe) => bpe.memory(),
            Model::Spm(spm) => spm.memory(),
        };
        size_of::<Self>() + self.pieces.memory() + self.attributes.capacity() + self.finder.memory() + model
    }
}

fn escape(text: &str, escaped: &mut String) {
    escaped.clear();
    for (at, part) in text.split(' ').enumerate() {
        if at > 0 {
            escaped.push_str(SPACE);
        }
        escaped.push_str(part);
    }
}

fn unescape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some((&first, rest)) = text.split_first() {
        match text.strip_prefix(SPACE.as_bytes()) {
            Some(after) => {
                out.push(b' ');
                text = after;
            }
            None => {
                out.push(first);
                text = rest;
            }
        }
    }
}

/// The bytes of a token in GPT-2's spelling. A character that spells no byte, which only a faulty vocabulary has,
/// stands for itself.
fn spelled_bytes(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match bytes::from_char(c) {
                Some(byte) => out.push(byte),
                None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
}
