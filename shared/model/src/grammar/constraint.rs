//! One text on its way through a grammar.

use super::message;
use crate::error::{ModelError, Result};
use crate::generate::{TokenConstraint, TokenMask};
use llguidance::Matcher;

/// The state of one text.
pub(super) struct GrammarConstraint {
    matcher: Matcher,
    vocab_size: usize,
    /// What may come next, if that was asked already.
    next: Option<TokenMask>,
}

impl GrammarConstraint {
    pub(super) fn new(matcher: Matcher, vocab_size: usize) -> Self {
        Self { matcher, vocab_size, next: None }
    }

    fn next(&mut self) -> Result<&TokenMask> {
        if self.next.is_none() {
            let mask = self.matcher.compute_mask_or_eos().map_err(|error| refused(&error))?;
            self.next = Some(TokenMask::from_words(mask.as_slice(), self.vocab_size));
        }
        self.next.as_ref().ok_or_else(|| ModelError::Input("grammar: no mask".into()))
    }
}

impl TokenConstraint for GrammarConstraint {
    fn allowed(&mut self) -> Result<TokenMask> {
        self.next().cloned()
    }

    fn accept(&mut self, token: u32) -> Result<()> {
        self.next = None;
        self.matcher.consume_token(token).map_err(|error| refused(&error))
    }

    fn is_done(&mut self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    fn forced(&mut self) -> Vec<u32> {
        // An error shows again where the next token is chosen.
        let only = self.next().ok().and_then(TokenMask::only);
        only.into_iter().collect()
    }
}

fn refused(error: &anyhow::Error) -> ModelError {
    ModelError::Input(format!("grammar: {}", message(error)))
}
