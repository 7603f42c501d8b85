//! What a layer computes number by number or row by row.

#[cfg(feature = "cuda")]
use super::fused::{Fused, Grid};
#[cfg(feature = "cuda")]
use super::narrowed;
use crate::error::Result;
use candle_core::{D, DType, Tensor};
use candle_nn::ops::sigmoid;

/// Gradients of `gate` and `up` where `y = silu(gate) · up`.
///
/// # Shapes
/// All `[rows, width]`.
///
/// # Errors
/// Shapes that disagree.
pub fn swiglu_backward(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<(Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if dy.device().is_cuda() {
        let (rows, width) = dy.dims2()?;
        let count = rows * width;
        let both = Fused::like("swiglu_backward", dy, width)
            .out((2 * rows, width), DType::F32)
            .run(&[(dy, count), (gate, count), (up, count)])?;
        return Ok((both.narrow(0, 0, rows)?, both.narrow(0, rows, rows)?));
    }
    let sigmoid = sigmoid(gate)?;
    let silu = (gate * &sigmoid)?;
    let dup = (dy * &silu)?;
    // silu' = σ + silu·(1 − σ)
    let slope = (&sigmoid + (&silu - (&silu * &sigmoid)?)?)?;
    let dgate = ((dy * up)? * slope)?;
    Ok((dgate, dup))
}

/// Gradient of the input of RMSNorm.
///
/// # Shapes
/// `dy` and `x` `[rows, d]`, `gain` `[d]`.
///
/// # Errors
/// Shapes that disagree.
#[allow(clippy::cast_precision_loss)]
pub fn rms_norm_backward(dy: &Tensor, x: &Tensor, gain: &Tensor, epsilon: f64) -> Result<Tensor> {
    let width = x.dim(D::Minus1)?;
    #[cfg(feature = "cuda")]
    if dy.device().is_cuda() {
        let count = x.elem_count();
        return Fused::like("rms_norm_backward", x, width)
            .grid(Grid::Rows(width as u64))
            .scalars([narrowed(epsilon)])
            .run(&[(dy, count), (x, count), (gain, width)]);
    }
    let share = 1.0 / width as f64;
    let mean = x.sqr()?.sum_keepdim(D::Minus1)?.affine(share, epsilon)?;
    let inverse = mean.sqrt()?.recip()?;
    let scaled = dy.broadcast_mul(gain)?;
    let along = (&scaled * x)?.sum_keepdim(D::Minus1)?;
    let pull = ((along * inverse.powf(3.0)?)? * share)?;
    Ok((scaled.broadcast_mul(&inverse)? - x.broadcast_mul(&pull)?)?)
}

/// `narrow + more`, and `bias` on every row, in f32.
///
/// # Shapes
/// `narrow`, in any dtype, and `more` `[rows, width]`; `bias` `[width]`.
///
/// # Errors
/// Shapes that disagree.
pub fn widen_add(narrow: &Tensor, more: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if narrow.device().is_cuda() && narrow.dtype() == DType::BF16 {
        let (count, width) = (more.elem_count(), more.dim(D::Minus1)?);
        let has_bias = f32::from(u8::from(bias.is_some()));
        let third = bias.map_or((more, count), |bias| (bias, width));
        return Fused::like("widen_add", more, width).scalars([has_bias]).run(&[
            (narrow, count),
            (more, count),
            third,
        ]);
    }
    let sum = (narrow.to_dtype(DType::F32)? + more)?;
    Ok(bias.map(|bias| sum.broadcast_add(bias)).transpose()?.unwrap_or(sum))
}
