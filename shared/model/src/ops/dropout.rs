//! LoRA's dropout: the inputs of A that a training step leaves out.
//!
//! **Invariant:** a mask is a function of seed, step, layer, projection, row and column. A row's
//! number is its place among the rows of its own candidate in the whole step, so neither the other
//! candidates of a forward, nor a step's split into forwards, nor threads change a mask.
//! Absent: state. The backward draws the same mask again instead of keeping it.
//!
//! Source: Srivastava et al., 2014, scaled at training time as PyTorch does; on the input of A
//! alone as PEFT does.

use super::lanes::vectorised;
use crate::lora::Projection;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The dropout of one candidate in one forward of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Share of the inputs that is left out, from 0 to below 1.
    pub rate: f64,
    /// Seed of the candidate.
    pub seed: u64,
    /// Optimizer step, from 0.
    pub step: u64,
    /// Rows of this candidate in earlier forwards of the same step.
    pub first_row: u64,
}

impl Dropout {
    /// The mask on the input of one projection.
    #[must_use]
    pub fn mask(&self, layer: usize, projection: Projection) -> Mask {
        let stream = (layer * Projection::COUNT + projection as usize) as u64;
        Mask { dropout: *self, stream }
    }
}

/// The dropout of one candidate on one projection of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mask {
    dropout: Dropout,
    stream: u64,
}

impl Mask {
    /// Multiplies each element of `x` by 0, or by `1 / (1 − rate)` if it is kept.
    ///
    /// # Shapes
    /// `x` `[rows, width]`, rows of the candidate from `first_row` on.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn apply(&self, x: &mut [f32], width: usize) {
        let Dropout { rate, first_row, .. } = self.dropout;
        let mut numbers = self.numbers();
        numbers.set_word_pos(u128::from(first_row) * width as u128);
        let threshold = (rate * 2f64.powi(32)) as u64;
        let scale = (1.0 / (1.0 - rate)) as f32;
        let mut factors = [0f32; CHUNK];
        for x in x.chunks_mut(CHUNK) {
            for factor in &mut factors[..x.len()] {
                let kept = u64::from(numbers.next_u32()) >= threshold;
                *factor = if kept { scale } else { 0.0 };
            }
            multiply(x, &factors);
        }
    }

    /// [`Mask::apply`] on a copy.
    #[must_use]
    pub fn applied(&self, x: &[f32], width: usize) -> Vec<f32> {
        let mut dropped = x.to_vec();
        self.apply(&mut dropped, width);
        dropped
    }

    /// One number of this generator for each element, rows one after another. The key cannot meet
    /// that of a generator seeded with the bare seed, whose key is an expansion of it.
    fn numbers(&self) -> ChaCha8Rng {
        let mut key = *b"________________LoRA dropout /v1";
        key[..8].copy_from_slice(&self.dropout.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.dropout.step.to_le_bytes());
        let mut numbers = ChaCha8Rng::from_seed(key);
        numbers.set_stream(self.stream);
        numbers
    }
}

/// Elements whose factors are drawn before they are multiplied.
const CHUNK: usize = 256;

vectorised! {
    fn multiply<'a>(x: &'a mut [f32], factors: &'a [f32]) {
        for (x, factor) in x.iter_mut().zip(factors) {
            *x *= factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 37;

    fn dropout() -> Dropout {
        Dropout { rate: 0.3, seed: 5, step: 2, first_row: 0 }
    }

    fn factors(dropout: Dropout, layer: usize, projection: Projection, rows: usize) -> Vec<f32> {
        dropout.mask(layer, projection).applied(&vec![1.0; rows * WIDTH], WIDTH)
    }

    #[test]
    fn the_rate_is_met_and_what_is_kept_makes_up_for_it() {
        for rate in [0.05, 0.3, 0.9] {
            let rows = 5405;
            let all = factors(Dropout { rate, ..dropout() }, 1, Projection::Up, rows);
            let (n, dropped) = (all.len() as f64, all.iter().filter(|f| **f == 0.0).count() as f64);
            // Five standard deviations of a binomial: a right generator fails once in a million.
            let deviation = (n * rate * (1.0 - rate)).sqrt();
            assert!((dropped - n * rate).abs() < 5.0 * deviation, "{dropped} of {n} at {rate}");
            let kept = (1.0 / (1.0 - rate)) as f32;
            assert!(all.iter().all(|f| *f == 0.0 || *f == kept));
            for column in 0..WIDTH {
                let dropped = (0..rows).filter(|row| all[row * WIDTH + column] == 0.0).count();
                let deviation = (rows as f64 * rate * (1.0 - rate)).sqrt();
                let expected = rows as f64 * rate;
                assert!((dropped as f64 - expected).abs() < 5.0 * deviation, "column {column}");
            }
        }
    }

    #[test]
    fn a_row_has_the_same_mask_wherever_the_step_is_cut() {
        let whole = factors(dropout(), 3, Projection::Q, 20);
        for cut in [1, 7, 19] {
            let rest = Dropout { first_row: cut as u64, ..dropout() };
            assert_eq!(factors(rest, 3, Projection::Q, 20 - cut), whole[cut * WIDTH..]);
        }
    }

    #[test]
    fn seed_step_layer_and_projection_each_give_another_mask() {
        let mut masks = vec![
            factors(dropout(), 0, Projection::Q, 4),
            factors(dropout(), 1, Projection::Q, 4),
            factors(dropout(), 0, Projection::K, 4),
            factors(Dropout { seed: 6, ..dropout() }, 0, Projection::Q, 4),
            factors(Dropout { step: 3, ..dropout() }, 0, Projection::Q, 4),
        ];
        let count = masks.len();
        masks.sort_by(|a, b| a.partial_cmp(b).unwrap());
        masks.dedup();
        assert_eq!(masks.len(), count);
    }
}
