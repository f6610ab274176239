//! What is to be simulated, as data: the same for the command line, for budget files and for sweeps.

use std::path::PathBuf;
use std::str::FromStr;

use forebay_prefetch::{Lookahead, PolicyKind};
use serde::{Deserialize, Serialize};

use crate::flash::IssuingCore;
use crate::size::Size;

/// A model on a device, with settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// A profile that comes with forebay, or the path of a TOML file.
    pub device: String,
    /// The capacity of the device in GB (1e9 bytes), where it comes with several and not that of its profile is meant.
    #[serde(default)]
    pub capacity: Option<u32>,
    /// The kind of core that asks for reads: `big` or `small`.
    #[serde(default, with = "named")]
    pub core: IssuingCore,
    /// A shape that comes with forebay, the path of a GGUF file, or the path of a `config.json`.
    pub model: String,
    /// How weights are stored, where the model does not say: `q4_k_m`, `q4_k`, `q4_0`, `q8_0`, `f16`, `mxfp4`; without it,
    /// `q4_k`.
    #[serde(default)]
    pub quant: Option<String>,
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
            capacity: None,
            core: IssuingCore::default(),
            model: model.into(),
            quant: None,
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

/// A field of a case has a value that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct CaseError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Case {
    /// Tokens that a case can have, of the prompt or to decode.
    pub const MOST_TOKENS: u32 = 1_000_000;
    /// Reads in flight.
    pub const MOST_DEPTH: u16 = 256;
    /// Bytes of a page.
    pub const PAGES: std::ops::RangeInclusive<u64> = 64 << 10..=64 << 20;

    /// Whether all numbers make sense.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), CaseError> {
        let within = |field, is: bool, problem: String| if is { Ok(()) } else { Err(CaseError { field, problem }) };
        for (field, n) in [("tokens", self.tokens), ("prompt", self.prompt)] {
            within(field, (1..=Self::MOST_TOKENS).contains(&n), format!("{n} is not from 1 to {}", Self::MOST_TOKENS))?;
        }
        let Case { depth, recall, .. } = *self;
        within(
            "depth",
            (1..=Self::MOST_DEPTH).contains(&depth),
            format!("{depth} is not from 1 to {}", Self::MOST_DEPTH),
        )?;
        within("recall", (0.0..=1.0).contains(&recall), format!("{recall} is not from 0 to 1"))?;
        if let Some(capacity) = self.capacity {
            within("capacity", capacity > 0, format!("{capacity} GB is no capacity"))?;
        }
        if let Some(page) = self.page {
            within("page", Self::PAGES.contains(&page.0), format!("{page} is not from 64KiB to 64MiB"))?;
        }
        if self.routing.is_some() && self.experts_chosen.is_some() {
            let problem = "a recorded trace says how many experts each token chose".to_owned();
            within("experts-chosen", false, problem)?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_make_no_sense_are_named() {
        let error = |change: fn(&mut Case)| {
            let mut case = Case::new("a", "b");
            assert_eq!(case.check(), Ok(()));
            change(&mut case);
            case.check().unwrap_err().to_string()
        };
        assert_eq!(error(|c| c.tokens = 0), "tokens: 0 is not from 1 to 1000000");
        assert_eq!(error(|c| c.prompt = u32::MAX), "prompt: 4294967295 is not from 1 to 1000000");
        assert_eq!(error(|c| c.depth = 0), "depth: 0 is not from 1 to 256");
        assert_eq!(error(|c| c.recall = f64::NAN), "recall: NaN is not from 0 to 1");
        assert_eq!(error(|c| c.capacity = Some(0)), "capacity: 0 GB is no capacity");
        assert_eq!(error(|c| c.page = Some(Size(4096))), "page: 4KiB is not from 64KiB to 64MiB");
    }
}
