//! Rotary position embedding, the half-rotation convention of Hugging Face checkpoints.
//!
//! **Invariant:** a position's angles depend on the position alone, whenever they are computed.
//! Positions nobody asked for cost no memory: the table grows in blocks.

mod frequencies;

pub use frequencies::RopeScaling;

use super::lanes::vectorised;
use std::sync::OnceLock;

/// Positions whose angles are computed together.
const BLOCK: usize = 256;

/// cos and sin of every position and frequency.
pub struct Rope {
    /// Radians per position, `[head_dim / 2]`.
    frequencies: Vec<f32>,
    /// Factor of every cos and sin.
    magnitude: f32,
    /// Of [`BLOCK`] positions each.
    blocks: Vec<OnceLock<Block>>,
}

/// cos and sin of [`BLOCK`] positions, `[BLOCK, head_dim / 2]`.
struct Block {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rope {
    /// The table for `positions` positions of a head of `head_dim` elements.
    #[must_use]
    pub fn new(head_dim: usize, positions: usize, theta: f64, scaling: &RopeScaling) -> Self {
        Self {
            frequencies: frequencies::frequencies(head_dim, theta, scaling),
            magnitude: scaling.magnitude(),
            blocks: (0..positions.div_ceil(BLOCK)).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Radians per position, `[head_dim / 2]`.
    #[must_use]
    pub fn frequencies(&self) -> &[f32] {
        &self.frequencies
    }

    /// Factor of every cos and sin.
    #[must_use]
    pub fn magnitude(&self) -> f32 {
        self.magnitude
    }

    /// cos and sin of one position, each `[head_dim / 2]`.
    ///
    /// # Panics
    /// A position outside the table.
    #[must_use]
    pub fn angles(&self, position: u32) -> (&[f32], &[f32]) {
        let position = position as usize;
        let block = self.blocks[position / BLOCK].get_or_init(|| self.block(position / BLOCK));
        let half = self.frequencies.len();
        let at = position % BLOCK * half;
        (&block.cos[at..at + half], &block.sin[at..at + half])
    }

    /// Angles as f32, like Hugging Face's; their cos and sin through f64.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn block(&self, index: usize) -> Block {
        let positions = index * BLOCK..(index + 1) * BLOCK;
        let angles =
            positions.flat_map(|p| self.frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        let magnitude = self.magnitude;
        let (cos, sin) =
            angles.map(|a| (a.cos() as f32 * magnitude, a.sin() as f32 * magnitude)).unzip();
        Block { cos, sin }
    }

    /// Rotates every head of every row of `x` `[rows, heads · head_dim]` in place.
    ///
    /// `inverse` rotates back and keeps the magnitude, which is the backward.
    ///
    /// # Panics
    /// A position outside the table.
    pub fn rotate(&self, x: &mut [f32], positions: &[u32], inverse: bool) {
        let sign = if inverse { -1.0 } else { 1.0 };
        let angles: Vec<_> = positions.iter().map(|&p| self.angles(p)).collect();
        rotate_kernel(self.frequencies.len(), x, &angles, sign);
    }
}

vectorised! {
    fn rotate_kernel<'a>(
        half: usize,
        x: &'a mut [f32],
        angles: &'a [(&'a [f32], &'a [f32])],
        sign: f32,
    ) {
        let width = x.len().checked_div(angles.len()).unwrap_or(0).max(1);
        for (row, &(cos, sin)) in x.chunks_exact_mut(width).zip(angles) {
            for head in row.chunks_exact_mut(2 * half) {
                let (low, high) = head.split_at_mut(half);
                for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                    let (a, b, sin) = (*low, *high, sign * sin);
                    *low = a * cos - b * sin;
                    *high = b * cos + a * sin;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(positions: usize) -> Rope {
        Rope::new(8, positions, 10_000.0, &RopeScaling::None)
    }

    #[test]
    fn rotating_back_restores_and_position_zero_is_the_identity() {
        let rope = rope(16);
        let start: Vec<f32> = (0..32).map(|i| i as f32 * 0.1 - 1.0).collect();
        let mut x = start.clone();
        rope.rotate(&mut x, &[0, 7], false);
        assert_eq!(x[..16], start[..16]);
        assert!((x[16] - start[16]).abs() > 1e-3);
        rope.rotate(&mut x, &[0, 7], true);
        assert!(x.iter().zip(&start).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn angles_are_those_of_the_position_in_every_block() {
        let rope = rope(3 * BLOCK);
        for position in [0, 1, 255, 256, 600, 767] {
            let (cos, sin) = rope.angles(position);
            for ((cos, sin), f) in cos.iter().zip(sin).zip(rope.frequencies()) {
                let angle = f64::from(position as f32 * f);
                assert_eq!((*cos, *sin), (angle.cos() as f32, angle.sin() as f32));
            }
        }
    }

    #[test]
    fn a_million_positions_cost_only_the_blocks_in_use() {
        let rope = rope(1 << 20);
        rope.rotate(&mut [1.0; 16], &[3, (1 << 20) - 1], false);
        assert_eq!(rope.blocks.iter().filter(|b| b.get().is_some()).count(), 2);
    }

    #[test]
    fn backward_through_a_magnified_rotation_is_its_transpose() {
        let scaling = RopeScaling::Yarn {
            factor: 4.0,
            attention_factor: 1.25,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_max_position_embeddings: 16,
            truncate: true,
        };
        let rope = Rope::new(4, 64, 100.0, &scaling);
        let (x, y) = ([0.3, -1.2, 0.7, 2.0], [1.1, 0.4, -0.9, 0.2]);
        let rotated = |v: [f32; 4], inverse| {
            let mut v = v;
            rope.rotate(&mut v, &[9], inverse);
            v
        };
        let inner = |a: [f32; 4], b: [f32; 4]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (there, back) = (inner(rotated(x, false), y), inner(x, rotated(y, true)));
        assert!((there - back).abs() < 1e-5, "{there} and {back}");
        assert!((inner(rotated(x, false), rotated(x, false)) / inner(x, x) - 1.5625).abs() < 1e-5);
    }
}
