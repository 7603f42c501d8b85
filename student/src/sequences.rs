//! From an edit to the token sequences that the inner update trains on.
//!
//! Every line is a sequence of its own, `<bos> line <eos>`. Loss parts: 0 holds edit and replay
//! lines, 1 the contexts, so that a long context does not drown a short edit.
//!
//! **Invariant:** a line that an edit gives twice is trained once.

use std::collections::HashSet;

use seal_model::Tokenizer;
use seal_protocol::{LossPart, SelfEdit, TrainingExample};
use seal_training::{End, TrainSequence};

/// Loss part of edit and replay lines.
pub(crate) const LINES: usize = 0;
/// Loss part of contexts.
const CONTEXTS: usize = 1;

/// An edit that cannot be trained on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// There is nothing to learn.
    #[error("it has no example with a token to learn")]
    Empty,
    /// Longer than the student takes.
    #[error(
        "example {example} has {tokens} tokens, more than the {limit} of `max_sequence_tokens`"
    )]
    TooLong {
        /// Number of the example, from 0.
        example: usize,
        /// Its length.
        tokens: usize,
        /// The limit.
        limit: usize,
    },
    /// The tokenizer does not know it.
    #[error("example {example} cannot be read by the tokenizer: {reason}")]
    Text {
        /// Number of the example, from 0.
        example: usize,
        /// Why.
        reason: String,
    },
}

/// Builds sequences with one tokenizer and one length limit.
#[derive(Clone, Copy)]
pub struct Sequencer<'a> {
    /// The base model's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Begins every sequence, where the model has such a token.
    pub start: Option<u32>,
    /// Ends every sequence.
    pub end: u32,
    /// Longest sequence, in tokens.
    pub max_tokens: usize,
}

impl Sequencer<'_> {
    /// The sequences of one edit, each distinct one once.
    ///
    /// # Errors
    /// No example, an example that is too long, or a text the tokenizer refuses.
    pub fn edit(&self, edit: &SelfEdit) -> Result<Vec<TrainSequence>, SequenceError> {
        let examples = edit.examples.iter().enumerate();
        let sequences: Vec<TrainSequence> = examples
            .map(|(number, example)| self.example(number, example))
            .collect::<Result<_, _>>()?;
        let distinct = distinct(sequences);
        match distinct.iter().any(|sequence| sequence.weights.iter().any(|w| *w > 0.0)) {
            true => Ok(distinct),
            false => Err(SequenceError::Empty),
        }
    }

    /// The sequence of one replay line.
    ///
    /// # Errors
    /// As [`Self::edit`].
    pub fn replay(&self, line: &str) -> Result<TrainSequence, SequenceError> {
        self.sequence(0, "", line, LINES)
    }

    fn example(
        &self,
        number: usize,
        example: &TrainingExample,
    ) -> Result<TrainSequence, SequenceError> {
        match example {
            TrainingExample::Text { text, part } => {
                let part = match part {
                    LossPart::Edit => LINES,
                    LossPart::Context => CONTEXTS,
                };
                self.sequence(number, "", text, part)
            }
            TrainingExample::PromptCompletion { prompt, completion } => {
                self.sequence(number, prompt, completion, LINES)
            }
        }
    }

    /// `<bos> prompt learned <eos>` with loss on `learned <eos>`.
    fn sequence(
        &self,
        number: usize,
        prompt: &str,
        learned: &str,
        part: usize,
    ) -> Result<TrainSequence, SequenceError> {
        let mut tokens = Vec::from_iter(self.start);
        tokens.extend(self.encode(number, prompt)?);
        let read = tokens.len();
        let learned = self.encode(number, learned)?;
        if learned.is_empty() {
            return Err(SequenceError::Empty);
        }
        tokens.extend(learned);
        tokens.push(self.end);
        if tokens.len() > self.max_tokens {
            return Err(SequenceError::TooLong {
                example: number,
                tokens: tokens.len(),
                limit: self.max_tokens,
            });
        }
        let weights = (0..tokens.len()).map(|at| f32::from(u8::from(at >= read))).collect();
        Ok(TrainSequence { tokens, weights, part, end: End::Token(self.end) })
    }

    fn encode(&self, example: usize, text: &str) -> Result<Vec<u32>, SequenceError> {
        let unreadable = |reason: String| SequenceError::Text { example, reason };
        self.tokenizer.encode(text).map_err(|error| unreadable(error.to_string()))
    }
}

fn distinct(sequences: Vec<TrainSequence>) -> Vec<TrainSequence> {
    let mut seen = HashSet::new();
    let mut kept = sequences;
    kept.retain(|sequence| seen.insert((sequence.part, sequence.tokens.clone())));
    kept
}
