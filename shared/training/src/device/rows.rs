//! Backward of what is computed row by row.

use crate::error::Result;
use candle_core::{D, Tensor};
use seal_model::device::kernels::rms_norm_backward;

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
    let of_gain = || -> Result<Tensor> {
        let share = 1.0 / x.dim(D::Minus1)? as f64;
        let mean = x.sqr()?.sum_keepdim(D::Minus1)?.affine(share, epsilon)?;
        Ok((dy * x)?.broadcast_mul(&mean.sqrt()?.recip()?)?.sum(0)?)
    };
    let dgain = wants_gain.then(of_gain).transpose()?;
    Ok((rms_norm_backward(dy, x, gain, epsilon)?, dgain))
}
