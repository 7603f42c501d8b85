//! A written text and what ended it.

use crate::log_probs::TokenLogProb;

/// What ended a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finish {
    /// This end token of the model, the text's last.
    EndToken(u32),
    /// This token of `SamplingConfig::stop`, the text's last.
    StopToken(u32),
    /// The string with this index in `SamplingConfig::stop_strings`.
    StopString(usize),
    /// The constraint: the text is whole and nothing may follow.
    Constraint,
    /// `SamplingConfig::max_new_tokens`.
    Length,
    /// The model's last position.
    Positions,
}

impl Finish {
    /// False if the text was cut off where it might have gone on.
    #[must_use]
    pub fn is_complete(self) -> bool {
        !matches!(self, Self::Length | Self::Positions)
    }
}

/// What was written after a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens, with the one that ended the text.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub finish: Finish,
    /// The text without special tokens, up to the stop string, if the generator has a tokenizer.
    pub text: Option<String>,
    /// One for each token, if `SamplingConfig::log_probs` asked for them.
    pub log_probs: Vec<TokenLogProb>,
}

impl Generated {
    /// The tokens without the one that ended the text. A stop string keeps its tokens: it need not
    /// begin where one of them does.
    #[must_use]
    pub fn content(&self) -> &[u32] {
        match self.finish {
            Finish::EndToken(_) | Finish::StopToken(_) => {
                &self.tokens[..self.tokens.len().saturating_sub(1)]
            }
            _ => &self.tokens,
        }
    }
}
