//! One forward of a step on the device: every candidate's rows, and which of them are trained.

use crate::batch::{Cuts, share};
use crate::error::Result;
use crate::sequence::TrainSequence;
use candle_core::Tensor;
use seal_model::device::{Packed, Plan};
use seal_model::ops::dropout::Dropout;
use seal_model::{Decoder, Projection};
use std::collections::BTreeMap;

/// The rows of one forward. Groups are the candidates, in their order.
pub struct Batch {
    pub(super) packed: Packed,
    /// `[n]`: the rows whose prediction is trained.
    pub(super) rows: Tensor,
    /// Of every row, its place among `rows`; of one that is not trained, the place after them.
    pub(super) restore: Tensor,
    /// `[n, 1]`: the token each should predict.
    pub(super) targets: Tensor,
    /// `[n, 1]`: normalised.
    pub(super) weights: Tensor,
    /// `[groups, most]`: the places of each group's rows among `rows`; filled up with the place after
    /// them. A sum over all rows times 0 would let a loss that is no number reach other groups.
    pub(super) of_groups: Tensor,
    /// `[tiles]`: the group of each tile, unless every group has one.
    tiles: Option<Tensor>,
    /// Rows with a token, by group.
    filled: Vec<usize>,
    dropouts: Vec<Dropout>,
}

/// What is trained of a forward, row by row.
#[derive(Default)]
struct Trained {
    rows: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<f32>,
    /// By group: which of `rows` are its own.
    of_groups: Vec<Vec<u32>>,
}

impl Batch {
    /// The forward of these `sequences`, by group; `norms` are the weights' sums by group and part,
    /// over the whole step.
    ///
    /// # Errors
    /// Tokens that the decoder does not have, a device without the memory.
    pub fn new(
        decoder: &Decoder,
        sequences: &[Vec<&TrainSequence>],
        norms: &[BTreeMap<usize, f64>],
    ) -> Result<Self> {
        let groups: Vec<Vec<&[u32]>> = sequences
            .iter()
            .map(|own| own.iter().map(|s| &s.tokens[..s.rows()]).collect())
            .collect();
        let filled = groups.iter().map(|own| own.iter().map(|s| s.len()).sum()).collect();
        let plan = Plan::tiled(&groups);
        let trained = trained(&plan, sequences, norms);
        let (device, count) = (decoder.device(), trained.rows.len());
        let most = trained.of_groups.iter().map(Vec::len).max().unwrap_or(0);
        let filled_up = |own: &Vec<u32>| {
            let mut own = own.clone();
            own.resize(most, as_u32(count));
            own
        };
        let of_groups: Vec<u32> = trained.of_groups.iter().flat_map(filled_up).collect();
        let mut restore = vec![as_u32(count); plan.rows()];
        for (at, &row) in trained.rows.iter().enumerate() {
            restore[row as usize] = as_u32(at);
        }
        Ok(Self {
            rows: Tensor::new(trained.rows.as_slice(), device)?,
            restore: Tensor::new(restore.as_slice(), device)?,
            targets: Tensor::from_slice(&trained.targets, (count, 1), device)?,
            weights: Tensor::from_slice(&trained.weights, (count, 1), device)?,
            of_groups: Tensor::from_vec(of_groups, (groups.len(), most), device)?,
            tiles: (!plan.is_one_tile_a_group())
                .then(|| Tensor::from_iter(plan.owners.iter().map(|&owner| as_u32(owner)), device))
                .transpose()?,
            packed: Packed::new(decoder, plan)?,
            filled,
            dropouts: Vec::new(),
        })
    }

    /// Rows with a token, by group.
    pub(crate) fn filled(&self) -> &[usize] {
        &self.filled
    }

    /// The group of each tile `[tiles]`, unless every group has one.
    pub fn tiles(&self) -> Option<&Tensor> {
        self.tiles.as_ref()
    }

    /// Leaves out what each group's dropout says.
    pub(crate) fn drop_out(&mut self, dropouts: Vec<Dropout>) {
        self.dropouts = dropouts;
    }

    pub(super) fn has_dropout(&self) -> bool {
        !self.dropouts.is_empty()
    }

    /// The factors of the dropout on the input of one projection, `[rows, in]`: the masks of the
    /// exact engine, drawn on the host.
    pub(super) fn mask(
        &self,
        decoder: &Decoder,
        layer: usize,
        which: Projection,
    ) -> seal_model::Result<Tensor> {
        let (plan, (_, width)) = (&self.packed.plan, which.shape(decoder.config()));
        let mut factors = vec![1f32; plan.rows() * width];
        for ((rows, filled), dropout) in plan.groups.iter().zip(&self.filled).zip(&self.dropouts) {
            let own = &mut factors[rows.start * width..(rows.start + filled) * width];
            dropout.mask(layer, which).apply(own, width);
        }
        Ok(Tensor::from_vec(factors, (plan.rows(), width), decoder.device())?)
    }
}

/// The trained rows of `plan`, whose spans are those of `sequences`, group by group.
#[allow(clippy::cast_possible_truncation)]
fn trained(
    plan: &Plan,
    sequences: &[Vec<&TrainSequence>],
    norms: &[BTreeMap<usize, f64>],
) -> Trained {
    let mut all = Trained { of_groups: vec![Vec::new(); sequences.len()], ..Trained::default() };
    let owned = |(slot, own): (usize, &Vec<_>)| own.iter().map(move |&s| (slot, s)).collect();
    let owned: Vec<(usize, &TrainSequence)> =
        sequences.iter().enumerate().flat_map(|both| -> Vec<_> { owned(both) }).collect();
    for ((slot, sequence), span) in owned.into_iter().zip(&plan.spans) {
        let norm = norms[slot].get(&sequence.part).copied().unwrap_or(1.0);
        for (i, &weight) in sequence.trained_weights()[..span.len].iter().enumerate() {
            if weight > 0.0 {
                all.of_groups[slot].push(as_u32(all.rows.len()));
                all.rows.push(as_u32(span.start + i));
                all.targets.push(sequence.tokens[i + 1]);
                all.weights.push((f64::from(weight) / norm) as f32);
            }
        }
    }
    all
}

#[allow(clippy::cast_possible_truncation)]
fn as_u32(number: usize) -> u32 {
    number as u32
}

/// The sequences of each forward of one step, by group.
///
/// Here every forward takes its part of every candidate, so that no group is empty while another
/// is long; sums are the same however a step is cut, up to rounding.
pub(crate) fn pieces<'a>(
    sequences: &[Vec<&'a TrainSequence>],
    cuts: Cuts,
) -> Vec<Vec<Vec<&'a TrainSequence>>> {
    let most = cuts.max_rows.map_or(usize::MAX, |rows| (rows / sequences.len().max(1)).max(1));
    let cut = |own: &Vec<&'a TrainSequence>| -> Vec<Vec<&'a TrainSequence>> {
        let parts = (0..cuts.parts).map(|part| &own[share(own.len(), part, cuts.parts)]);
        parts.flat_map(|part| runs(part, most)).collect()
    };
    let mut own: Vec<_> = sequences.iter().map(|own| cut(own).into_iter()).collect();
    let forwards = own.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
    (0..forwards)
        .map(|_| own.iter_mut().map(|own| own.next().unwrap_or_default()).collect())
        .collect()
}

/// Consecutive sequences of at most `most` rows together; a longer one is a run of its own.
fn runs<'a>(sequences: &[&'a TrainSequence], most: usize) -> Vec<Vec<&'a TrainSequence>> {
    let mut runs: Vec<Vec<&TrainSequence>> = Vec::new();
    let mut rows = 0;
    for &sequence in sequences {
        match runs.last_mut().filter(|_| rows + sequence.rows() <= most) {
            Some(run) => run.push(sequence),
            None => {
                runs.push(vec![sequence]);
                rows = 0;
            }
        }
        rows += sequence.rows();
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(of: &[usize]) -> Vec<TrainSequence> {
        of.iter().map(|&len| TrainSequence::all(vec![1; len + 1], 0)).collect()
    }

    /// Rows of each sequence, by forward and group.
    fn cut(
        groups: &[&[TrainSequence]],
        parts: usize,
        max_rows: Option<usize>,
    ) -> Vec<Vec<Vec<usize>>> {
        let groups: Vec<Vec<&TrainSequence>> =
            groups.iter().map(|own| own.iter().collect()).collect();
        let rows = |own: Vec<&TrainSequence>| own.iter().map(|s| s.rows()).collect();
        let forwards = pieces(&groups, Cuts { parts, max_rows });
        forwards.into_iter().map(|forward| forward.into_iter().map(rows).collect()).collect()
    }

    #[test]
    fn every_forward_takes_its_part_of_every_candidate_and_none_is_lost() {
        let (a, b) = (lengths(&[3, 4, 5, 6]), lengths(&[2, 9]));
        assert_eq!(cut(&[&a, &b], 1, None), [[vec![3, 4, 5, 6], vec![2, 9]]]);
        assert_eq!(cut(&[&a, &b], 2, None), [[vec![3, 4], vec![2]], [vec![5, 6], vec![9]]]);
        let limited = cut(&[&a, &b], 1, Some(16));
        assert_eq!(limited, [[vec![3, 4], vec![2]], [vec![5], vec![9]], [vec![6], vec![]]]);
    }
}
