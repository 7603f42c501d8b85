//! AdamW, and the norms it clips by.

#[cfg(feature = "cuda")]
use super::fused::{Fused, Grid};
#[cfg(feature = "cuda")]
use super::narrowed;
use crate::error::Result;
use candle_core::{D, Tensor};

/// The scalars of one step.
#[derive(Clone, Copy, Debug)]
pub struct AdamWStep {
    /// What weight decay leaves of a parameter.
    pub keep: f64,
    /// Learning rate over the first mean's correction.
    pub size: f64,
    /// The second mean's correction: factor of its root.
    pub root: f64,
    /// Added to the root.
    pub epsilon: f64,
    /// What stays of each mean.
    pub betas: (f64, f64),
}

/// Parameters and both means after a step; the gradient of each group counts times its scale.
///
/// # Shapes
/// All `[layers, groups, rows, columns]`, `scales` `[groups]`.
///
/// # Errors
/// Shapes that disagree.
pub fn adamw(
    [parameters, first, second]: [&Tensor; 3],
    gradient: &Tensor,
    scales: &Tensor,
    step: AdamWStep,
) -> Result<[Tensor; 3]> {
    let AdamWStep { keep, size, root, epsilon, betas: (beta1, beta2) } = step;
    #[cfg(feature = "cuda")]
    if parameters.device().is_cuda() {
        let (layers, groups, rows, columns) = parameters.dims4()?;
        let count = parameters.elem_count();
        let all = Fused::like("adamw", parameters, rows * columns)
            .groups(groups)
            .scalars([keep, size, root, epsilon, beta1, beta2].map(narrowed))
            .out((3 * layers, groups, rows, columns), candle_core::DType::F32)
            .run(&[
                (parameters, count),
                (first, count),
                (second, count),
                (gradient, count),
                (scales, groups),
            ])?;
        let part = |at: usize| all.narrow(0, at * layers, layers);
        return Ok([part(0)?, part(1)?, part(2)?]);
    }
    let gradient = gradient.broadcast_mul(&scales.reshape((1, (), 1, 1))?)?;
    let first = ((first * beta1)? + (&gradient * (1.0 - beta1))?)?;
    let second = ((second * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
    let kept = if keep < 1.0 { (parameters * keep)? } else { parameters.clone() };
    let change = ((&first * size)? / second.sqrt()?.affine(root, epsilon)?)?;
    Ok([(kept - change)?, first, second])
}

/// The sum of the squares of each group's numbers, `[groups]`, of `x` `[layers, groups, rows,
/// columns]`.
///
/// # Errors
/// Another shape.
pub fn sums_of_squares(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let (layers, groups, rows, columns) = x.dims4()?;
        let width = rows * columns;
        return Ok(Fused::like("sum_of_squares", x, width)
            .grid(Grid::Rows(width as u64))
            .out((layers, groups), candle_core::DType::F32)
            .run(&[(x, layers * groups * width)])?
            .sum(0)?);
    }
    // Axis by axis: a device adds the numbers of one result in one place.
    Ok(x.sqr()?.sum(D::Minus1)?.sum(D::Minus1)?.sum(0)?)
}
