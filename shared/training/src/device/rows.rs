//! Backward of what is computed row by row.

use crate::error::Result;
use candle_core::{D, Tensor};
use candle_nn::ops::sigmoid;

/// The norm's two gradients: of `x`, and of the gain if it is wanted.
///
/// # Shapes
/// `dy` and `x` `[rows, d]`, `gain` `[d]`.
#[allow(clippy::cast_precision_loss)]
pub(super) fn rms_norm(
    dy: &Tensor,
    x: &Tensor,
    gain: &Tensor,
    epsilon: f64,
    wants_gain: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let share = 1.0 / x.dim(D::Minus1)? as f64;
    let mean = x.sqr()?.sum_keepdim(D::Minus1)?.affine(share, epsilon)?;
    let inverse = mean.sqrt()?.recip()?;
    let dgain = wants_gain.then(|| (dy * x)?.broadcast_mul(&inverse)?.sum(0)).transpose()?;
    let scaled = dy.broadcast_mul(gain)?;
    let along = (&scaled * x)?.sum_keepdim(D::Minus1)?;
    let pull = ((along * inverse.powf(3.0)?)? * share)?;
    let dx = (scaled.broadcast_mul(&inverse)? - x.broadcast_mul(&pull)?)?;
    Ok((dx, dgain))
}

/// Gradients of `gate` and `up` where `y = silu(gate) · up`.
pub(super) fn swiglu(dy: &Tensor, gate: &Tensor, up: &Tensor) -> Result<(Tensor, Tensor)> {
    let sigmoid = sigmoid(gate)?;
    let silu = (gate * &sigmoid)?;
    let dup = (dy * &silu)?;
    // silu' = σ + silu·(1 − σ)
    let slope = (&sigmoid + (&silu - (&silu * &sigmoid)?)?)?;
    let dgate = ((dy * up)? * slope)?;
    Ok((dgate, dup))
}
