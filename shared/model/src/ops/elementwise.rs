//! Sums of tensors and moves of whole rows.

use super::lanes::vectorised;
use super::{tensor, values};
use crate::error::Result;
use candle_core::Tensor;

/// `a + b`, same shape.
///
/// # Errors
/// Tensors that are not f32 on the CPU.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (x, y) = (values(a)?, values(b)?);
    let mut sum = x.to_vec();
    add_kernel(&mut sum, &y);
    tensor(sum, a.shape())
}

vectorised! {
    fn add_kernel<'a>(sum: &'a mut [f32], x: &'a [f32]) {
        for (sum, x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }
}

/// `a += b` over slices.
pub fn add_into(a: &mut [f32], b: &[f32]) {
    add_kernel(a, b);
}

/// The rows `rows` of `x` `[n, d]`, in that order.
///
/// # Errors
/// A tensor that is not f32 on the CPU.
pub fn gather_rows(x: &Tensor, rows: &[usize]) -> Result<Tensor> {
    let (_, width) = x.dims2()?;
    let x = values(x)?;
    let mut out = Vec::with_capacity(rows.len() * width);
    rows.iter().for_each(|&row| out.extend_from_slice(&x[row * width..(row + 1) * width]));
    tensor(out, (rows.len(), width))
}

/// The inverse of [`gather_rows`]: `[n, width]` zeros with `x` at `rows`.
#[must_use]
pub fn scatter_rows(x: &[f32], rows: &[usize], n: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0.0; n * width];
    for (x, &row) in x.chunks_exact(width).zip(rows) {
        out[row * width..(row + 1) * width].copy_from_slice(x);
    }
    out
}
