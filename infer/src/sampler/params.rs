//! What can be chosen about sampling, and what is wrong with a choice.

use serde::{Deserialize, Serialize};

/// How tokens are chosen. The defaults are llama.cpp's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerParams {
    /// 0 takes the most probable token; higher is more varied.
    pub temperature: f32,
    /// Only the k most probable tokens; 0 for all.
    pub top_k: usize,
    /// Only the most probable tokens that sum up to this; 1 for all.
    pub top_p: f32,
    /// Only tokens at least this fraction as probable as the most probable one; 0 for all.
    pub min_p: f32,
    /// How many of the last tokens the penalties look at; 0 for none.
    pub last_n: usize,
    /// Divides the logits of tokens that came up (and multiplies negative ones); 1 for no penalty.
    pub repeat_penalty: f32,
    /// Is taken off for each time that a token came up; 0 for no penalty.
    pub frequency_penalty: f32,
    /// Is taken off once if a token came up; 0 for no penalty.
    pub presence_penalty: f32,
    /// Is added to the logits of these tokens; minus infinity forbids one.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed gives the same text.
    pub seed: u64,
}

impl Default for SamplerParams {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            last_n: 64,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// More of the last tokens than any context has.
const MOST_LAST: usize = 1 << 20;

impl SamplerParams {
    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether a penalty is set.
    pub(super) fn penalizes(&self) -> bool {
        self.repeat_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    pub(super) fn check(&self, vocab: usize) -> Result<(), SamplerError> {
        let finite = |v: f32| v.is_finite();
        let share = |v: f32| (0.0..=1.0).contains(&v);
        let checks = [
            ("temperature", self.temperature, finite(self.temperature) && self.temperature >= 0.0, "0 or more"),
            ("top_p", self.top_p, share(self.top_p), "from 0 to 1"),
            ("min_p", self.min_p, share(self.min_p), "from 0 to 1"),
            (
                "repeat_penalty",
                self.repeat_penalty,
                finite(self.repeat_penalty) && self.repeat_penalty > 0.0,
                "above 0",
            ),
            ("frequency_penalty", self.frequency_penalty, finite(self.frequency_penalty), "finite"),
            ("presence_penalty", self.presence_penalty, finite(self.presence_penalty), "finite"),
        ];
        for (name, value, valid, must) in checks {
            if !valid {
                return Err(SamplerError::Parameter { name, value, must });
            }
        }
        if self.last_n > MOST_LAST {
            return Err(SamplerError::LastN { value: self.last_n, most: MOST_LAST });
        }
        for &(token, bias) in &self.logit_bias {
            if token as usize >= vocab {
                return Err(SamplerError::BiasToken { token, vocab });
            }
            if bias.is_nan() || bias == f32::INFINITY {
                return Err(SamplerError::Bias { token, bias });
            }
        }
        Ok(())
    }
}

/// Why no token can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// A parameter is out of its range.
    #[error("{name} is {value}; it must be {must}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What it must be.
        must: &'static str,
    },
    /// More last tokens than are kept.
    #[error("last_n is {value}; it must be at most {most}")]
    LastN {
        /// The value.
        value: usize,
        /// The most there can be.
        most: usize,
    },
    /// A bias for a token that there is not.
    #[error("logit_bias names token {token}, and the vocabulary has {vocab} tokens")]
    BiasToken {
        /// The token.
        token: u32,
        /// The tokens.
        vocab: usize,
    },
    /// A bias that is no number to add.
    #[error("logit_bias of token {token} is {bias}; it must be a number or minus infinity")]
    Bias {
        /// The token.
        token: u32,
        /// Its bias.
        bias: f32,
    },
    /// Not one logit for each token.
    #[error("{found} logits for a vocabulary of {expected} tokens")]
    Length {
        /// How many logits.
        found: usize,
        /// How many tokens.
        expected: usize,
    },
    /// A logit that is NaN or infinite: the model computed nonsense.
    #[error("the logit of token {token} is {logit}")]
    NotANumber {
        /// The token.
        token: u32,
        /// Its logit.
        logit: f32,
    },
    /// Every token is forbidden.
    #[error("every token has a logit of minus infinity: nothing is left to choose")]
    NothingLeft,
}
