//! From prompt tokens to text: the loop around the forward pass.

use forebay_pager::{Clock, Nanos, Stats, Storage};

use crate::model::{Engine, EngineError};
use crate::sampler::{Sampler, SamplerError};
use crate::stream::TextStream;
use crate::tokenizer::Tokenizer;

/// Why writing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model said that the text ends here.
    EndOfText,
    /// A stop string came up.
    Stop,
    /// As many tokens as asked for were written.
    Length,
    /// The context is full.
    ContextFull,
    /// The caller asked to stop.
    Cancelled,
}

impl Finish {
    /// The word for it in machine-readable output.
    pub fn name(self) -> &'static str {
        match self {
            Finish::EndOfText => "end_of_text",
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ContextFull => "context_full",
            Finish::Cancelled => "cancelled",
        }
    }
}

/// Why nothing could be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum GenerateError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Sampler(#[from] SamplerError),
}

/// What was written, and how long it took.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The tokens, the one that ended the text included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// Time until the logits after the prompt.
    pub prompt_time: Nanos,
    /// Time from there to the end.
    pub decode_time: Nanos,
    /// Passes through the layers in that time: one less than the tokens, whose last is not fed back.
    pub decode_passes: usize,
    /// What the pager counted in that time.
    pub decode_stats: Stats,
}

/// Who listens while text is written.
pub trait Listener {
    /// `done` of the prompt's `total` tokens are through the layers.
    fn prompt(&mut self, done: usize, total: usize);

    /// A piece of text: whole characters, free of stop strings. `false` stops.
    fn text(&mut self, text: &str) -> bool;
}

/// Where to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens at most.
    pub tokens: usize,
    /// Go on after the end-of-text token.
    pub ignore_eos: bool,
}

/// Bytes of a token's text, nearly always; a longer one costs an allocation.
const LONGEST_PIECE: usize = 256;

/// Feeds `prompt` and writes what follows. The last token written is not fed back, so that a conversation can go on from the
/// engine's position.
///
/// # Errors
/// When the prompt does not fit the context, the weights cannot be read, or the logits are not numbers.
pub fn generate<S: Storage, C: Clock>(
    engine: &mut Engine<S, C>,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    stream: &mut TextStream,
    prompt: &[u32],
    limits: Limits,
    listener: &mut impl Listener,
) -> Result<Generated, GenerateError> {
    let begin = engine.now();
    for &token in prompt {
        sampler.accept(token);
    }
    engine.forward(prompt, |done| listener.prompt(done, prompt.len()))?;
    let prompt_done = engine.now();
    let _ = engine.weights_mut().scheduler_mut().pager_mut().take_stats();

    let mut tokens = Vec::with_capacity(limits.tokens);
    let mut piece = Vec::with_capacity(LONGEST_PIECE);
    let mut passes = 0;
    let finish = loop {
        if tokens.len() == limits.tokens {
            break Finish::Length;
        }
        let token = sampler.sample(engine.logits_mut())?;
        sampler.accept(token);
        tokens.push(token);
        if tokenizer.is_eog(token) && !limits.ignore_eos {
            break Finish::EndOfText;
        }
        piece.clear();
        tokenizer.decode_piece(token, false, &mut piece);
        let mut go_on = true;
        let stopped = stream.feed(&piece, &mut |text| go_on &= listener.text(text));
        if stopped {
            break Finish::Stop;
        }
        if !go_on {
            break Finish::Cancelled;
        }
        if tokens.len() == limits.tokens {
            break Finish::Length;
        }
        if engine.position() == engine.context() {
            break Finish::ContextFull;
        }
        engine.forward(&[token], |_| ())?;
        passes += 1;
    };
    stream.finish(&mut |text| {
        listener.text(text);
    });
    let end = engine.now();
    Ok(Generated {
        tokens,
        finish,
        prompt_time: prompt_done - begin,
        decode_time: end - prompt_done,
        decode_passes: passes,
        decode_stats: engine.weights_mut().scheduler_mut().pager_mut().take_stats(),
    })
}
