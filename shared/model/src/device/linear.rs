//! Frozen linear layers with a stack of adapters on them.

use super::kernels::widen_add;
use super::lora::StackedFactors;
use crate::error::Result;
use crate::ops::linear::Linear;
use candle_core::{DType, Tensor};

/// The input of a linear layer, once for the frozen weight and once for the adapters.
pub struct Activation {
    /// In the weights' dtype.
    pub narrow: Tensor,
    /// f32.
    pub wide: Tensor,
}

impl Activation {
    /// `wide`, f32, and its rounding to the weights' `dtype`.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn new(wide: Tensor, dtype: DType) -> Result<Self> {
        Ok(Self { narrow: wide.to_dtype(dtype)?, wide })
    }
}

/// `x·Wᵀ + bias` plus each group's `(x·Aᵀ)·Bᵀ` on its own rows, f32.
///
/// `mask`, in training, multiplies what A gets of `x`. Also returns `x·Aᵀ` for the backward.
///
/// # Shapes
/// `x` and `mask` `[rows, in]` → `[rows, out]` and `[groups, rows / groups, r]`.
///
/// # Errors
/// Shapes that disagree.
pub fn project(
    linear: &Linear,
    factors: Option<&StackedFactors>,
    x: &Activation,
    mask: Option<&Tensor>,
) -> Result<(Tensor, Option<Tensor>)> {
    let y = x.narrow.matmul(&linear.weight.t()?)?;
    let Some(factors) = factors else {
        let y = y.to_dtype(DType::F32)?;
        let bias = linear.bias.as_ref();
        return Ok((bias.map(|bias| y.broadcast_add(bias)).transpose()?.unwrap_or(y), None));
    };
    let kept = mask.map(|mask| &x.wide * mask).transpose()?;
    let wide = by_group(kept.as_ref().unwrap_or(&x.wide), factors.a.dim(0)?)?;
    let inner = wide.matmul(&factors.a.transpose(1, 2)?)?;
    let delta = inner.matmul(&factors.b.transpose(1, 2)?)?.reshape(y.shape())?;
    Ok((widen_add(&y, &delta, linear.bias.as_ref())?, Some(inner)))
}

/// `[rows, width]` → `[groups, rows / groups, width]`.
///
/// # Errors
/// Rows that do not divide among the groups.
pub fn by_group(x: &Tensor, groups: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    Ok(x.reshape((groups, rows / groups, width))?)
}
