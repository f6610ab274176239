//! `forebay chat`

use std::io::{BufRead as _, IsTerminal as _};

use forebay::infer::chat::{ChatTemplate, Message};
use forebay::infer::generate::{Finish, Limits, generate};
use forebay::infer::sampler::Sampler;

use super::args::ChatArgs;
use super::run::{Printer, warn_beyond_training};
use super::{Failure, engine, show};

/// Context when none is given: a conversation of some length at a bearable price.
const DEFAULT_CONTEXT: usize = 4096;

pub(crate) fn chat(args: ChatArgs) -> Result<(), Failure> {
    let loaded = args.engine.load()?;
    let template = ChatTemplate::from_metadata(&loaded.gguf.metadata, &loaded.tokenizer)?;
    let trained = loaded.map.decoder.shape.context;
    let context = args.engine.ctx.map_or(DEFAULT_CONTEXT.min(trained), |c| c as usize);
    warn_beyond_training(&loaded, context);
    let mut sampler = Sampler::new(args.sampling.params(), loaded.tokenizer.vocab_len())?;
    let mut stream = args.sampling.stream()?;
    let options = args.engine.options(context, None)?;
    let (mut engine, ..) = engine::open(&loaded, &options)?;

    let mut messages: Vec<Message> = args.system.iter().map(|s| Message::new("system", s)).collect();
    let mut known: Vec<u32> = Vec::new(); // The tokens in the engine's context.
    let limits = Limits { tokens: args.n as usize, ignore_eos: false };
    while let Some(line) = ask()? {
        messages.push(Message::new("user", line));
        let tokens = loaded.tokenizer.encode_chat(&template.render(&messages, true)?);
        // A template may rewrite the past; only what is truly a continuation is continued.
        let new = match tokens.strip_prefix(known.as_slice()) {
            Some(new) if !new.is_empty() => new,
            _ => {
                engine.clear();
                known.clear();
                &tokens[..]
            }
        };
        if new.len() >= context - known.len() {
            messages.pop();
            eprintln!(
                "The conversation no longer fits the context of {context} tokens ({} taken, {} asked for): start again, or \
                 with a larger --ctx.",
                known.len(),
                new.len()
            );
            continue;
        }
        let mut printer = Printer::new(true);
        let written = generate(&mut engine, &loaded.tokenizer, &mut sampler, &mut stream, new, limits, &mut printer)?;
        show::line("")?;
        match written.finish {
            Finish::Length => eprintln!("[stopped after {} tokens; -n allows more]", args.n),
            Finish::ContextFull => eprintln!("[the context of {context} tokens is full; --ctx allows more]"),
            Finish::EndOfText | Finish::Stop | Finish::Cancelled => {}
        }
        known.extend_from_slice(new);
        // The last token was written but not fed back.
        known.extend_from_slice(&written.tokens[..written.tokens.len().saturating_sub(1)]);
        messages.push(Message::new("assistant", printer.text));
        if let Some(failure) = printer.failure {
            return Err(failure);
        }
    }
    Ok(())
}

/// The next line from standard input; `None` at its end.
fn ask() -> Result<Option<String>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("> ");
    }
    let mut line = String::new();
    let n =
        stdin.lock().read_line(&mut line).map_err(|source| Failure::Io { what: "standard input".into(), source })?;
    Ok((n > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
}
