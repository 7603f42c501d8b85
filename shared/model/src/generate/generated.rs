//! A written text and what ended it.

/// What ended a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finish {
    /// This end token of the model, the text's last.
    EndToken(u32),
    /// This token of `SamplingConfig::stop`, the text's last.
    StopToken(u32),
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
}

impl Generated {
    /// The tokens without the one that ended the text.
    #[must_use]
    pub fn content(&self) -> &[u32] {
        match self.finish {
            Finish::EndToken(_) | Finish::StopToken(_) => {
                &self.tokens[..self.tokens.len().saturating_sub(1)]
            }
            Finish::Length | Finish::Positions => &self.tokens,
        }
    }
}
