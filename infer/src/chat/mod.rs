//! Conversations as the text that a model was trained to continue: the chat template of the model file.
//!
//! Templates are written for Python's Jinja as the Hugging Face libraries set it up, and rendered here under the same
//! settings: lines that hold only a tag leave no trace, Python's string methods work, `tojson` writes what `json.dumps`
//! does, and `raise_exception` and `strftime_now` are there.

mod date;
mod json;
#[cfg(test)]
mod tests;

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, ErrorKind, State};
use serde::{Deserialize, Serialize};

use crate::gguf::{self, Metadata};
use crate::tokenizer::Tokenizer;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// Why a conversation has no text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The model has no chat template.
    #[error(
        "the model has no chat template (`tokenizer.chat_template`): it was not trained on conversations; give it a text to continue instead"
    )]
    NoTemplate,
    /// The metadata of the model is faulty.
    #[error(transparent)]
    Metadata(#[from] gguf::Error),
    /// The template is not valid.
    #[error("the chat template is not valid{}: {message}", in_line(.line))]
    Syntax {
        /// The line of the template.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// The template failed on this conversation.
    #[error("the chat template failed{}: {message}", in_line(.line))]
    Render {
        /// The line of the template.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// The template refuses this conversation: it called `raise_exception`.
    #[error("the chat template refuses this conversation{}: {message}", in_line(.line))]
    Refused {
        /// The line of the template.
        line: Option<usize>,
        /// The template's reason.
        message: String,
    },
}

fn in_line(line: &Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" in line {line}"))
}

/// Instructions that rendering may take: far more than templates need, and too few for one that was made to run for ever. They do not bound memory: a template that doubles a string again and again is not caught.
const FUEL: u64 = 10_000_000;
const NAME: &str = "chat_template";
/// Where templates find the time, out of their sight by its spelling.
const TIME: &str = "__unix_seconds";

/// What `raise_exception` puts before its message, to tell a refusal from other errors.
const REFUSED: &str = "\u{1}";

/// A model's chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos: String,
    eos: String,
    time: Option<i64>,
}

impl ChatTemplate {
    /// A template, with the texts of the tokens that begin and end a text.
    pub fn new(template: &str, bos: &str, eos: &str) -> Result<Self, ChatError> {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", refuse);
        environment.add_template_owned(NAME, template.to_owned()).map_err(|error| ChatError::Syntax {
            line: error.line(),
            message: error.detail().map_or_else(|| error.kind().to_string(), str::to_owned),
        })?;
        Ok(Self { environment, bos: bos.to_owned(), eos: eos.to_owned(), time: None })
    }

    /// The template in a model's metadata, or [`ChatError::NoTemplate`].
    pub fn from_metadata(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let template = metadata.optional(metadata.str("tokenizer.chat_template"))?.ok_or(ChatError::NoTemplate)?;
        let text = |id: Option<u32>| {
            let text = id.and_then(|id| tokenizer.token_text(id)).unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        Self::new(template, &text(tokenizer.bos()), &text(tokenizer.eos()))
    }

    /// Sets the time that templates may ask for, in seconds since 1970, UTC. Unless it is set, `strftime_now` is not
    /// defined, and templates that can do without write no date: a prompt then is the same on every day.
    pub fn set_time(&mut self, unix_seconds: i64) {
        self.time = Some(unix_seconds);
        self.environment.add_global(TIME, unix_seconds);
        self.environment.add_function("strftime_now", strftime_now);
    }

    /// The text of a conversation. With `add_generation_prompt` it ends where the model's answer begins.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, ChatError> {
        let render = || {
            let context = minijinja::context! {
                messages => messages,
                add_generation_prompt => add_generation_prompt,
                bos_token => self.bos,
                eos_token => self.eos,
            };
            self.environment.get_template(NAME)?.render(context)
        };
        render().map_err(|error| {
            let line = error.line();
            let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
            match detail.strip_prefix(REFUSED) {
                Some(reason) => ChatError::Refused { line, message: reason.to_owned() },
                None => ChatError::Render { line, message: detail },
            }
        })
    }
}

fn refuse(message: &str) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, format!("{REFUSED}{message}")))
}

/// `tojson`, with Python's optional `indent`. The other arguments of `json.dumps` are accepted and change nothing.
fn to_json(value: &Value, options: Kwargs) -> Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    json::dumps(value, indent)
}

fn strftime_now(state: &State<'_, '_>, format: &str) -> Result<String, minijinja::Error> {
    let seconds = state.lookup(TIME).and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
    Ok(date::format(seconds, format))
}
