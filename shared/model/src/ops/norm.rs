//! RMSNorm: `y = x / √(mean(x²) + ε) · g`.

use super::lanes::{dot, vectorised};
use super::{tensor, values};
use crate::error::Result;
use candle_core::Tensor;

/// Normalises each row of `x` `[n, d]` and scales by `gain` `[d]`.
///
/// Also returns `1 / √(mean(x²) + ε)` of each row, for the backward.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
pub fn forward(x: &Tensor, gain: &Tensor, epsilon: f64) -> Result<(Tensor, Vec<f32>)> {
    let (rows, width) = x.dims2()?;
    let (source, gain) = (values(x)?, values(gain)?);
    let mut y = vec![0.0; rows * width];
    let mut inverses = vec![0.0; rows];
    forward_kernel(&mut y, &mut inverses, &source, &gain, epsilon as f32);
    Ok((tensor(y, (rows, width))?, inverses))
}

vectorised! {
    #[allow(clippy::cast_precision_loss)]
    fn forward_kernel<'a>(
        y: &'a mut [f32],
        inverses: &'a mut [f32],
        x: &'a [f32],
        gain: &'a [f32],
        epsilon: f32,
    ) {
        let width = gain.len();
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width));
        for ((x, y), inverse) in rows.zip(inverses) {
            let r = 1.0 / (dot(x, x) / width as f32 + epsilon).sqrt();
            for ((y, x), gain) in y.iter_mut().zip(x).zip(gain) {
                *y = x * r * gain;
            }
            *inverse = r;
        }
    }
}

/// Adds to `dx` the gradient through [`forward`], and to `dgain` that of the gain.
///
/// With `n = x·r`: `dx = r · (g·dy − n · mean(g·dy·n))`, `dg = Σ dy·n`.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
#[allow(clippy::cast_precision_loss)]
pub fn backward(
    dx: &mut [f32],
    dgain: Option<&mut [f32]>,
    dy: &[f32],
    x: &Tensor,
    gain: &Tensor,
    inverses: &[f32],
) -> Result<()> {
    let (_, width) = x.dims2()?;
    let (x, gain) = (values(x)?, values(gain)?);
    let mut scaled = vec![0.0; width];
    input_kernel(dx, &mut scaled, dy, &x, &gain, inverses);
    if let Some(dgain) = dgain {
        gain_kernel(dgain, dy, &x, inverses);
    }
    Ok(())
}

vectorised! {
    #[allow(clippy::cast_precision_loss)]
    fn input_kernel<'a>(
        dx: &'a mut [f32],
        scaled: &'a mut [f32],
        dy: &'a [f32],
        x: &'a [f32],
        gain: &'a [f32],
        inverses: &'a [f32],
    ) {
        let width = gain.len();
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
        for (((x, dy), dx), &r) in rows.zip(dx.chunks_exact_mut(width)).zip(inverses) {
            for ((s, dy), g) in scaled.iter_mut().zip(dy).zip(gain) {
                *s = dy * g;
            }
            let along = dot(scaled, x) * r * r / width as f32;
            for ((dx, s), x) in dx.iter_mut().zip(&*scaled).zip(x) {
                *dx += r * (s - x * along);
            }
        }
    }
}

vectorised! {
    fn gain_kernel<'a>(dgain: &'a mut [f32], dy: &'a [f32], x: &'a [f32], inverses: &'a [f32]) {
        let width = dgain.len();
        for ((x, dy), r) in x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(inverses) {
            for ((sum, x), dy) in dgain.iter_mut().zip(x).zip(dy) {
                *sum += dy * x * r;
            }
        }
    }
}
