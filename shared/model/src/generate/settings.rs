//! How tokens are drawn and when a text ends.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most strings in [`SamplingConfig::stop_strings`], and most bytes of one.
const MAX_STOP_STRINGS: usize = 64;
const MAX_STOP_BYTES: usize = 1024;
/// Most alternatives in [`SamplingConfig::log_probs`].
const MAX_ALTERNATIVES: usize = 100;

/// How tokens are drawn and when a text ends.
///
/// What changes the logits applies in the order of transformers: `logit_bias`,
/// `repetition_penalty`, then OpenAI's frequency and presence penalties, `min_new_tokens`,
/// `temperature`, `top_k`, `top_p`, `min_p`, `typical_p`. The defaults change nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingConfig {
    /// Most tokens to write.
    pub max_new_tokens: usize,
    /// Fewest tokens before a text may end by itself.
    pub min_new_tokens: usize,
    /// Divides the logits; 0: always the most likely token.
    pub temperature: f64,
    /// Keep only this many most likely tokens; 0: all.
    pub top_k: usize,
    /// Keep the fewest most likely tokens whose probabilities reach this sum; 1: all.
    pub top_p: f64,
    /// Keep tokens at least this fraction as likely as the most likely one; 0: all.
    pub min_p: f64,
    /// Keep the tokens nearest to the expected information content whose probabilities reach this
    /// sum; 1: all.
    pub typical_p: f64,
    /// Divides positive and multiplies negative logits of tokens in the prompt or the text; 1: off.
    pub repetition_penalty: f64,
    /// Subtracted from the logits of tokens in the text.
    pub presence_penalty: f64,
    /// Subtracted from a token's logit for each time it is in the text.
    pub frequency_penalty: f64,
    /// Added to the logits of single tokens.
    pub logit_bias: BTreeMap<u32, f32>,
    /// Tokens that end a text, besides the model's own end tokens.
    pub stop: Vec<u32>,
    /// Strings that end a text as soon as it holds one of them. They need a tokenizer.
    pub stop_strings: Vec<String>,
    /// If set, each token comes with its log-probability and those of this many most likely ones.
    pub log_probs: Option<usize>,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            min_new_tokens: 0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            stop: Vec::new(),
            stop_strings: Vec::new(),
            log_probs: None,
        }
    }
}

impl SamplingConfig {
    /// True if the next token is the most likely one whatever was written before, and only it.
    pub(super) fn takes_best(&self) -> bool {
        self.temperature == 0.0
            && self.repetition_penalty == 1.0
            && self.presence_penalty == 0.0
            && self.frequency_penalty == 0.0
            && self.logit_bias.is_empty()
            && self.log_probs.is_none()
    }

    /// What is wrong with these settings, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let fraction = |x: f64| x > 0.0 && x <= 1.0;
        match self {
            s if !(s.temperature.is_finite() && s.temperature >= 0.0) => {
                Some("`temperature` must be 0 or more")
            }
            s if !fraction(s.top_p) => Some("`top_p` must be above 0 and at most 1"),
            s if !(0.0..=1.0).contains(&s.min_p) => Some("`min_p` must be 0 to 1"),
            s if !fraction(s.typical_p) => Some("`typical_p` must be above 0 and at most 1"),
            s if !positive(s.repetition_penalty) => Some("`repetition_penalty` must be above 0"),
            s if !(s.presence_penalty.is_finite() && s.frequency_penalty.is_finite()) => {
                Some("`presence_penalty` and `frequency_penalty` must be finite")
            }
            s if s.logit_bias.values().any(|bias| !bias.is_finite()) => {
                Some("`logit_bias` must be finite")
            }
            s if s.stop_strings.len() > MAX_STOP_STRINGS => {
                Some("`stop_strings` may hold 64 strings at most")
            }
            s if s.stop_strings.iter().any(|s| s.is_empty() || s.len() > MAX_STOP_BYTES) => {
                Some("each of `stop_strings` must have 1 to 1024 bytes")
            }
            s if s.log_probs.is_some_and(|n| n > MAX_ALTERNATIVES) => {
                Some("`log_probs` may ask for 100 alternatives at most")
            }
            _ => None,
        }
    }
}
