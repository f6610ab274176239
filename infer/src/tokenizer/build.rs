//! Making a tokenizer from a vocabulary, with everything checked.

use super::bpe::Bpe;
use super::bytes;
use super::error::{TokenizerError, printable};
use super::merges::{Merge, Merges};
use super::partition::Finder;
use super::pieces::Pieces;
use super::source::{SpecialIds, TokenType, Values, VocabSource};
use super::special::{self, Attributes};
use super::spm::Spm;
use super::{Model, Tokenizer, pre};

const MAX_TOKENS: usize = 1 << 28;
const MAX_BYTES: usize = 1 << 31;

pub(super) fn build(source: VocabSource<'_>) -> Result<Tokenizer, TokenizerError> {
    let (pre, defaults) = kind(&source)?;
    let mut pieces = read_tokens(source.tokens)?;
    let count = pieces.len();
    let mut attributes = read_types(source.types, &pieces)?;
    let mut ids = special::checked(source.ids, count)?;
    let in_range = |id: Option<u32>| id.filter(|&id| (id as usize) < count);
    ids.bos = ids.bos.or(in_range(defaults.bos));
    ids.eos = ids.eos.or(in_range(defaults.eos));
    ids.unk = ids.unk.or(in_range(defaults.unk));
    let special = special::complete(ids, &pieces, &mut attributes, source.name);

    let model = match pre {
        Some(pre) => {
            let merges = read_merges(source.merges, &mut pieces)?;
            pieces.shrink();
            Model::Bpe(Bpe::new(pre, merges, &pieces))
        }
        None => {
            pieces.shrink();
            Model::Spm(Spm::new(read_scores(source.scores, count)?, &pieces, special.unk))
        }
    };
    let add_bos = source.add_bos.unwrap_or(pre.is_none_or(|pre| pre.add_bos));
    let add_eos = source.add_eos.unwrap_or(false);
    for (add, id, flag, key) in [
        (add_bos, special.bos, "tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id"),
        (add_eos, special.eos, "tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id"),
    ] {
        if add && id.is_none() {
            return Err(TokenizerError::NothingToAdd { flag, key });
        }
    }
    Ok(Tokenizer {
        finder: Finder::new(&pieces, &attributes),
        pieces,
        attributes,
        special,
        model,
        add_bos,
        add_eos,
        add_space_prefix: source.add_space_prefix.unwrap_or(pre.is_none()),
    })
}

/// The pre-tokenizer, for vocabularies with merges, and the special tokens that go without saying.
fn kind(source: &VocabSource<'_>) -> Result<(Option<&'static pre::PreTokenizer>, SpecialIds), TokenizerError> {
    let none = SpecialIds::default();
    match source.model {
        "llama" => Ok((None, SpecialIds { bos: Some(1), eos: Some(2), unk: Some(0), ..none })),
        "gpt2" | "gemma4" => {
            let name = if source.model == "gemma4" { Some("gemma4") } else { source.pre };
            let name = name.unwrap_or_else(|| {
                tracing::warn!("`tokenizer.ggml.pre` is missing: text is cut by an old default, which may be wrong");
                "default"
            });
            let pre = pre::named(name);
            let pre = pre.ok_or_else(|| TokenizerError::UnknownPreTokenizer { pre: printable(name.as_bytes()) })?;
            Ok((Some(pre), none))
        }
        model => Err(TokenizerError::UnknownModel { model: printable(model.as_bytes()) }),
    }
}

fn read_tokens<'a>(tokens: Option<Values<'a, &'a [u8]>>) -> Result<Pieces, TokenizerError> {
    let tokens = tokens.ok_or(TokenizerError::Missing { key: "tokenizer.ggml.tokens" })?;
    let mut pieces = Pieces::with_capacity(tokens.size_hint().0.min(MAX_TOKENS));
    let mut nameless = String::new();
    for token in tokens {
        let mut token = token;
        if token.is_empty() {
            // llama.cpp's name for a token without text.
            nameless = format!("[EMPTY_{}]", pieces.len());
            token = nameless.as_bytes();
        }
        grow(&mut pieces, token)?.map_err(|first| TokenizerError::Duplicate {
            text: printable(token),
            first,
            second: pieces.len() as u32,
        })?;
    }
    drop(nameless);
    if pieces.len() == 0 { Err(TokenizerError::Size { tokens: 0, bytes: 0 }) } else { Ok(pieces) }
}

/// Adds a text if the sizes stay what the packed form can hold. The inner error is the id that the text has already.
fn grow(pieces: &mut Pieces, text: &[u8]) -> Result<Result<u32, u32>, TokenizerError> {
    let (tokens, bytes) = (pieces.len() + 1, pieces.text_len() + text.len());
    if tokens > MAX_TOKENS || bytes > MAX_BYTES {
        return Err(TokenizerError::Size { tokens, bytes });
    }
    Ok(pieces.add(text))
}

fn read_types(types: Option<Values<'_, i32>>, pieces: &Pieces) -> Result<Vec<Attributes>, TokenizerError> {
    let count = pieces.len();
    let Some(types) = types else { return Ok(vec![Attributes::NORMAL; count]) };
    let mut attributes = Vec::with_capacity(count);
    attributes.extend(types.take(count).map(|n| Attributes::of(TokenType::from_number(n))));
    if attributes.len() < count {
        let found = attributes.len();
        return Err(TokenizerError::TooShort { key: "tokenizer.ggml.token_type", found, expected: count });
    }
    for (token, flags) in (0..).zip(&attributes) {
        let text = pieces.get(token);
        if *flags == Attributes::BYTE && bytes::from_hex(text).is_none() {
            return Err(TokenizerError::Byte { token, text: printable(text) });
        }
    }
    Ok(attributes)
}

fn read_scores(scores: Option<Values<'_, f32>>, count: usize) -> Result<Vec<f32>, TokenizerError> {
    let scores = scores.ok_or(TokenizerError::Missing { key: "tokenizer.ggml.scores" })?;
    let mut all = Vec::with_capacity(count);
    all.extend(scores.take(count));
    if all.len() < count {
        let found = all.len();
        return Err(TokenizerError::TooShort { key: "tokenizer.ggml.scores", found, expected: count });
    }
    match (0..).zip(&all).find(|(_, score)| score.is_nan()) {
        Some((token, _)) => Err(TokenizerError::Score { token }),
        None => Ok(all),
    }
}

fn read_merges<'a>(merges: Option<Values<'a, &'a [u8]>>, pieces: &mut Pieces) -> Result<Merges, TokenizerError> {
    let merges = merges.ok_or(TokenizerError::Missing { key: "tokenizer.ggml.merges" })?;
    let mut all = Merges::with_capacity(merges.size_hint().0.min(MAX_TOKENS));
    let mut joined = Vec::new();
    for (rank, merge) in merges.enumerate() {
        // The first byte may be a space that belongs to the left piece.
        let space = merge.iter().skip(1).position(|&b| b == b' ').map(|at| at + 1);
        let (left, right) = match space {
            Some(space) if space + 1 < merge.len() => (&merge[..space], &merge[space + 1..]),
            _ => return Err(TokenizerError::Merge { rank, text: printable(merge) }),
        };
        // Pieces that are no tokens are kept: a later merge may make a token of them.
        joined.clear();
        joined.extend_from_slice(left);
        joined.extend_from_slice(right);
        let mut id = |text: &[u8]| grow(pieces, text).map(|added| added.unwrap_or_else(|present| present));
        all.push(Merge { left: id(left)?, right: id(right)?, merged: id(&joined)? });
        if all.len() > MAX_TOKENS {
            return Err(TokenizerError::Size { tokens: all.len(), bytes: pieces.text_len() });
        }
    }
    Ok(all)
}
