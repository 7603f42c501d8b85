//! Training sequences, and what makes one unfit to train on.
//!
//! **Invariant:** loss is only where a weight asks for it, and a sequence that would teach the model
//! never to stop is refused before any work is done.

use crate::error::{Result, TrainError};
use seal_model::{Decoder, ModelError};

/// One sequence to train on.
///
/// The loss of a step is, summed over the parts, the weighted mean over that part's tokens. So a
/// passage may count as much as thirty lines together: give them different parts.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSequence {
    /// The tokens, begin and end tokens included.
    pub tokens: Vec<u32>,
    /// Relative weight of predicting each token; the first is never predicted and its weight
    /// ignored. 0 masks a token.
    pub weights: Vec<f32>,
    /// Which mean of the loss the tokens belong to.
    pub part: usize,
    /// How what is learned comes to its end.
    pub end: End,
}

/// How the trained tokens of a sequence end.
///
/// A model that is trained on turns without learning the token that ends them answers well and
/// never stops. It happens easily: where padding and end share a token, a mask of the padding takes
/// the end too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// This token ends a turn. It must carry loss wherever the token before it does, and be the
    /// last one that does.
    Token(u32),
    /// Cut off on purpose, or a text without an end: nothing is asked of the last token.
    Truncated,
}

impl TrainSequence {
    /// A sequence of which every token but the first is trained; the last token ends it.
    #[must_use]
    pub fn all(tokens: Vec<u32>, part: usize) -> Self {
        Self::completion(tokens, 0, part)
    }

    /// A sequence of which the tokens from `from` on are trained, a prompt and its completion; the
    /// last token ends it.
    #[must_use]
    pub fn completion(tokens: Vec<u32>, from: usize, part: usize) -> Self {
        let weights = (0..tokens.len()).map(|i| if i < from { 0.0 } else { 1.0 }).collect();
        let end = tokens.last().map_or(End::Truncated, |&last| End::Token(last));
        Self { tokens, weights, part, end }
    }

    /// Weights of the tokens that are predicted: all but the first.
    pub(crate) fn trained_weights(&self) -> &[f32] {
        self.weights.get(1..).unwrap_or(&[])
    }

    /// Tokens that are fed to the model: those before the last trained one. Later ones predict
    /// nothing.
    pub(crate) fn rows(&self) -> usize {
        self.trained_weights().iter().rposition(|&w| w > 0.0).map_or(0, |last| last + 1)
    }

    /// What is wrong with its tokens or weights, if anything.
    fn problem(&self, decoder: &Decoder) -> Option<String> {
        if self.weights.len() != self.tokens.len() {
            return Some(format!(
                "{} weights for {} tokens",
                self.weights.len(),
                self.tokens.len()
            ));
        }
        if self.weights.iter().any(|w| !(w.is_finite() && *w >= 0.0)) {
            return Some("a token's weight is negative or not finite".into());
        }
        decoder.check_tokens(&self.tokens).err().map(|e: ModelError| e.to_string())
    }

    /// The end-of-turn token that carries no loss though it should.
    fn unlearned_end(&self) -> Option<u32> {
        let End::Token(end) = self.end else { return None };
        let pairs = self.weights.windows(2).zip(self.tokens.windows(2)).skip(1);
        let is_masked = |(weights, tokens): (&[f32], &[u32])| {
            weights[0] > 0.0 && weights[1] == 0.0 && tokens[1] == end
        };
        let last_trained = self.tokens.get(self.rows());
        (pairs.into_iter().any(is_masked) || last_trained != Some(&end)).then_some(end)
    }
}

/// Refuses sequences that cannot be trained on, before any work is done.
///
/// # Errors
/// The first such sequence, and a candidate that has none.
pub(crate) fn check(
    decoder: &Decoder,
    candidate: usize,
    sequences: &[TrainSequence],
) -> Result<()> {
    if sequences.is_empty() {
        return Err(TrainError::NothingToTrain { candidate });
    }
    for (sequence, s) in sequences.iter().enumerate() {
        if let Some(problem) = s.problem(decoder) {
            return Err(TrainError::Sequence { candidate, sequence, problem });
        }
        if s.rows() == 0 {
            return Err(TrainError::Untrained { candidate, sequence });
        }
        if let Some(token) = s.unlearned_end() {
            return Err(TrainError::EndUnlearned { candidate, sequence, token });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: u32 = 9;

    fn turns(weights: &[f32], end: End) -> TrainSequence {
        let tokens = vec![1, 5, 6, END, 5, 7, END, 3];
        TrainSequence { tokens, weights: weights.to_vec(), part: 0, end }
    }

    #[track_caller]
    fn check(weights: [f32; 8], unlearned: bool) {
        let found = turns(&weights, End::Token(END)).unlearned_end();
        assert_eq!(found, unlearned.then_some(END), "{weights:?}");
        assert_eq!(turns(&weights, End::Truncated).unlearned_end(), None);
    }

    #[test]
    fn an_end_of_turn_must_be_learned_wherever_what_precedes_it_is() {
        check([0., 0., 0., 0., 0., 1., 1., 0.], false);
        check([0., 0., 1., 1., 0., 1., 1., 0.], false);
        check([0., 0., 1., 0., 0., 1., 1., 0.], true);
        check([0., 0., 1., 1., 0., 1., 0., 0.], true);
        check([0., 1., 1., 1., 1., 1., 1., 1.], true);
    }

    #[test]
    fn the_first_token_is_never_predicted_so_its_weight_asks_nothing_of_the_second() {
        let sequence = TrainSequence {
            tokens: vec![1, END, 5, END],
            weights: vec![1.0, 0.0, 1.0, 1.0],
            part: 0,
            end: End::Token(END),
        };
        assert_eq!(sequence.unlearned_end(), None);
    }
}
