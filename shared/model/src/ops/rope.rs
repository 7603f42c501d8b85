//! Rotary position embedding, the half-rotation convention of Hugging Face checkpoints.

use super::lanes::vectorised;

/// cos and sin of every position and frequency.
pub struct Rope {
    /// `[positions, head_dim / 2]`.
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Rope {
    /// The table for `positions` positions; angles computed in f64.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    pub fn new(head_dim: usize, positions: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        // Hugging Face computes the inverse frequencies in f32; so do we, to the same bits.
        let frequencies: Vec<f32> = (0..half)
            .map(|i| 1.0 / (theta.powf((2 * i) as f64 / head_dim as f64) as f32))
            .collect();
        let angles =
            (0..positions).flat_map(|p| frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        let (cos, sin) = angles.map(|a| (a.cos() as f32, a.sin() as f32)).unzip();
        Self { cos, sin, half }
    }

    /// Rotates every head of every row of `x` `[rows, heads · head_dim]` in place.
    ///
    /// `inverse` rotates back, which is also the backward.
    pub fn rotate(&self, x: &mut [f32], positions: &[u32], inverse: bool) {
        let sign = if inverse { -1.0 } else { 1.0 };
        rotate_kernel(self, x, positions, sign);
    }
}

vectorised! {
    fn rotate_kernel<'a>(rope: &'a Rope, x: &'a mut [f32], positions: &'a [u32], sign: f32) {
        let half = rope.half;
        let width = x.len().checked_div(positions.len()).unwrap_or(0).max(1);
        for (row, &position) in x.chunks_exact_mut(width).zip(positions) {
            let cos = &rope.cos[position as usize * half..][..half];
            let sin = &rope.sin[position as usize * half..][..half];
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

    #[test]
    fn rotating_back_restores_and_position_zero_is_the_identity() {
        let rope = Rope::new(8, 16, 10_000.0);
        let start: Vec<f32> = (0..32).map(|i| i as f32 * 0.1 - 1.0).collect();
        let mut x = start.clone();
        rope.rotate(&mut x, &[0, 7], false);
        assert_eq!(x[..16], start[..16]);
        assert!((x[16] - start[16]).abs() > 1e-3);
        rope.rotate(&mut x, &[0, 7], true);
        assert!(x.iter().zip(&start).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
