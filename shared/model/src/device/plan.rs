//! Where each sequence of a batch lies: pure arithmetic, no tensors.
//!
//! The sequences of a group (a candidate) lie one after another without gaps, in one or more tiles.
//! All tiles have the same number of rows, so that one batched product multiplies each with its
//! group's factors; small tiles waste few rows, and every further tile of a group costs a copy of
//! its factors. Attention alone needs one rectangle per sequence: there, sequences of similar length
//! share a bucket.

use crate::batch::Span;
use std::ops::Range;

/// Rows of a tile are a multiple of this, which suits matrix units.
const ALIGNMENT: usize = 8;
/// What a further tile of a group costs, in rows: between 7 and 21 by the arithmetic of a 7B and a
/// 0.5B model with rank 32 on an H200.
const TILE_COST: usize = 16;
/// Most buckets.
const MOST_BUCKETS: usize = 4;
/// What one more bucket costs in kernel launches, in units of score elements of one head.
const BUCKET_COST: usize = 1 << 19;

/// The rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Rows of each tile.
    pub tile: usize,
    /// The group of each tile; those of a group are neighbours.
    pub owners: Vec<usize>,
    /// The rows of each group. The last one holds no token.
    pub groups: Vec<Range<usize>>,
    /// Token of each row; 0 where there is none.
    pub tokens: Vec<u32>,
    /// Position of each row in its sequence; 0 where there is no token.
    pub positions: Vec<u32>,
    /// Where each sequence lies, in the order given, group by group.
    pub spans: Vec<Span>,
    /// Numbers of the sequences of each bucket.
    pub buckets: Vec<Vec<usize>>,
    /// By sequence: a row without token that pads it. It is its own group's, so that a group that
    /// has diverged reaches no other.
    pub padding: Vec<usize>,
}

impl Plan {
    /// Places the sequences of each group, one tile a group. Empty sequences are the caller's
    /// error.
    #[must_use]
    pub fn new(groups: &[Vec<&[u32]>]) -> Self {
        let longest = lengths(groups).into_iter().max().unwrap_or(1);
        Self::with_tile(groups, longest.next_multiple_of(ALIGNMENT))
    }

    /// Places the sequences of each group in tiles of the size that costs least.
    #[must_use]
    pub fn tiled(groups: &[Vec<&[u32]>]) -> Self {
        Self::with_tile(groups, cheapest_tile(&lengths(groups)))
    }

    #[allow(clippy::cast_possible_truncation)]
    fn with_tile(groups: &[Vec<&[u32]>], tile: usize) -> Self {
        let mut plan = Self {
            tile,
            owners: Vec::new(),
            groups: Vec::new(),
            tokens: Vec::new(),
            positions: Vec::new(),
            spans: Vec::new(),
            buckets: Vec::new(),
            padding: Vec::new(),
        };
        for (group, sequences) in groups.iter().enumerate() {
            let first = plan.tokens.len();
            for sequence in sequences {
                plan.spans.push(Span { start: plan.tokens.len(), len: sequence.len() });
                plan.tokens.extend_from_slice(sequence);
                plan.positions.extend(0..sequence.len() as u32);
            }
            let end = (plan.tokens.len() + 1 - first).next_multiple_of(tile) + first;
            plan.tokens.resize(end, 0);
            plan.positions.resize(end, 0);
            plan.owners.resize(end / tile, group);
            plan.padding.resize(plan.spans.len(), end - 1);
            plan.groups.push(first..end);
        }
        let lengths: Vec<usize> = plan.spans.iter().map(|s| s.len).collect();
        plan.buckets = buckets(&lengths);
        plan
    }

    /// Rows of all tiles.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// True if every group has one tile.
    #[must_use]
    pub fn is_one_tile_a_group(&self) -> bool {
        self.owners.len() == self.groups.len()
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
        1.0 - self.real_rows() as f64 / self.rows().max(1) as f64
    }
}

/// Rows that each group needs, the one without token included.
fn lengths(groups: &[Vec<&[u32]>]) -> Vec<usize> {
    groups.iter().map(|group| group.iter().map(|s| s.len()).sum::<usize>() + 1).collect()
}

/// The tile that costs least for groups of so many rows.
fn cheapest_tile(lengths: &[usize]) -> usize {
    let longest = lengths.iter().copied().max().unwrap_or(1).next_multiple_of(ALIGNMENT);
    let cost = |tile: usize| {
        let tiles: usize = lengths.iter().map(|len| len.div_ceil(tile)).sum();
        tiles * tile + (tiles - lengths.len()) * TILE_COST
    };
    // Of equals the largest.
    let sizes = (1..=longest / ALIGNMENT).rev().map(|units| units * ALIGNMENT);
    sizes.min_by_key(|&tile| cost(tile)).unwrap_or(longest)
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
        assert_eq!((plan.tile, plan.rows(), &plan.owners[..]), (16, 32, &[0, 1][..]));
        assert_eq!(plan.tokens[..6], [1, 2, 3, 4, 5, 0]);
        assert_eq!(plan.positions[..6], [0, 1, 2, 0, 1, 0]);
        assert_eq!(plan.spans[2], Span { start: 16, len: 9 });
        assert_eq!((plan.real_rows(), &plan.padding[..]), (14, &[15, 15, 31][..]));
        assert!((plan.padding() - 18.0 / 32.0).abs() < 1e-12);
    }

    #[test]
    fn a_full_or_empty_group_still_has_a_row_without_a_token() {
        let full = [7; 16];
        let plan = Plan::new(&[vec![&full[..]], vec![]]);
        assert_eq!(plan.groups, [0..24, 24..48]);
        assert_eq!(plan.padding, [23]);
    }

    #[test]
    fn one_long_group_takes_more_tiles_and_does_not_pad_the_others() {
        let (short, long) = ([7; 20], [8; 200]);
        let mut groups = vec![vec![&short[..]]; 30];
        groups.insert(1, vec![&long[..]]);
        let plan = Plan::tiled(&groups);
        assert_eq!((plan.tile, plan.owners.len()), (24, 30 + 9));
        assert_eq!(plan.owners[..11], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(plan.spans[1], Span { start: 24, len: 200 });
        assert_eq!((plan.padding[1], plan.spans[2].start), (10 * 24 - 1, 10 * 24));
        assert!(plan.padding() < 0.2);
        assert!(Plan::tiled(&groups[2..]).is_one_tile_a_group());
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
