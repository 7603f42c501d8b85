//! Every random choice of the miniature, drawn from an explicit seed.
//!
//! **Invariant:** (purpose, seed) fix the whole stream, on every platform: the reductions from
//! 64-bit words to choices are written here, so a new version of a library cannot change them.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A stream of choices.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The stream for one purpose: two purposes under one seed never share their choices.
    pub fn new(purpose: &str, seed: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"seal-miniature\0");
        hash.update(purpose.as_bytes());
        hash.update(seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(hash.finalize().into()))
    }

    /// A whole number in `0..count`. `count` must not be 0.
    pub fn below(&mut self, count: usize) -> usize {
        let word = u128::from(self.0.next_u64());
        // The product is below `count` * 2^64, so the shifted value fits.
        ((word * count as u128) >> 64) as usize
    }

    /// A number in [0, 1) with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One item of a list that is not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// One word of a list that is not empty.
    pub fn word(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    /// The index of one weight, with probability in proportion to it.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut rest = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            rest -= weight;
            if rest < 0.0 {
                return index;
            }
        }
        weights.len() - 1
    }

    /// A normally distributed number (Box and Muller), mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Puts the items into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }

    /// A fresh seed for a stream of its own.
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_do_not_share_their_choices() {
        let draw = |purpose| Dice::new(purpose, 7).seed();
        assert_eq!(draw("lines"), draw("lines"));
        assert_ne!(draw("lines"), draw("documents"));
    }

    #[test]
    fn a_weight_of_zero_is_never_drawn() {
        let mut dice = Dice::new("test", 1);
        assert!((0..1000).all(|_| dice.weighted(&[1.0, 0.0, 2.0]) != 1));
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..50).collect();
        Dice::new("test", 1).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
