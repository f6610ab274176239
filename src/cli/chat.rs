//! `forebay chat`

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use forebay::infer::chat::{ChatTemplate, Message};
use forebay::infer::generate::{self, Limits, Prompt};
use forebay::infer::kernels::KvType;
use forebay::infer::model::ModelMap;
use forebay::infer::model::kv_bytes;
use forebay::infer::sampler::Sampler;

use super::args::ChatArgs;
use super::run::{Printer, tell_if_cut, warn_beyond_training};
use super::{Failure, engine, show};

/// Context when none is given: a conversation of some length, if a quarter of the ceiling pays for it.
const DEFAULT_CONTEXT: usize = 4096;
const LEAST_DEFAULT_CONTEXT: usize = 512;

fn default_context(map: &ModelMap, kv: KvType, ceiling: u64) -> usize {
    let per_position = kv_bytes(map, kv, DEFAULT_CONTEXT, DEFAULT_CONTEXT) / DEFAULT_CONTEXT as u64;
    let affordable = (ceiling / 4 / per_position.max(1)) as usize;
    affordable.clamp(LEAST_DEFAULT_CONTEXT, DEFAULT_CONTEXT).min(map.decoder.shape.context)
}

pub(crate) fn chat(args: ChatArgs) -> Result<(), Failure> {
    let loaded = args.engine.load()?;
    let template = ChatTemplate::from_metadata(&loaded.gguf.metadata, &loaded.tokenizer)?;
    let context = match args.engine.ctx {
        Some(context) => context as usize,
        None => default_context(&loaded.map, args.engine.kv_type, args.engine.ceiling()?),
    };
    warn_beyond_training(&loaded, context);
    let mut sampler = Sampler::new(args.sampling.params(), loaded.tokenizer.vocab_len())?;
    let mut stream = args.sampling.stream()?;
    let options = args.engine.options(context, None)?;
    let (mut engine, ..) = engine::open(&loaded, &options, &args.device.on()?)?;

    let mut messages: Vec<Message> = args.system.iter().map(|s| Message::new("system", s)).collect();
    let mut known: Vec<u32> = Vec::new(); // The tokens in the engine's context.
    let mut seen = 0; // Of what is fed next, the sampler's.
    let limits = Limits { tokens: args.n as usize, ignore_eos: false };
    while let Some(line) = ask(context)? {
        messages.push(Message::new("user", line));
        let mut tokens = loaded.tokenizer.encode_chat(&template.render(&messages, true)?);
        // Room for an answer is part of fitting. The oldest turn after the system's goes first, question and answer alike.
        let first = usize::from(args.system.is_some());
        let room = (args.n as usize).min(context / 4);
        while tokens.len() + room > context && messages.len() > first + 1 {
            messages.drain(first..messages.len().min(first + 2));
            tokens = loaded.tokenizer.encode_chat(&template.render(&messages, true)?);
            eprintln!("[the oldest turn is forgotten: the context has {context} tokens; --ctx allows more]");
        }
        if tokens.len() >= context {
            messages.pop();
            eprintln!("[this needs {} tokens, and the context has {context}; --ctx allows more]", tokens.len());
            continue;
        }
        // A template may rewrite the past; only what is truly a continuation is continued.
        let new = match tokens.strip_prefix(known.as_slice()) {
            Some(new) if !new.is_empty() => new,
            _ => {
                engine.clear();
                sampler.forget();
                known.clear();
                seen = 0;
                &tokens[..]
            }
        };
        let mut printer = Printer::new(true);
        let prompt = Prompt { tokens: new, known: 0, seen };
        generate::read(&mut engine, &mut sampler, prompt, &mut printer)?;
        let written = generate::write(&mut engine, &loaded.tokenizer, &mut sampler, &mut stream, limits, &mut printer)?;
        show::line("")?;
        tell_if_cut(written.finish, args.n, context);
        known.extend_from_slice(new);
        // The last token was written but not fed back: it comes first in what is fed next.
        seen = usize::from(!written.tokens.is_empty());
        known.extend_from_slice(&written.tokens[..written.tokens.len().saturating_sub(1)]);
        messages.push(Message::new("assistant", printer.text));
        if let Some(failure) = printer.failure {
            return Err(failure);
        }
    }
    Ok(())
}

/// Bytes of a line for each position of the context, at most: far more than tokens stand for, so what is longer is refused
/// before it costs memory.
const LONGEST_TOKEN: usize = 256;

/// The next line from standard input; `None` at its end.
fn ask(context: usize) -> Result<Option<String>, Failure> {
    let most = context * LONGEST_TOKEN;
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("> ");
    }
    let mut line = String::new();
    let n = stdin
        .lock()
        .take(most as u64)
        .read_line(&mut line)
        .map_err(|source| Failure::Io { what: "standard input".into(), source })?;
    if n == most {
        return Err(Failure::Other(format!("a line of {n} bytes or more does not fit a context of {context} tokens")));
    }
    Ok((n > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
}
