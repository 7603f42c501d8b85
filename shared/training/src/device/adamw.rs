//! AdamW over tensors that hold every candidate, with f32 state on their device.
//!
//! Source: Loshchilov and Hutter, arXiv:1711.05101; the order of operations is PyTorch's.

use crate::error::Result;
use crate::optimizer::OptimRecipe;
use candle_core::Tensor;
use seal_model::device::kernels::{AdamWStep, adamw, sums_of_squares};

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
        gradient: Vec<Tensor>,
        recipe: &OptimRecipe,
        rate: f64,
        decays: impl Fn(usize) -> bool,
    ) -> Result<Tensor> {
        let norm = norm(&gradient)?;
        let scales = match recipe.clip {
            // As PyTorch: down to `most`, never up.
            Some(most) => ((&norm + 1e-6)?.recip()? * most)?.minimum(1.0)?,
            None => norm.ones_like()?,
        };
        self.steps += 1;
        let betas = recipe.betas;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        for (at, gradient) in gradient.into_iter().enumerate() {
            let step = AdamWStep {
                keep: if decays(at) { 1.0 - rate * recipe.weight_decay } else { 1.0 },
                size: rate / (1.0 - betas.0.powi(steps)),
                root: 1.0 / (1.0 - betas.1.powi(steps)).sqrt(),
                epsilon: recipe.eps,
                betas,
            };
            let (first, second) = (&mut self.first[at], &mut self.second[at]);
            let before = [&parameters[at], &*first, &*second];
            [parameters[at], *first, *second] = adamw(before, &gradient, &scales, step)?;
        }
        Ok(norm)
    }
}

/// The norm of each group's numbers.
fn norm(gradient: &[Tensor]) -> Result<Tensor> {
    let sums = gradient.iter().map(sums_of_squares).collect::<Result<Vec<_>, _>>()?;
    Ok(Tensor::stack(&sums, 0)?.sum(0)?.sqrt()?)
}
