//! AdamW over tensors that hold every candidate, with f32 state on their device.
//!
//! Source: Loshchilov and Hutter, arXiv:1711.05101; the order of operations is PyTorch's.

use crate::error::Result;
use crate::optimizer::OptimRecipe;
use candle_core::{D, Tensor};

/// The running means of all candidates.
pub(crate) struct AdamW {
    pub(crate) first: Vec<Tensor>,
    pub(crate) second: Vec<Tensor>,
    pub(crate) steps: u64,
}

impl AdamW {
    /// One step at learning rate `rate`; `decays` says which tensors weight decay applies to.
    ///
    /// Returns the norm of each candidate's gradient before clipping, `[groups]`, still on the
    /// device. Where it is no number the candidate's parameters are none either: its caller gives
    /// it up.
    ///
    /// # Shapes
    /// All tensors `[layers, groups, rows, columns]`.
    pub(crate) fn step(
        &mut self,
        parameters: &mut [Tensor],
        mut gradient: Vec<Tensor>,
        recipe: &OptimRecipe,
        rate: f64,
        decays: impl Fn(usize) -> bool,
    ) -> Result<Tensor> {
        let mut squares = gradient.iter().map(Tensor::sqr).collect::<Result<Vec<_>, _>>()?;
        let norm = norm(&squares)?;
        if let Some(most) = recipe.clip {
            clip(&mut gradient, &mut squares, &norm, most)?;
        }
        self.steps += 1;
        let (beta1, beta2) = recipe.betas;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let size = rate / (1.0 - beta1.powi(steps));
        let root = 1.0 / (1.0 - beta2.powi(steps)).sqrt();
        let keep = 1.0 - rate * recipe.weight_decay;
        for (at, (gradient, square)) in gradient.into_iter().zip(squares).enumerate() {
            let (m, v, p) = (&mut self.first[at], &mut self.second[at], &mut parameters[at]);
            *m = ((&*m * beta1)? + (gradient * (1.0 - beta1))?)?;
            *v = ((&*v * beta2)? + (square * (1.0 - beta2))?)?;
            if keep < 1.0 && decays(at) {
                *p = (&*p * keep)?;
            }
            let step = ((&*m * size)? / v.sqrt()?.affine(root, recipe.eps)?)?;
            *p = (&*p - step)?;
        }
        Ok(norm)
    }
}

/// The norm of each group's numbers, from their `squares`. Sums go axis by axis: a device adds the
/// numbers of one result in one place.
fn norm(squares: &[Tensor]) -> Result<Tensor> {
    let sums = squares.iter().map(|square| square.sum(D::Minus1)?.sum(D::Minus1)?.sum(0));
    Ok(Tensor::stack(&sums.collect::<Result<Vec<_>, _>>()?, 0)?.sum(0)?.sqrt()?)
}

/// Scales each group whose norm is above `most` down to it, as PyTorch does.
fn clip(gradient: &mut [Tensor], squares: &mut [Tensor], norm: &Tensor, most: f64) -> Result<()> {
    let factors = ((norm + 1e-6)?.recip()? * most)?.minimum(1.0)?.reshape((1, (), 1, 1))?;
    let factors_squared = factors.sqr()?;
    for (gradient, square) in gradient.iter_mut().zip(squares) {
        *gradient = gradient.broadcast_mul(&factors)?;
        *square = square.broadcast_mul(&factors_squared)?;
    }
    Ok(())
}
