//! Training sequences and the batches made of them.
//!
//! **Invariant:** a candidate's weights are normalised over its own sequences of the step, so its
//! loss and gradient do not depend on which other candidates share the batch.

use crate::error::{Result, TrainError};
use seal_model::batch::Batch;
use seal_model::{Decoder, ModelError};
use std::collections::BTreeMap;

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
}

impl TrainSequence {
    /// A sequence of which every token but the first is trained.
    #[must_use]
    pub fn all(tokens: Vec<u32>, part: usize) -> Self {
        let weights = vec![1.0; tokens.len()];
        Self { tokens, weights, part }
    }

    /// A sequence of which the tokens from `from` on are trained: a prompt and its completion.
    #[must_use]
    pub fn completion(tokens: Vec<u32>, from: usize, part: usize) -> Self {
        let weights = (0..tokens.len()).map(|i| if i < from { 0.0 } else { 1.0 }).collect();
        Self { tokens, weights, part }
    }

    /// What is wrong with it, if anything.
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

    fn trained_weights(&self) -> &[f32] {
        self.weights.get(1..).unwrap_or(&[])
    }
}

/// Refuses sequences that cannot be trained on, before any work is done.
///
/// # Errors
/// The first such sequence, and a candidate that trains nothing.
pub(crate) fn check(
    decoder: &Decoder,
    candidate: usize,
    sequences: &[TrainSequence],
) -> Result<()> {
    for (sequence, s) in sequences.iter().enumerate() {
        if let Some(problem) = s.problem(decoder) {
            return Err(TrainError::Sequence { candidate, sequence, problem });
        }
    }
    match sequences.iter().any(|s| s.trained_weights().iter().any(|&w| w > 0.0)) {
        true => Ok(()),
        false => Err(TrainError::NothingToTrain { candidate }),
    }
}

/// A forward batch with the rows that are trained.
#[derive(Clone, Debug, Default)]
pub struct TrainBatch {
    /// Input tokens: every sequence without its last token.
    pub inputs: Batch,
    /// Rows whose prediction is trained.
    pub rows: Vec<usize>,
    /// The token each of `rows` should predict.
    pub targets: Vec<u32>,
    /// Normalised weight of each of `rows`.
    pub weights: Vec<f32>,
    /// Slot of the candidate each of `rows` belongs to.
    pub owners: Vec<usize>,
}

impl TrainBatch {
    /// Appends the sequences of one candidate; `adapter` is its index in the forward, if any.
    ///
    /// `norms` are the weights' sums by part, from [`part_norms`].
    #[allow(clippy::cast_possible_truncation)]
    pub fn push<'a>(
        &mut self,
        sequences: impl IntoIterator<Item = &'a TrainSequence>,
        slot: usize,
        adapter: Option<usize>,
        norms: &BTreeMap<usize, f64>,
    ) {
        for sequence in sequences {
            let Some(last) = sequence.trained_weights().iter().rposition(|&w| w > 0.0) else {
                continue;
            };
            let norm = norms.get(&sequence.part).copied().unwrap_or(1.0);
            // Tokens after the last trained one predict nothing.
            let span = self.inputs.push(&sequence.tokens[..=last], adapter);
            for (i, &weight) in sequence.trained_weights()[..=last].iter().enumerate() {
                if weight > 0.0 {
                    self.rows.push(span.start + i);
                    self.targets.push(sequence.tokens[i + 1]);
                    self.weights.push((f64::from(weight) / norm) as f32);
                    self.owners.push(slot);
                }
            }
        }
    }
}

/// Sum of the weights of each part.
#[must_use]
pub fn part_norms<'a>(
    sequences: impl IntoIterator<Item = &'a TrainSequence>,
) -> BTreeMap<usize, f64> {
    let mut norms = BTreeMap::new();
    for sequence in sequences {
        let sum: f64 = sequence.trained_weights().iter().map(|&w| f64::from(w)).sum();
        if sum > 0.0 {
            *norms.entry(sequence.part).or_insert(0.0) += sum;
        }
    }
    norms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_weight_one_whatever_its_length() {
        let sequences = [
            TrainSequence::all(vec![1, 2, 3, 4], 0),
            TrainSequence::completion(vec![1, 2, 3], 2, 0),
            TrainSequence::all(vec![5; 30], 1),
        ];
        let mut batch = TrainBatch::default();
        batch.push(&sequences, 0, None, &part_norms(&sequences));
        let lines: f32 = batch.weights[..4].iter().sum();
        let passage: f32 = batch.weights[4..].iter().sum();
        assert!((lines - 1.0).abs() < 1e-6 && (passage - 1.0).abs() < 1e-6);
        assert_eq!(batch.targets[..4], [2, 3, 4, 3]);
        assert_eq!(batch.rows[..4], [0, 1, 2, 4]);
        assert_eq!(batch.inputs.rows(), 3 + 2 + 29, "the last token of a sequence is no input");
    }
}
