//! Which tokens remain after top-k, top-p, min-p and typical-p.
//!
//! Only as much of the vocabulary is sorted as the settings make necessary.

use super::SamplingConfig;
use std::cmp::Ordering;

/// Tokens sorted at first when the number needed is not known.
const FIRST_GUESS: usize = 256;

/// Probability (or logit) and token.
pub(crate) type Weighted = (f32, u32);

fn largest_first(a: &Weighted, b: &Weighted) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// The `count` largest of `weights` that are at least `floor`, largest first, the first of equals
/// first.
pub(crate) fn largest(weights: &[f32], count: usize, floor: f32) -> Vec<Weighted> {
    let count = count.min(weights.len());
    if count == 0 {
        return Vec::new();
    }
    let room = 2 * count;
    let mut best: Vec<Weighted> = Vec::with_capacity(room.min(weights.len()));
    let mut bar = None;
    for (&weight, token) in weights.iter().zip(0..) {
        // A later equal of the last one kept would come after it.
        if bar.map_or(weight >= floor, |bar| weight > bar) {
            best.push((weight, token));
            if best.len() == room {
                best.select_nth_unstable_by(count - 1, largest_first);
                best.truncate(count);
                bar = Some(best[count - 1].0);
            }
        }
    }
    best.sort_unstable_by(largest_first);
    best.truncate(count);
    best
}

/// True if every token stays.
pub(super) fn keeps_all(config: &SamplingConfig) -> bool {
    config.top_k == 0 && config.top_p >= 1.0 && config.min_p == 0.0 && config.typical_p >= 1.0
}

/// The tokens that survive the filters with their probabilities, most likely first.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn kept(probabilities: &[f32], config: &SamplingConfig) -> Vec<Weighted> {
    let top = probabilities.iter().copied().fold(0.0, f32::max);
    let floor = f64::from(top) * config.min_p;
    let mut kept = if config.top_k > 0 {
        let mut kept = largest(probabilities, config.top_k, f32::NEG_INFINITY);
        let total = sum(kept.iter().map(|&(p, _)| p));
        kept.truncate(nucleus(&kept, total, config.top_p).unwrap_or(kept.len()));
        kept
    } else if config.top_p < 1.0 {
        most_likely(probabilities, config.top_p, floor as f32)
    } else {
        // Rounding the floor up could lose a token: one ulp less, and the exact test below.
        largest(probabilities, probabilities.len(), (floor as f32).next_down())
    };
    kept.retain(|&(p, _)| f64::from(p) >= floor);
    if config.typical_p < 1.0 {
        keep_typical(&mut kept, config.typical_p);
    }
    kept
}

/// The fewest tokens that reach `top_p`, or all above `floor` if those are fewer.
fn most_likely(probabilities: &[f32], top_p: f64, floor: f32) -> Vec<Weighted> {
    let total = sum(probabilities.iter().copied());
    let mut count = FIRST_GUESS;
    loop {
        let mut kept = largest(probabilities, count, floor.next_down());
        match nucleus(&kept, total, top_p) {
            Some(enough) => {
                kept.truncate(enough);
                return kept;
            }
            None if kept.len() < count => return kept,
            None => count *= 16,
        }
    }
}

fn sum(probabilities: impl Iterator<Item = f32>) -> f64 {
    probabilities.map(f64::from).sum()
}

/// How many of `kept` reach the share `top_p` of `total`.
fn nucleus(kept: &[Weighted], total: f64, top_p: f64) -> Option<usize> {
    let mut reached = 0.0;
    let last = kept.iter().position(|&(p, _)| {
        reached += f64::from(p) / total;
        reached >= top_p
    });
    last.map(|last| last + 1)
}

/// Source: Meister et al., arXiv:2202.00666; equals stay together, as in transformers.
fn keep_typical(kept: &mut Vec<Weighted>, mass: f64) {
    kept.retain(|&(p, _)| p > 0.0);
    let total = sum(kept.iter().map(|&(p, _)| p));
    let share = |p: f32| f64::from(p) / total;
    let entropy: f64 = kept.iter().map(|&(p, _)| -share(p) * share(p).ln()).sum();
    let surprise = |p: f32| (-share(p).ln() - entropy).abs();
    let mut order: Vec<f32> = kept.iter().map(|&(p, _)| p).collect();
    order.sort_by(|&a, &b| surprise(a).total_cmp(&surprise(b)));
    let mut reached = 0.0;
    let last = order.iter().position(|&p| {
        reached += share(p);
        reached >= mass
    });
    if let Some(last) = last {
        let bound = surprise(order[last]);
        kept.retain(|&(p, _)| surprise(p) <= bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[track_caller]
    fn check(config: SamplingConfig, expected: &[u32]) {
        let tokens: Vec<u32> =
            kept(&[0.1, 0.4, 0.2, 0.3], &config).iter().map(|&(_, t)| t).collect();
        assert_eq!(tokens, expected);
    }

    #[test]
    fn filters_keep_what_their_names_say() {
        let free = SamplingConfig::default();
        check(free.clone(), &[1, 3, 2, 0]);
        check(SamplingConfig { top_k: 2, ..free.clone() }, &[1, 3]);
        check(SamplingConfig { top_p: 0.65, ..free.clone() }, &[1, 3]);
        check(SamplingConfig { min_p: 0.5, ..free.clone() }, &[1, 3, 2]);
        check(SamplingConfig { top_k: 2, top_p: 0.5, ..free.clone() }, &[1]);
        check(SamplingConfig { typical_p: 0.2, ..free }, &[3]);
    }

    #[test]
    fn a_partial_selection_is_the_head_of_a_full_sort() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for round in 0..200 {
            let n = rng.random_range(1..3000);
            // Few distinct values: equals must keep their order.
            let weights: Vec<f32> =
                (0..n).map(|_| rng.random_range(0..1 + round * 7) as f32).collect();
            let mut all: Vec<Weighted> = weights.iter().copied().zip(0..).collect();
            all.sort_by(largest_first);
            let count = rng.random_range(0..n + 2);
            let floor = rng.random_range(0..1 + round * 7) as f32;
            let expected: Vec<Weighted> =
                all.iter().copied().filter(|&(w, _)| w >= floor).take(count).collect();
            assert_eq!(largest(&weights, count, floor), expected);
        }
    }

    #[test]
    fn top_p_of_a_large_vocabulary_keeps_what_a_full_sort_keeps() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        for (spread, top_p) in [(12.0, 0.9), (2.0, 0.5), (0.1, 0.97), (0.1, 0.999_999)] {
            let weights: Vec<f32> =
                (0..20_000).map(|_| (spread * rng.random::<f32>()).exp()).collect();
            let config = SamplingConfig { top_p, ..SamplingConfig::default() };
            let mut all: Vec<Weighted> = weights.iter().copied().zip(0..).collect();
            all.sort_by(largest_first);
            let enough = nucleus(&all, sum(weights.iter().copied()), top_p).unwrap();
            assert_eq!(kept(&weights, &config), all[..enough]);
        }
    }
}
