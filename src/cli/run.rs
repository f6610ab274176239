//! `forebay run`

use std::io::Read as _;
use std::path::Path;

use forebay::device::AnyEngine;
use forebay::infer::chat::{ChatError, ChatTemplate, Message};
use forebay::infer::generate::{self, Finish, GenerateError, Limits, Listener, Prompt};
use forebay::infer::open::Loaded;
use forebay::infer::sampler::{Sampler, SamplerParams};
use forebay::infer::stream::TextStream;
use forebay::infer::tokenizer::EncodeOptions;
use forebay::machine;
use forebay::simulator::timeline::ClockKind;
use indicatif::ProgressBar;

use super::args::{RunArgs, SamplingArgs};
use super::prompt_cache::PromptCache;
use super::report::{Prompted, report};
use super::timeline::Recording;
use super::{Failure, engine, show, trace};

pub(crate) fn run(args: RunArgs) -> Result<(), Failure> {
    let loaded = args.engine.load()?;
    let prompt = prompt_tokens(&args, &loaded)?;
    let context = args.engine.ctx.map_or(prompt.len() + args.n as usize, |c| c as usize);
    warn_beyond_training(&loaded, context);
    let params = args.sampling.params();
    let mut sampler = Sampler::new(params.clone(), loaded.tokenizer.vocab_len())?;
    let mut stream = args.sampling.stream()?;

    let mut options = args.engine.options(context, Some(prompt.len()))?;
    let recording = args.timeline.as_deref().map(|path| Recording::create(path, prompt.len(), args.n as usize));
    let recording = recording.transpose()?.map(|recording| recording.pay(&loaded, &mut options));
    let (mut engine, budget, choice) = engine::open(&loaded, &options, &args.device.on()?)?;
    let recording = recording.map(|recording| recording.start(&mut engine));
    if let Some(path) = &args.trace_out {
        engine.record_routes(Some(trace::create(path, &loaded, prompt.len())?));
    }
    let mut printer = Printer::new(!args.json);
    let (prompted, saved) = read_prompt(&args, &loaded, &mut engine, &mut sampler, &prompt, &mut printer)?;
    let limits = Limits { tokens: args.n as usize, ignore_eos: args.ignore_eos };
    let written = generate::write(&mut engine, &loaded.tokenizer, &mut sampler, &mut stream, limits, &mut printer)?;
    if let (Some(path), Some(recorder)) = (&args.trace_out, engine.record_routes(None)) {
        recorder.finish().map_err(|source| trace::failure(path, source))?;
    }
    if let Some(recording) = recording {
        let clock = if args.device.r#virtual { ClockKind::Virtual } else { ClockKind::System };
        recording.finish(&mut engine, &loaded, &budget, &choice, clock)?;
    }
    if let Some(failure) = printer.failure {
        return Err(failure);
    }
    if !args.json {
        show::line("")?;
        tell_if_cut(written.finish, args.n, context);
    }
    let report = report(printer.text, &prompted, params.seed, written, &budget, &choice);
    if args.stats {
        report.tell();
    }
    if args.json {
        show::json(&report)?;
    }
    // The text is out, whatever has become of that file.
    saved
}

/// Brings the prompt into the context: what the prompt cache has from there, the rest by way of the layers. Also returns
/// whether the prompt cache could be written.
fn read_prompt(
    args: &RunArgs,
    loaded: &Loaded,
    engine: &mut AnyEngine,
    sampler: &mut Sampler,
    prompt: &[u32],
    printer: &mut Printer,
) -> Result<(Prompted, Result<(), Failure>), Failure> {
    let begin = engine.now();
    let cache = args.prompt_cache.as_deref().map(|path| PromptCache::open(path, loaded, engine)).transpose()?;
    let known = cache.as_ref().map(|cache| cache.restore(engine, prompt)).transpose()?;
    let reused = known.map_or(0, |known| known.tokens);
    let reuse_time = engine.now() - begin;
    let read = generate::read(engine, sampler, Prompt { tokens: prompt, known: reused, seen: 0 }, printer)?;
    // Now: the sampler is about to change the logits.
    let saved = match (cache, known) {
        (Some(cache), Some(known)) if !known.complete => cache.save(engine, prompt),
        _ => Ok(()),
    };
    Ok((Prompted { tokens: prompt.len(), reused, reuse_time, read }, saved))
}

/// Says so when the text was cut off, and what allows more.
pub(crate) fn tell_if_cut(finish: Finish, tokens: u32, context: usize) {
    match finish {
        Finish::Length => eprintln!("[stopped after {tokens} tokens; -n allows more]"),
        Finish::ContextFull => eprintln!("[the context of {context} tokens is full; --ctx allows more]"),
        Finish::EndOfText | Finish::Stop | Finish::Cancelled => {}
    }
}

/// The tokens to begin with: the prompt in the model's chat template, or as it is.
fn prompt_tokens(args: &RunArgs, loaded: &Loaded) -> Result<Vec<u32>, Failure> {
    let text = match (&args.prompt, &args.file) {
        (Some(prompt), _) => prompt.clone(),
        (None, Some(path)) => read(path)?,
        (None, None) => unreachable!("the command line asks for one of them"),
    };
    let raw = |text: &str| loaded.tokenizer.encode(text, EncodeOptions { add_special: true, parse_special: true });
    let tokens = if args.raw {
        raw(&text)
    } else {
        match ChatTemplate::from_metadata(&loaded.gguf.metadata, &loaded.tokenizer) {
            Ok(template) => {
                let system = args.system.iter().map(|s| Message::new("system", s));
                let messages: Vec<_> = system.chain([Message::new("user", text)]).collect();
                loaded.tokenizer.encode_chat(&template.render(&messages, true)?)
            }
            Err(ChatError::NoTemplate) if args.system.is_none() => {
                tracing::info!("the model has no chat template: the prompt is continued as it is");
                raw(&text)
            }
            Err(error) => return Err(error.into()),
        }
    };
    if tokens.is_empty() {
        return Err(GenerateError::EmptyPrompt.into());
    }
    Ok(tokens)
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the prompt's file")]
pub(super) fn read(path: &Path) -> Result<String, Failure> {
    let at = |source| Failure::Io { what: path.display().to_string(), source };
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(at)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(at)
}

/// Writing further than the model was trained for works, and gives worse text.
pub(crate) fn warn_beyond_training(loaded: &Loaded, context: usize) {
    let trained = loaded.map.decoder.shape.context;
    if context > trained {
        tracing::warn!("a context of {context} tokens is longer than the {trained} that the model was trained for");
    }
}

impl SamplingArgs {
    pub(crate) fn params(&self) -> SamplerParams {
        SamplerParams {
            temperature: self.temp,
            top_k: self.top_k as usize,
            top_p: self.top_p,
            min_p: self.min_p,
            last_n: self.repeat_last_n as usize,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            logit_bias: self.logit_bias.clone(),
            seed: self.seed.unwrap_or_else(machine::seed),
        }
    }

    pub(crate) fn stream(&self) -> Result<TextStream, Failure> {
        TextStream::new(&self.stop).map_err(|e| Failure::Usage(format!("--stop: {e}")))
    }
}

/// Shows the progress of the prompt, then the text.
pub(crate) struct Printer {
    live: bool,
    bar: Option<ProgressBar>,
    pub(crate) text: String,
    pub(crate) failure: Option<Failure>,
}

impl Printer {
    /// `live` prints the text as it comes; else it is only kept.
    pub(crate) fn new(live: bool) -> Self {
        Printer { live, bar: None, text: String::new(), failure: None }
    }
}

impl Listener for Printer {
    fn prompt(&mut self, done: usize, total: usize) {
        let bar = self.bar.get_or_insert_with(|| show::prompt_bar(done as u64, total as u64));
        bar.set_position(done as u64);
        if done == total {
            bar.finish_and_clear();
            self.bar = None;
        }
    }

    fn text(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        if self.live
            && let Err(failure) = show::out(text)
        {
            self.failure = Some(failure);
        }
        self.failure.is_none()
    }
}
