//! From prompt tokens to text: the loop around the forward pass. [`read()`] a prompt, then [`write()`] what follows.

use forebay_pager::{Clock, Nanos, Stats, Storage};
use forebay_prefetch::{ExpertStats, PassExperts};

use crate::model::{Engine, EngineError, Progress};
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
#[allow(missing_docs)] // The messages say what they are.
pub enum GenerateError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    #[error("the prompt is empty: there is nothing to continue")]
    EmptyPrompt,
}

/// A chunk of a prompt, and what was counted of experts while it went through the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its tokens.
    pub tokens: usize,
    /// All zero where the model has no experts.
    pub experts: PassExperts,
}

/// Tokens to be continued.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// All of them.
    pub tokens: &'a [u32],
    /// How many of the first ones are in the context already; if all are, the logits after the last one must be there, too.
    pub known: usize,
    /// How many of the first ones the sampler has seen already: in a conversation the last token of the last answer, which was
    /// sampled and not fed back.
    pub seen: usize,
}

/// What was written, and how long it took.
#[derive(Debug, Clone)]
pub struct Generated {
    /// The tokens, the one that ended the text included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// Time from the logits after the prompt to the end.
    pub decode_time: Nanos,
    /// Passes through the layers in that time: one less than the tokens, whose last is not fed back.
    pub decode_passes: usize,
    /// What the pager counted in that time.
    pub decode_stats: Stats,
    /// What was counted of experts in that time.
    pub decode_experts: ExpertStats,
}

/// Who listens while text is written.
pub trait Listener {
    /// `done` of the prompt's `total` tokens are in the context: told before the first pass, and after each.
    fn prompt(&mut self, done: usize, total: usize);

    /// A piece of text: whole characters, free of stop strings. `false` stops.
    fn text(&mut self, text: &str) -> bool;
}

/// Where to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens at most; at least one is written.
    pub tokens: usize,
    /// Go on after the end-of-text token.
    pub ignore_eos: bool,
}

/// Bytes of a token's text, nearly always; a longer one costs an allocation.
const LONGEST_PIECE: usize = 256;

/// What reading a prompt took.
#[derive(Debug, Clone)]
pub struct PromptRead {
    /// Time until the logits after the prompt.
    pub time: Nanos,
    /// The chunks in which it went through the layers.
    pub chunks: Vec<Chunk>,
}

/// Takes what is not yet known of a prompt through the layers, and shows all of it to the sampler.
///
/// # Errors
/// When the prompt is empty or does not fit the context, or the weights cannot be read.
///
/// # Panics
/// When more is known than there is.
pub fn read<S: Storage, C: Clock>(
    engine: &mut Engine<S, C>,
    sampler: &mut Sampler,
    prompt: Prompt<'_>,
    listener: &mut impl Listener,
) -> Result<PromptRead, GenerateError> {
    let Prompt { tokens, known, seen } = prompt;
    if tokens.is_empty() {
        return Err(GenerateError::EmptyPrompt);
    }
    assert!(known <= tokens.len(), "{known} of {} tokens are known", tokens.len());
    let begin = engine.now();
    let (mut chunks, mut before) = (Vec::new(), 0);
    if known < tokens.len() {
        listener.prompt(known, tokens.len());
        engine.forward(&tokens[known..], |Progress { done, experts }| {
            chunks.push(Chunk { tokens: done - before, experts });
            before = done;
            listener.prompt(known + done, tokens.len());
        })?;
    }
    for &token in tokens.iter().skip(seen) {
        sampler.accept(token);
    }
    Ok(PromptRead { time: engine.now() - begin, chunks })
}

/// Writes what follows a prompt, of which the logits are there. The last token written is not fed back, so that a conversation
/// can go on from the engine's position. Whatever the result, `stream` is as new afterwards.
///
/// # Errors
/// When the weights cannot be read, or the logits are not numbers.
pub fn write<S: Storage, C: Clock>(
    engine: &mut Engine<S, C>,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    stream: &mut TextStream,
    limits: Limits,
    listener: &mut impl Listener,
) -> Result<Generated, GenerateError> {
    let begin = engine.now();
    let _ = take_stats(engine); // Those of the prompt.

    let room = engine.context() - engine.position() + 1; // The last token need not fit.
    let mut tokens = Vec::with_capacity(limits.tokens.min(room));
    let finish = decode(engine, tokenizer, sampler, stream, limits, listener, &mut tokens);
    stream.finish(&mut |text| {
        if matches!(finish, Ok(finish) if finish != Finish::Cancelled) {
            listener.text(text);
        }
    });
    let (decode_stats, decode_experts) = take_stats(engine);
    Ok(Generated {
        finish: finish?,
        decode_time: engine.now() - begin,
        decode_passes: tokens.len().saturating_sub(1),
        decode_stats,
        decode_experts,
        tokens,
    })
}

fn take_stats<S: Storage, C: Clock>(engine: &mut Engine<S, C>) -> (Stats, ExpertStats) {
    let scheduler = engine.weights_mut().scheduler_mut();
    (scheduler.pager_mut().take_stats(), scheduler.take_expert_stats())
}

/// Samples and feeds back until something ends it.
fn decode<S: Storage, C: Clock>(
    engine: &mut Engine<S, C>,
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    stream: &mut TextStream,
    limits: Limits,
    listener: &mut impl Listener,
    tokens: &mut Vec<u32>,
) -> Result<Finish, GenerateError> {
    let mut piece = Vec::with_capacity(LONGEST_PIECE);
    loop {
        let token = sampler.sample(engine.logits_mut())?;
        sampler.accept(token);
        tokens.push(token);
        if tokenizer.is_eog(token) && !limits.ignore_eos {
            return Ok(Finish::EndOfText);
        }
        piece.clear();
        tokenizer.decode_piece(token, false, &mut piece);
        let mut go_on = true;
        if stream.feed(&piece, &mut |text| go_on &= listener.text(text)) {
            return Ok(Finish::Stop);
        }
        if !go_on {
            return Ok(Finish::Cancelled);
        }
        if tokens.len() >= limits.tokens {
            return Ok(Finish::Length);
        }
        if engine.position() == engine.context() {
            return Ok(Finish::ContextFull);
        }
        engine.forward(&[token], |_| ())?;
    }
}
