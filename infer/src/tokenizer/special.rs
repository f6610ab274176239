//! Special tokens: which there are, what they are for, and which end generation.
//!
//! Model files leave much of this unsaid, and llama.cpp fills it in from the texts of tokens. The same is done here,
//! so that generation ends where it ends there.

use super::error::TokenizerError;
use super::pieces::Pieces;
use super::source::{SpecialIds, TokenType};

/// What is known about a token: a set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Attributes(u8);

impl Attributes {
    pub(super) const UNKNOWN: Self = Self(1);
    pub(super) const UNUSED: Self = Self(2);
    pub(super) const NORMAL: Self = Self(4);
    pub(super) const CONTROL: Self = Self(8);
    pub(super) const USER_DEFINED: Self = Self(16);
    pub(super) const BYTE: Self = Self(32);
    /// Takes the white space after it.
    pub(super) const STRIPS_RIGHT: Self = Self(64);
    /// Not part of the text that a model writes.
    pub(super) const HIDDEN: Self = Self(Self::CONTROL.0 | Self::UNKNOWN.0);
    /// Found in a text before it is cut into words.
    pub(super) const SPECIAL: Self = Self(Self::HIDDEN.0 | Self::USER_DEFINED.0);

    pub(super) fn of(kind: TokenType) -> Self {
        match kind {
            TokenType::Undefined => Self(0),
            TokenType::Normal => Self::NORMAL,
            TokenType::Unknown => Self::UNKNOWN,
            TokenType::Control => Self::CONTROL,
            TokenType::UserDefined => Self::USER_DEFINED,
            TokenType::Unused => Self::UNUSED,
            TokenType::Byte => Self::BYTE,
        }
    }

    pub(super) fn any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    fn set(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }
}

/// Texts of tokens that end a turn. The first in a vocabulary is its end-of-turn token.
const END_OF_TURN: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];
const END_OF_MESSAGE: [&str; 1] = ["<|eom_id|>"];

/// Texts of tokens around a gap to fill in. They are control tokens, whatever the file says.
const FILL_IN: [&[&str]; 3] = [
    &[
        "<|fim_prefix|>",
        "<fim-prefix>",
        "<fim_prefix>",
        "<｜fim▁begin｜>",
        "<PRE>",
        "▁<PRE>",
        "<|code_prefix|>",
        "<|prefix|>",
    ],
    &[
        "<|fim_suffix|>",
        "<fim-suffix>",
        "<fim_suffix>",
        "<｜fim▁hole｜>",
        "<SUF>",
        "▁<SUF>",
        "<|code_suffix|>",
        "<|suffix|>",
    ],
    &[
        "<|fim_middle|>",
        "<fim-middle>",
        "<fim_middle>",
        "<｜fim▁end｜>",
        "<MID>",
        "▁<MID>",
        "<|code_middle|>",
        "<|middle|>",
    ],
];
const FILL_PAD: [&str; 5] = ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"];
const FILL_REPOSITORY: [&str; 5] = ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"];
const FILL_FILE: [&str; 1] = ["<|file_sep|>"];

/// Texts of tokens after which there is nothing more to generate.
const END_OF_GENERATION: [&str; 22] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens of gpt-oss that are written out although they are control tokens.
const ALWAYS_SHOWN: [&str; 4] = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"];

/// The special tokens of a vocabulary.
#[derive(Debug, Clone, Default)]
pub(super) struct Special {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) eot: Option<u32>,
    pub(super) unk: Option<u32>,
    pub(super) pad: Option<u32>,
    /// Tokens that end generation, ascending.
    pub(super) ends: Vec<u32>,
}

/// Checks the ids that a file names against the size of the vocabulary.
pub(super) fn checked(ids: SpecialIds, tokens: usize) -> Result<SpecialIds, TokenizerError> {
    let check = |id: Option<u32>, key| match id {
        None | Some(u32::MAX) => Ok(None),
        Some(id) if (id as usize) < tokens => Ok(Some(id)),
        Some(id) => Err(TokenizerError::OutOfRange { key, id, tokens }),
    };
    Ok(SpecialIds {
        bos: check(ids.bos, "tokenizer.ggml.bos_token_id")?,
        eos: check(ids.eos, "tokenizer.ggml.eos_token_id")?,
        eot: check(ids.eot, "tokenizer.ggml.eot_token_id")?,
        eom: check(ids.eom, "tokenizer.ggml.eom_token_id")?,
        unk: check(ids.unk, "tokenizer.ggml.unknown_token_id")?,
        pad: check(ids.pad, "tokenizer.ggml.padding_token_id")?,
        fim_pad: check(ids.fim_pad, "tokenizer.ggml.fim_pad_token_id")?,
        fim_rep: check(ids.fim_rep, "tokenizer.ggml.fim_rep_token_id")?,
        fim_sep: check(ids.fim_sep, "tokenizer.ggml.fim_sep_token_id")?,
    })
}

/// Completes `ids` from the texts of tokens, and corrects the attributes of tokens that look special.
pub(super) fn complete(
    ids: SpecialIds,
    pieces: &Pieces,
    attributes: &mut [Attributes],
    model_name: Option<&str>,
) -> Special {
    let mut known = Known { pieces, attributes };
    let eot = known.named_or_first(ids.eot, &END_OF_TURN);
    let eom = known.named_or_first(ids.eom, &END_OF_MESSAGE);
    for texts in FILL_IN {
        known.named_or_first(None, texts);
    }
    let fills = [
        known.named_or_first(ids.fim_pad, &FILL_PAD),
        known.named_or_first(ids.fim_rep, &FILL_REPOSITORY),
        known.named_or_first(ids.fim_sep, &FILL_FILE),
    ];
    known.mark_unused();

    let mut ends: Vec<u32> = fills.into_iter().flatten().collect();
    for text in END_OF_GENERATION {
        if let Some(id) = known.id(text) {
            ends.push(id);
            known.attributes[id as usize].set(Attributes::CONTROL);
        }
    }
    for text in ALWAYS_SHOWN {
        if let Some(id) = known.id(text) {
            known.attributes[id as usize] = Attributes::USER_DEFINED;
        }
    }
    ends.extend([ids.eos, eot, eom].into_iter().flatten());
    ends.sort_unstable();
    ends.dedup();
    known.spare_markers(&mut ends);
    if model_name.is_some_and(is_phi3) {
        known.strip_right();
    }
    Special { bos: ids.bos, eos: ids.eos, eot, unk: ids.unk, pad: ids.pad, ends }
}

fn is_phi3(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains("phi-3") || name.contains("phi3")
}

struct Known<'a> {
    pieces: &'a Pieces,
    attributes: &'a mut [Attributes],
}

impl Known<'_> {
    /// The token with this text. Pieces that only merges know are no tokens.
    fn id(&self, text: &str) -> Option<u32> {
        self.pieces.find(text.as_bytes()).filter(|&id| (id as usize) < self.attributes.len())
    }

    /// The id that the file names, or else the first of `texts` that is a token, which becomes a control token.
    fn named_or_first(&mut self, named: Option<u32>, texts: &[&str]) -> Option<u32> {
        named.or_else(|| {
            let id = texts.iter().find_map(|text| self.id(text))?;
            self.attributes[id as usize].set(Attributes::CONTROL);
            Some(id)
        })
    }

    fn mark_unused(&mut self) {
        for (id, attributes) in self.attributes.iter_mut().enumerate() {
            if attributes.any(Attributes::CONTROL) {
                let text = self.pieces.get(id as u32);
                if text.windows(6).any(|part| part == b"unused") {
                    attributes.set(Attributes::UNUSED);
                }
            }
        }
    }

    /// Takes back what a text alone does not say: with gpt-oss and Solar Open `<|end|>` ends a part of a message, and
    /// with Gemma 4 and PLaMo `</s>` is an ordinary token.
    fn spare_markers(&mut self, ends: &mut Vec<u32>) {
        let ending = |text| self.id(text).filter(|id| ends.contains(id));
        let calls = ending("<|call|>").or(ending("<|calls|>")).is_some();
        let returns = ending("<|return|>").or(ending("<|flush|>")).is_some();
        let end = ending("<|end|>").filter(|_| calls && returns);
        let marker = ending("<|tool_response>").or(ending("<|plamo:eos|>")).is_some();
        let slash_s = ending("</s>").filter(|_| marker);
        for (id, becomes) in [(end, Attributes::USER_DEFINED), (slash_s, Attributes::NORMAL)] {
            if let Some(id) = id {
                ends.retain(|&other| other != id);
                self.attributes[id as usize] = becomes;
            }
        }
    }

    fn strip_right(&mut self) {
        for attributes in self.attributes.iter_mut().filter(|attributes| attributes.any(Attributes::SPECIAL)) {
            attributes.set(Attributes::STRIPS_RIGHT);
        }
        if let Some(id) = self.id("</s>") {
            self.attributes[id as usize].set(Attributes::STRIPS_RIGHT);
        }
        for text in ["<unk>", "<s>", "<|endoftext|>"] {
            if let Some(id) = self.id(text) {
                self.attributes[id as usize].clear(Attributes::STRIPS_RIGHT);
            }
        }
    }
}
