//! The order in which the policy update reads its rows.
//!
//! **Invariant:** fixed by the number of rows, the recipe and the seed; every row comes once per epoch.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Row numbers of every step: each epoch in its own order, cut into batches, the last one short.
pub(crate) fn batches(rows: usize, batch: usize, epochs: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut steps = Vec::new();
    for _ in 0..epochs {
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut rng);
        steps.extend(order.chunks(batch.max(1)).map(<[usize]>::to_vec));
    }
    steps
}

/// `count` distinct line numbers for one step, or all of them again and again where there are fewer.
pub(crate) fn replay_lines(available: usize, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count && available > 0 {
        let mut order: Vec<usize> = (0..available).collect();
        let wanted = (count - drawn.len()).min(available);
        let (head, _) = order.partial_shuffle(rng, wanted);
        drawn.extend_from_slice(head);
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_comes_once_per_epoch_in_an_order_fixed_by_the_seed() {
        let steps = batches(23, 10, 8, 5);
        assert_eq!(steps.len(), 24);
        for epoch in steps.chunks(3) {
            let rows: BTreeSet<usize> = epoch.iter().flatten().copied().collect();
            assert_eq!(rows.len(), 23);
        }
        assert_eq!(steps, batches(23, 10, 8, 5));
        assert_ne!(steps, batches(23, 10, 8, 6));
        assert_ne!(steps[..3], steps[3..6]);
    }

    #[test]
    fn replay_of_one_step_has_no_line_twice_while_there_are_others() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let drawn = replay_lines(60, 48, &mut rng);
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 48);
        assert_eq!(replay_lines(2, 5, &mut rng).len(), 5);
        assert!(replay_lines(0, 5, &mut rng).is_empty());
    }
}
