//! What is to be simulated, as data: the same for the command line, for budget files and for sweeps.

use std::path::PathBuf;
use std::str::FromStr;

use forebay_prefetch::{Lookahead, PolicyKind};
use serde::{Deserialize, Serialize};

use crate::size::Size;

/// A model on a device, with settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// A profile that comes with forebay, or the path of a TOML file.
    pub device: String,
    /// A shape that comes with forebay, the path of a GGUF file, or the path of a `config.json`.
    pub model: String,
    /// How weights are stored, where the model does not say: `q4_k`, `q4_0`, `q8_0`, `f16`, `mxfp4`.
    #[serde(default = "default_quant")]
    pub quant: String,
    /// The ceiling of the whole process; without one, what the device lets an app have.
    #[serde(default)]
    pub ram: Option<Size>,
    /// Bytes of the window, instead of a ceiling.
    #[serde(default)]
    pub window: Option<Size>,
    /// Tokens to decode.
    #[serde(default = "default_tokens")]
    pub tokens: u32,
    /// Tokens of the prompt before.
    #[serde(default = "default_prompt")]
    pub prompt: u32,
    /// Positions that the KV cache is for; without them, those of prompt and tokens.
    #[serde(default)]
    pub context: Option<u32>,
    /// How the KV cache is kept: `f32`, `f16` or `q8_0`.
    #[serde(default = "default_kv")]
    pub kv_type: String,
    /// Reads in flight.
    #[serde(default = "default_depth")]
    pub depth: u16,
    /// Length of a page, about; chosen from the model and the window where it is not given.
    #[serde(default)]
    pub page: Option<Size>,
    /// Experts that a token chooses, where that shall differ from the model's own number.
    #[serde(default)]
    pub experts_chosen: Option<u32>,
    /// A recorded routing trace; without one, routing is drawn.
    #[serde(default)]
    pub routing: Option<PathBuf>,
    /// How much of what a router will choose it names when it is asked a layer early, 0 to 1, where routing is drawn.
    #[serde(default = "default_recall")]
    pub recall: f64,
    /// Who leaves when a frame is wanted.
    #[serde(default, with = "named")]
    pub policy: PolicyKind,
    /// On what grounds experts are read before their router has spoken.
    #[serde(default, with = "named")]
    pub lookahead: Lookahead,
    /// The engine that reads.
    #[serde(default)]
    pub engine: EngineKind,
    /// Of a serial engine, memory for experts; without it, none are kept.
    #[serde(default)]
    pub cache: Option<Size>,
    /// What everything that is drawn is drawn from.
    #[serde(default)]
    pub seed: u64,
}

/// Whose way of reading is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineKind {
    /// This one: reads overlap with compute.
    #[default]
    Forebay,
    /// One that keeps what every token needs in memory, reads the missing experts of a layer with `depth` threads, waits for all
    /// of them, and computes then.
    Serial,
}

fn default_quant() -> String {
    "q4_k".to_owned()
}
fn default_tokens() -> u32 {
    100
}
fn default_prompt() -> u32 {
    16
}
fn default_kv() -> String {
    "f16".to_owned()
}
fn default_depth() -> u16 {
    4
}
fn default_recall() -> f64 {
    0.8
}

impl FromStr for EngineKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "forebay" => Ok(EngineKind::Forebay),
            "serial" => Ok(EngineKind::Serial),
            _ => Err(format!("unknown engine '{name}'; there are forebay and serial")),
        }
    }
}

impl Case {
    /// A model on a device, everything else as it is by default.
    pub fn new(device: impl Into<String>, model: impl Into<String>) -> Self {
        Case {
            device: device.into(),
            model: model.into(),
            quant: default_quant(),
            ram: None,
            window: None,
            tokens: default_tokens(),
            prompt: default_prompt(),
            context: None,
            kv_type: default_kv(),
            depth: default_depth(),
            page: None,
            experts_chosen: None,
            routing: None,
            recall: default_recall(),
            policy: PolicyKind::default(),
            lookahead: Lookahead::default(),
            engine: EngineKind::default(),
            cache: None,
            seed: 0,
        }
    }
}

/// Things that are written by their names.
mod named {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}
