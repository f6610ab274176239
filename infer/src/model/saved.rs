//! What an engine knows of its context, as bytes: who has them need not read the same beginning of a prompt again.
//!
//! All numbers are little-endian.
//!
//! | what | bytes |
//! |---|---|
//! | [`MAGIC`], [`VERSION`] | 8, 4 |
//! | the [`Fingerprint`] of the model | 32 |
//! | how keys and values are kept: 0 as f16, 1 as q8_0, 2 as f32 | 4 |
//! | how many tokens there are, and the tokens | 8, and 4 for each |
//! | SHA-256 of everything so far | 32 |
//! | for each layer, the keys and values that its attention may see again: tile by tile, head by head | as their shapes say |
//! | the states of all recurrent layers, in f32 | 4 for each element |
//! | the logits after the last token, in f32 | 4 for each |
//! | SHA-256 of everything so far | 32 |
//!
//! None of it depends on the instruction set, the length of the context or the chunks of a prompt. It is written and read in
//! small pieces, and no length in it decides how much memory is taken.

use std::io::{self, Read, Write};
use std::ops::Range;

use forebay_pager::{Clock, Storage};

use super::Engine;
use super::decoder::Mixer;
use super::fingerprint::Fingerprint;
use super::hashed::Hashed;
use crate::kernels::KvType;

/// How a saved context begins.
pub const MAGIC: [u8; 8] = *b"forebay\0";

/// The version of the format. It rises, too, when the kernels come to give other bits: what was saved must be what would be
/// computed.
pub const VERSION: u32 = 1;

/// Why a saved context cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The messages say what the fields are.
pub enum SavedError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("this is no saved context of forebay")]
    Magic,
    #[error("the context was saved in version {found} of the format, and this is for version {VERSION}")]
    Version { found: u32 },
    #[error("the context was saved with another model")]
    Model,
    #[error("the context was saved with a KV cache in {found}, and this one is in {wanted}")]
    KvType { found: KvType, wanted: KvType },
    #[error("the saved context is cut off")]
    CutOff,
    #[error("the saved context is damaged: its digest does not fit")]
    Damaged,
    #[error("the saved context goes on after its end")]
    TooLong,
}

/// What could be had of a saved context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Tokens of the prompt that are in the context now. When it is all of them, their logits are there as well.
    pub tokens: usize,
    /// Whether to save the context after this prompt would spare nothing more: all of the prompt was saved, and could be used
    /// but for its last token.
    pub complete: bool,
}

impl<S: Storage, C: Clock> Engine<S, C> {
    /// Writes what is known of the context, which is that of `tokens`, and the logits that the last pass gave: so before a
    /// sampler changes them.
    ///
    /// # Errors
    /// Those of `out`.
    ///
    /// # Panics
    /// When there are not as many tokens as positions, or the logits are not those after the last of them: a pass has failed.
    pub fn save(&self, tokens: &[u32], model: &Fingerprint, out: impl Write) -> io::Result<()> {
        assert_eq!(tokens.len(), self.position, "tokens of the context");
        assert!(tokens.is_empty() || self.logits_at == Some(self.position), "logits after the last of them");
        let mut out = Hashed::new(out);
        out.put(&MAGIC)?;
        out.put(&VERSION.to_le_bytes())?;
        out.put(model.bytes())?;
        out.put(&code(self.kv).to_le_bytes())?;
        out.put(&(tokens.len() as u64).to_le_bytes())?;
        out.put_words(tokens.iter().copied())?;
        out.put_digest()?;
        let mut bytes = Vec::new();
        for layer in 0..self.decoder.layers.len() {
            for piece in self.cache.pieces(layer, self.seen_again(layer, self.position)) {
                bytes.clear();
                self.cache.copy_out(&piece, &mut bytes);
                out.put(&bytes)?;
            }
        }
        out.put_words(self.states.kept().iter().map(|x| x.to_bits()))?;
        out.put_words(self.logits.iter().map(|x| x.to_bits()))?;
        out.put_digest()
    }

    /// Forgets the context, and takes from a saved one as many of the first tokens of `prompt` as it has and as can be used.
    /// The passes that follow give the same bits as if all of the prompt had gone through the layers.
    ///
    /// All that was saved can be used where it is the beginning of the prompt. Of less than all of it there are the keys and
    /// values, but not what recurrent layers knew, nor what had left the windows by then: where a layer has need of that
    /// nothing can be used. What cannot be used is not read.
    ///
    /// # Errors
    /// When the saved context is damaged or does not belong to this model and this kind of KV cache. The context is empty then.
    pub fn restore(&mut self, prompt: &[u32], model: &Fingerprint, from: impl Read) -> Result<Restored, SavedError> {
        self.clear();
        let restored = self.take(prompt, model, Hashed::new(from));
        if restored.is_err() {
            self.clear();
        }
        restored
    }

    fn take(
        &mut self,
        prompt: &[u32],
        model: &Fingerprint,
        mut from: Hashed<impl Read>,
    ) -> Result<Restored, SavedError> {
        let (saved, common) = self.take_head(prompt, model, &mut from)?;
        let tokens = self.usable(saved, common, prompt.len());
        if tokens > 0 {
            self.take_layers(saved, tokens, &mut from)?;
            let states = self.states.kept_mut();
            from.take_words(states.len(), |i, word| states[i] = f32::from_bits(word))?;
            let logits = &mut self.logits;
            from.take_words(logits.len(), |i, word| logits[i] = f32::from_bits(word))?;
            from.take_digest()?;
            if !from.is_at_end()? {
                return Err(SavedError::TooLong);
            }
            self.position = tokens;
            self.logits_at = (tokens == saved).then_some(tokens);
        }
        Ok(Restored { tokens, complete: common == prompt.len() && tokens + 1 >= common })
    }

    /// How many tokens were saved, and how many of them are the first of `prompt`.
    fn take_head(
        &self,
        prompt: &[u32],
        model: &Fingerprint,
        from: &mut Hashed<impl Read>,
    ) -> Result<(usize, usize), SavedError> {
        if from.take()? != MAGIC {
            return Err(SavedError::Magic);
        }
        let version = u32::from_le_bytes(from.take()?);
        if version != VERSION {
            return Err(SavedError::Version { found: version });
        }
        let (found, kv) = (from.take::<32>()?, u32::from_le_bytes(from.take()?));
        let saved = usize::try_from(u64::from_le_bytes(from.take()?)).map_err(|_| SavedError::CutOff)?;
        let mut common = 0;
        from.take_words(saved, |i, token| common += usize::from(common == i && prompt.get(i) == Some(&token)))?;
        from.take_digest()?;
        // Only now is it certain that these are not damaged.
        if found != *model.bytes() {
            return Err(SavedError::Model);
        }
        let wanted = self.kv;
        match KvType::ALL.into_iter().find(|&ty| code(ty) == kv) {
            Some(found) if found == wanted => Ok((saved, common)),
            Some(found) => Err(SavedError::KvType { found, wanted }),
            None => Err(SavedError::Damaged),
        }
    }

    /// The keys and values of all layers, of the positions below `tokens`.
    fn take_layers(&mut self, saved: usize, tokens: usize, from: &mut Hashed<impl Read>) -> Result<(), SavedError> {
        let mut bytes = Vec::new();
        for layer in 0..self.decoder.layers.len() {
            for piece in self.cache.pieces(layer, self.seen_again(layer, saved)) {
                bytes.resize(self.cache.piece_bytes(&piece), 0);
                from.fill(&mut bytes)?;
                self.cache.copy_in(&piece, tokens, &bytes);
            }
        }
        Ok(())
    }

    /// Of `position` positions, those that a layer's attention may see when it goes on behind them.
    fn seen_again(&self, layer: usize, position: usize) -> Range<usize> {
        match self.decoder.layers[layer].mixer {
            // The token that comes next is part of what its window sees.
            Mixer::Attention(rule) => rule.window.map_or(0, |window| (position + 1).saturating_sub(window))..position,
            Mixer::Latent(_) => 0..position,
            Mixer::DeltaNet(_) => 0..0,
        }
    }

    /// How many of the `common` first tokens of a prompt of `len` can be used, when `saved` tokens were saved.
    fn usable(&self, saved: usize, common: usize, len: usize) -> usize {
        // A prompt that does not fit the context is refused later, with its numbers.
        if len > self.context() {
            return 0;
        }
        if common == saved {
            return saved;
        }
        let recurrent = |layer: usize| matches!(self.decoder.layers[layer].mixer, Mixer::DeltaNet(_));
        let lost = |layer| recurrent(layer) || self.seen_again(layer, saved).start > 0;
        if (0..self.decoder.layers.len()).any(lost) {
            return 0;
        }
        // The logits that were saved are those after the last of the saved tokens.
        common.min(len.saturating_sub(1))
    }
}

/// The number of a type of the KV cache.
fn code(ty: KvType) -> u32 {
    match ty {
        KvType::F16 => 0,
        KvType::Q8_0 => 1,
        KvType::F32 => 2,
    }
}
