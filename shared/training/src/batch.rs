//! The forwards that a step is made of.
//!
//! **Invariant:** a candidate's weights are normalised over its own sequences of the whole step, so
//! its loss and gradient depend neither on the other candidates nor on how a step is cut.

use crate::sequence::TrainSequence;
use seal_model::batch::Batch;
use std::collections::BTreeMap;

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
        for sequence in sequences.into_iter().filter(|sequence| sequence.rows() > 0) {
            let rows = sequence.rows();
            let norm = norms.get(&sequence.part).copied().unwrap_or(1.0);
            let span = self.inputs.push(&sequence.tokens[..rows], adapter);
            for (i, &weight) in sequence.trained_weights()[..rows].iter().enumerate() {
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

/// How a step is cut into forwards: by the recipe, never by the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cuts {
    /// Parts of about as many sequences each.
    pub(crate) parts: usize,
    /// Most rows of one forward, if it is limited; a longer sequence is a forward of its own.
    pub(crate) max_rows: Option<usize>,
}

/// One forward of a step.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forward {
    pub(crate) batch: TrainBatch,
    /// Rows of each slot in earlier forwards of the step.
    pub(crate) first_rows: Vec<u64>,
}

/// The forwards of one step of several candidates: `sequences` by slot.
///
/// Each candidate's sequences stay in their order, over all forwards. As every sum of the backward
/// is a chain in that order, on the CPU the cuts change no bit.
pub(crate) fn forwards(sequences: &[Vec<&TrainSequence>], cuts: Cuts) -> Vec<Forward> {
    let norms: Vec<_> = sequences.iter().map(|own| part_norms(own.iter().copied())).collect();
    let mut seen = vec![0u64; sequences.len()];
    let mut forwards: Vec<Forward> = Vec::new();
    for part in 0..cuts.parts {
        let mut is_new = true;
        for (slot, own) in sequences.iter().enumerate() {
            for sequence in &own[share(own.len(), part, cuts.parts)] {
                let rows = sequence.rows();
                let is_full = |last: &Forward| {
                    cuts.max_rows.is_some_and(|most| last.batch.inputs.rows() + rows > most)
                };
                if is_new || forwards.last().is_some_and(is_full) {
                    forwards.push(Forward { first_rows: seen.clone(), ..Forward::default() });
                    is_new = false;
                }
                if let Some(last) = forwards.last_mut() {
                    last.batch.push([*sequence], slot, Some(slot), &norms[slot]);
                }
                seen[slot] += rows as u64;
            }
        }
    }
    forwards
}

/// The indices of part `part` of `parts` of `len` things.
pub(crate) fn share(len: usize, part: usize, parts: usize) -> std::ops::Range<usize> {
    let edge = |part: usize| usize::try_from(len as u128 * part as u128 / parts as u128);
    edge(part).unwrap_or(len)..edge(part + 1).unwrap_or(len)
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

    fn lengths(of: &[usize]) -> Vec<TrainSequence> {
        of.iter().map(|&len| TrainSequence::all(vec![1; len + 1], 0)).collect()
    }

    /// Rows of each sequence, by forward.
    fn cut(own: &[TrainSequence], parts: usize, max_rows: Option<usize>) -> Vec<Vec<usize>> {
        let forwards = forwards(&[own.iter().collect()], Cuts { parts, max_rows });
        let spans = |forward: &Forward| forward.batch.inputs.spans.iter().map(|s| s.len).collect();
        forwards.iter().map(spans).collect()
    }

    #[test]
    fn a_step_is_cut_by_parts_and_by_rows_and_loses_no_sequence() {
        let own = lengths(&[3, 4, 5, 6, 20, 1]);
        assert_eq!(cut(&own, 1, None), [vec![3, 4, 5, 6, 20, 1]]);
        assert_eq!(cut(&own, 2, None), [vec![3, 4, 5], vec![6, 20, 1]]);
        assert_eq!(cut(&own, 1, Some(9)), [vec![3, 4], vec![5], vec![6], vec![20], vec![1]]);
        assert_eq!(cut(&own, 100, None).len(), 6, "empty parts are no forwards");
    }

    #[test]
    fn rows_are_counted_over_the_whole_step_by_candidate() {
        let (a, b) = (lengths(&[3, 4, 5]), lengths(&[2, 2]));
        let cuts = Cuts { parts: 2, max_rows: Some(6) };
        let forwards = forwards(&[a.iter().collect(), b.iter().collect()], cuts);
        let firsts: Vec<_> = forwards.iter().map(|forward| forward.first_rows.clone()).collect();
        assert_eq!(firsts, [[0, 0], [3, 2], [7, 2], [12, 2]]);
    }
}
