//! What a generator is asked to write, within which limits, and what it reports.

use super::constraint::TokenConstraint;
use super::generated::Generated;
use super::settings::SamplingConfig;
use crate::decoder::Decoder;
use crate::device::free_bytes;
use crate::error::ModelError;
use crate::log_probs::TokenLogProb;
use crate::lora::Adapter;
use std::sync::Arc;

/// A text to write.
pub struct Request {
    /// What it continues; at least one token.
    pub prompt: Vec<u32>,
    /// None: the base.
    pub adapter: Option<Arc<Adapter>>,
    /// Fixes the sample.
    pub seed: u64,
    /// How to draw and when to end.
    pub sampling: Arc<SamplingConfig>,
    /// What may follow what; none: anything.
    pub constraint: Option<Box<dyn TokenConstraint>>,
}

/// The number of a request in its generator, in the order of submission from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What happened to a text.
#[derive(Debug)]
pub enum Event<'a> {
    /// It has one more token.
    Token {
        /// The token.
        token: u32,
        /// What it adds to the text, if the generator has a tokenizer. A character that takes
        /// several tokens, or what may become a stop string, is held back until that is known.
        text: &'a str,
        /// How likely it was, if asked for.
        log_prob: Option<&'a TokenLogProb>,
    },
    /// It has ended, or could not be written. Nothing follows.
    End(Result<Generated, ModelError>),
}

/// What a generator may use at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Texts written at once.
    pub live: usize,
    /// Bytes of keys and values, remembered beginnings included.
    pub cache_bytes: usize,
    /// Prompt tokens read in one step.
    pub read_tokens: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { live: 128, cache_bytes: 4 << 30, read_tokens: 2048 }
    }
}

impl Limits {
    /// What suits the engine that computes `decoder`: on a GPU many texts, and half of what is free.
    #[must_use]
    pub fn of(decoder: &Decoder) -> Self {
        if !decoder.is_composed() {
            return Self::default();
        }
        let free = free_bytes(decoder.device()).and_then(|free| usize::try_from(free / 2).ok());
        let cache_bytes = free.unwrap_or(Self::default().cache_bytes);
        Self { live: 1024, cache_bytes, ..Self::default() }
    }
}

/// What a generator or a scorer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Prompt tokens computed.
    pub prefilled_tokens: u64,
    /// Prompt tokens whose keys and values another sequence had computed.
    pub reused_tokens: u64,
    /// Tokens of texts computed.
    pub decoded_tokens: u64,
    /// Tokens computed again because memory was short in between.
    pub repeated_tokens: u64,
}
