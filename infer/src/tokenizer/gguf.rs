//! A tokenizer from the metadata of a GGUF file.

use super::{SpecialIds, Tokenizer, TokenizerError, Values, VocabSource};
use crate::gguf::{Metadata, Value};

impl Tokenizer {
    /// Makes the tokenizer that a model file describes. The metadata is not needed afterwards.
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let m = metadata;
        let id = |key| match m.get(key) {
            // Some converters write "none" as a signed -1.
            Some(value) if value.integer().is_some_and(|n| n < 0) => Ok(None),
            Some(_) => m.u32(key).map(Some),
            None => Ok(None),
        };
        let flag = |key| m.optional(m.bool(key));
        let strings = |key| -> Result<Option<Values<'_, &[u8]>>, TokenizerError> {
            Ok(m.optional(m.strings(key))?.map(|strings| Box::new(strings) as Values<'_, &[u8]>))
        };
        // llama.cpp takes scores that are integers, too.
        let scores: Option<Values<'_, f32>> = match m.get("tokenizer.ggml.scores") {
            Some(Value::Array(array)) if array.values().next().is_some_and(|v| v.integer().is_some()) => {
                Some(Box::new(m.i32s("tokenizer.ggml.scores")?.map(|score| score as f32)))
            }
            Some(_) => Some(Box::new(m.f32s("tokenizer.ggml.scores")?)),
            None => None,
        };
        let types = m.optional(m.i32s("tokenizer.ggml.token_type"))?;
        Self::new(VocabSource {
            model: m.str("tokenizer.ggml.model")?,
            pre: m.optional(m.str("tokenizer.ggml.pre"))?.filter(|pre| !pre.is_empty()),
            name: m.optional(m.str("general.name"))?,
            tokens: strings("tokenizer.ggml.tokens")?,
            scores,
            types: types.map(|types| Box::new(types) as Values<'_, i32>),
            merges: strings("tokenizer.ggml.merges")?,
            ids: SpecialIds {
                bos: id("tokenizer.ggml.bos_token_id")?,
                eos: id("tokenizer.ggml.eos_token_id")?,
                eot: id("tokenizer.ggml.eot_token_id")?,
                eom: id("tokenizer.ggml.eom_token_id")?,
                unk: id("tokenizer.ggml.unknown_token_id")?,
                pad: id("tokenizer.ggml.padding_token_id")?,
                fim_pad: id("tokenizer.ggml.fim_pad_token_id")?,
                fim_rep: id("tokenizer.ggml.fim_rep_token_id")?,
                fim_sep: id("tokenizer.ggml.fim_sep_token_id")?,
            },
            add_bos: flag("tokenizer.ggml.add_bos_token")?,
            add_eos: flag("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: flag("tokenizer.ggml.add_space_prefix")?,
        })
    }
}
