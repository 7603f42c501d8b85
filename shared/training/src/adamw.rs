//! AdamW over one flat vector, with f32 state.
//!
//! Source: Loshchilov and Hutter, arXiv:1711.05101; the order of operations is PyTorch's.

use crate::optimizer::OptimRecipe;
use rayon::prelude::*;
use seal_model::ops::lanes::{dot_product, vectorised};
use std::ops::Range;

/// Parameters from which the threads of the pool share a step.
const PARALLEL_FROM: usize = 1 << 20;
/// Parameters of one thread's share.
const CHUNK: usize = 1 << 16;

/// The running means of one flat parameter vector.
#[derive(Clone, Debug)]
pub struct AdamW {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
    pub(crate) steps: u64,
}

impl AdamW {
    /// The state before the first step of `parameters` parameters.
    #[must_use]
    pub fn new(parameters: usize) -> Self {
        Self { first: vec![0.0; parameters], second: vec![0.0; parameters], steps: 0 }
    }

    /// One step at learning rate `rate`; weight decay only within `decayed`.
    ///
    /// Returns the norm of `gradient` before clipping. If it is no number, nothing changes.
    ///
    /// # Panics
    /// Vectors of another length than the state.
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        recipe: &OptimRecipe,
        rate: f64,
        decayed: &[Range<usize>],
    ) -> f64 {
        assert!(parameters.len() == self.first.len(), "flat vectors differ");
        let (norm, update) = self.begin(gradient, recipe, rate);
        if let Some(update) = update {
            decayed.iter().for_each(|range| update.decay(&mut parameters[range.clone()]));
            self.apply(&update, 0, parameters, gradient);
        }
        norm
    }

    /// Counts a step on `gradient`, unless its norm, which is returned, is no number.
    ///
    /// # Panics
    /// A gradient of another length than the state.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn begin(
        &mut self,
        gradient: &[f32],
        recipe: &OptimRecipe,
        rate: f64,
    ) -> (f64, Option<Update>) {
        assert!(gradient.len() == self.first.len(), "flat vectors differ");
        let norm = f64::from(dot_product(gradient, gradient)).sqrt();
        if !norm.is_finite() {
            return (norm, None);
        }
        self.steps += 1;
        let (beta1, beta2) = recipe.betas;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let update = Update {
            keep: (1.0 - rate * recipe.weight_decay) as f32,
            numbers: Numbers {
                scale: recipe.clip.map_or(1.0, |most| clip(norm, most)),
                size: (rate / (1.0 - beta1.powi(steps))) as f32,
                root: (1.0 / (1.0 - beta2.powi(steps)).sqrt()) as f32,
                epsilon: recipe.eps as f32,
                new1: (1.0 - beta1) as f32,
                beta2: beta2 as f32,
                new2: (1.0 - beta2) as f32,
            },
        };
        (norm, Some(update))
    }

    /// Updates `parameters`, which begin at `at` in the flat vector that `gradient` is all of.
    pub(crate) fn apply(
        &mut self,
        update: &Update,
        at: usize,
        parameters: &mut [f32],
        gradient: &[f32],
    ) {
        let numbers = update.numbers;
        let range = at..at + parameters.len();
        let (first, second) = (&mut self.first[range.clone()], &mut self.second[range.clone()]);
        let gradient = &gradient[range];
        if parameters.len() < PARALLEL_FROM {
            return update_kernel(parameters, gradient, first, second, numbers);
        }
        let means = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        let parts = parameters.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(means);
        parts.for_each(|((p, g), (m, v))| update_kernel(p, g, m, v, numbers));
    }
}

/// One step, ready to be applied.
pub(crate) struct Update {
    keep: f32,
    numbers: Numbers,
}

impl Update {
    /// Weight decay, which PyTorch applies before the update.
    pub(crate) fn decay(&self, parameters: &mut [f32]) {
        if self.keep != 1.0 {
            parameters.iter_mut().for_each(|p| *p *= self.keep);
        }
    }
}

/// The scalars of one step.
#[derive(Clone, Copy)]
struct Numbers {
    /// Of the gradient: clipping, without a pass of its own.
    scale: f32,
    size: f32,
    root: f32,
    epsilon: f32,
    new1: f32,
    beta2: f32,
    new2: f32,
}

vectorised! {
    fn update_kernel<'a>(
        parameters: &'a mut [f32],
        gradient: &'a [f32],
        first: &'a mut [f32],
        second: &'a mut [f32],
        n: Numbers,
    ) {
        let means = first.iter_mut().zip(second);
        for ((p, g), (m, v)) in parameters.iter_mut().zip(gradient).zip(means) {
            let g = g * n.scale;
            *m += n.new1 * (g - *m);
            *v = n.beta2 * *v + n.new2 * g * g;
            *p -= n.size * *m / (v.sqrt() * n.root + n.epsilon);
        }
    }
}

/// What scales a gradient of norm `norm` down to norm `most`, as PyTorch does.
#[allow(clippy::cast_possible_truncation)]
fn clip(norm: f64, most: f64) -> f32 {
    (most / (norm + 1e-6)).min(1.0) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_moves_each_parameter_by_the_learning_rate() {
        let (mut p, g) = (vec![1.0, -2.0, 0.5], vec![0.3, -7.0, 0.0]);
        AdamW::new(3).step(&mut p, &g, &OptimRecipe::default(), 0.1, &[]);
        assert!((p[0] - 0.9).abs() < 1e-6 && (p[1] + 1.9).abs() < 1e-6 && p[2] == 0.5, "{p:?}");
    }

    #[test]
    fn decay_reaches_only_its_range_and_does_not_pass_through_the_means() {
        let recipe = OptimRecipe { weight_decay: 0.5, ..OptimRecipe::default() };
        let (mut p, g) = (vec![2.0, 2.0], vec![0.0, 0.0]);
        AdamW::new(2).step(&mut p, &g, &recipe, 0.1, std::slice::from_ref(&(0..1)));
        assert!((p[0] - 1.9).abs() < 1e-6 && p[1] == 2.0, "{p:?}");
    }

    #[test]
    fn a_long_gradient_is_cut_and_a_short_one_left_alone() {
        let recipe = OptimRecipe { clip: Some(1.0), ..OptimRecipe::default() };
        // The first mean after one step is a tenth of the gradient that counted.
        let counted = |gradient: &[f32]| {
            let mut adamw = AdamW::new(2);
            let norm = adamw.step(&mut [0.0; 2], gradient, &recipe, 0.1, &[]);
            (norm, [adamw.first[0] * 10.0, adamw.first[1] * 10.0])
        };
        let (norm, long) = counted(&[3.0, 4.0]);
        assert_eq!(norm, 5.0, "the norm before clipping");
        assert!((long[0] - 0.6).abs() < 1e-5 && (long[1] - 0.8).abs() < 1e-5, "{long:?}");
        let (_, short) = counted(&[0.3, 0.4]);
        assert!((short[0] - 0.3).abs() < 1e-6 && (short[1] - 0.4).abs() < 1e-6, "{short:?}");
    }

    #[test]
    fn a_gradient_without_a_norm_changes_nothing() {
        let (mut parameters, mut adamw) = ([1.0, 2.0], AdamW::new(2));
        for broken in [f32::NAN, f32::INFINITY] {
            let recipe =
                OptimRecipe { weight_decay: 0.5, clip: Some(1.0), ..OptimRecipe::default() };
            let norm = adamw.step(
                &mut parameters,
                &[0.1, broken],
                &recipe,
                0.1,
                std::slice::from_ref(&(0..2)),
            );
            assert!(!norm.is_finite());
        }
        assert_eq!((parameters, adamw.steps), ([1.0, 2.0], 0));
        assert!(adamw.first.iter().chain(&adamw.second).all(|mean| *mean == 0.0));
    }
}
