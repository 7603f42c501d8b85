//! Where each sequence of a batch lies: pure arithmetic, no tensors.
//!
//! Every group (a candidate) gets the same number of rows; its sequences lie in them one after
//! another without gaps. So the large products waste only what groups differ in length. Attention
//! alone needs one rectangle per sequence: there, sequences of similar length share a bucket.

use crate::batch::Span;

/// Rows of a group are a multiple of this, which suits matrix units.
const ALIGNMENT: usize = 8;
/// Most buckets.
const MOST_BUCKETS: usize = 4;
/// What one more bucket costs in kernel launches, in units of score elements of one head.
const BUCKET_COST: usize = 1 << 19;

/// The rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Number of groups.
    pub groups: usize,
    /// Rows of each group; at least one row of the last longest group holds no token.
    pub rows: usize,
    /// Token of each row; 0 where there is none.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence; 0 where there is no token.
    pub positions: Vec<u32>,
    /// Where each sequence lies, in the order given, group by group.
    pub spans: Vec<Span>,
    /// Numbers of the sequences of each bucket.
    pub buckets: Vec<Vec<usize>>,
    /// A row without token.
    pub pad: usize,
}

impl Plan {
    /// Places the sequences of each group. Empty sequences are the caller's error.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn new(groups: &[Vec<&[u32]>]) -> Self {
        let longest = groups.iter().map(|g| g.iter().map(|s| s.len()).sum()).max().unwrap_or(0);
        let rows = (longest + 1usize).next_multiple_of(ALIGNMENT);
        let mut plan = Self {
            groups: groups.len(),
            rows,
            tokens: vec![0; groups.len() * rows],
            positions: vec![0; groups.len() * rows],
            spans: Vec::new(),
            buckets: Vec::new(),
            // The last row of every group is free.
            pad: rows - 1,
        };
        for (group, sequences) in groups.iter().enumerate() {
            let mut start = group * rows;
            for sequence in sequences {
                let span = Span { start, len: sequence.len() };
                plan.tokens[start..start + span.len].copy_from_slice(sequence);
                for (position, row) in (start..start + span.len).enumerate() {
                    plan.positions[row] = position as u32;
                }
                plan.spans.push(span);
                start += span.len;
            }
        }
        let lengths: Vec<usize> = plan.spans.iter().map(|s| s.len).collect();
        plan.buckets = buckets(&lengths);
        plan
    }

    /// Rows with a token.
    #[must_use]
    pub fn real_rows(&self) -> usize {
        self.spans.iter().map(|s| s.len).sum()
    }

    /// Fraction of the rows that hold no token.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn padding(&self) -> f64 {
        1.0 - self.real_rows() as f64 / (self.groups * self.rows).max(1) as f64
    }
}

/// Cuts the sequences, sorted by length, into few buckets with little padding.
fn buckets(lengths: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| lengths[i]);
    let cost = |from: usize, to: usize| {
        let longest = lengths[order[to - 1]];
        (to - from) * longest * longest + BUCKET_COST
    };
    // Only between different lengths is a cut worth anything.
    let mut cuts: Vec<usize> =
        (1..order.len()).filter(|&i| lengths[order[i - 1]] < lengths[order[i]]).collect();
    cuts.insert(0, 0);
    cuts.push(order.len());
    cuts.dedup();
    // best[n] of a cut: least cost of everything before it in n buckets, and the cut before.
    let mut best = vec![[(usize::MAX, 0); MOST_BUCKETS + 1]; cuts.len()];
    best[0][0] = (0, 0);
    for to in 1..cuts.len() {
        for n in 1..=MOST_BUCKETS {
            best[to][n] = (0..to)
                .filter(|&from| best[from][n - 1].0 < usize::MAX)
                .map(|from| (best[from][n - 1].0 + cost(cuts[from], cuts[to]), from))
                .min()
                .unwrap_or((usize::MAX, 0));
        }
    }
    let mut to = cuts.len() - 1;
    let Some(mut n) = (0..=MOST_BUCKETS).min_by_key(|&n| best[to][n].0) else { return Vec::new() };
    let mut found = Vec::new();
    while n > 0 {
        let from = best[to][n].1;
        found.push(order[cuts[from]..cuts[to]].to_vec());
        (to, n) = (from, n - 1);
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_of_a_group_lie_one_after_another() {
        let (a, b, c) = ([1, 2, 3], [4, 5], [6; 9]);
        let plan = Plan::new(&[vec![&a[..], &b[..]], vec![&c[..]]]);
        assert_eq!((plan.groups, plan.rows), (2, 16));
        assert_eq!(plan.tokens[..6], [1, 2, 3, 4, 5, 0]);
        assert_eq!(plan.positions[..6], [0, 1, 2, 0, 1, 0]);
        assert_eq!(plan.spans[2], Span { start: 16, len: 9 });
        assert_eq!((plan.real_rows(), plan.pad), (14, 15));
        assert!((plan.padding() - 18.0 / 32.0).abs() < 1e-12);
    }

    #[test]
    fn a_full_group_still_has_a_row_without_a_token() {
        let full = [7; 16];
        let plan = Plan::new(&[vec![&full[..]]]);
        assert!(plan.rows > 16 && plan.spans.iter().all(|s| s.start + s.len <= plan.pad));
    }

    #[test]
    fn one_long_sequence_does_not_pad_many_short_ones() {
        let mut lengths = vec![8; 400];
        lengths.push(300);
        let cut = buckets(&lengths);
        assert_eq!(cut.iter().map(Vec::len).collect::<Vec<_>>(), [400, 1]);
        assert_eq!(cut[1], [400]);
    }

    #[test]
    fn a_small_batch_is_one_bucket_and_none_is_lost() {
        assert_eq!(buckets(&[5, 3, 9, 3]).len(), 1);
        assert!(buckets(&[]).is_empty());
        let lengths: Vec<usize> = (0..900).map(|i| 1 + (i * 37) % 700).collect();
        let cut = buckets(&lengths);
        let mut all: Vec<usize> = cut.iter().flatten().copied().collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..900) && (2..=MOST_BUCKETS).contains(&cut.len()));
    }
}
