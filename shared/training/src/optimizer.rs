//! AdamW over one flat vector, with f32 state.
//!
//! Source: Loshchilov and Hutter, arXiv:1711.05101; the order of operations is PyTorch's.

use crate::error::{Result, TrainError};
use crate::schedule::{Schedule, factor};
use rayon::prelude::*;
use seal_model::ops::lanes::{dot_product, vectorised};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Parameters from which the threads of the pool share a step.
const PARALLEL_FROM: usize = 1 << 20;
/// Parameters of one thread's share.
const CHUNK: usize = 1 << 16;

/// How gradients become updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimRecipe {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decay rates of the two running means.
    pub betas: (f64, f64),
    /// Added to the root of the second mean.
    pub eps: f64,
    /// Decoupled weight decay per unit of learning rate.
    pub weight_decay: f64,
    /// Largest global gradient norm; larger ones are scaled down to it.
    pub clip: Option<f64>,
    /// Shape of the learning rate.
    pub schedule: Schedule,
    /// Steps in which the rate rises from 0.
    pub warmup_steps: u64,
    /// Fraction of the peak rate that a falling schedule ends at.
    pub final_fraction: f64,
}

impl Default for OptimRecipe {
    /// PyTorch's AdamW with Hugging Face's linear schedule.
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            clip: None,
            schedule: Schedule::Linear,
            warmup_steps: 0,
            final_fraction: 0.0,
        }
    }
}

impl OptimRecipe {
    /// Refuses values no run can have.
    ///
    /// # Errors
    /// The first field out of range.
    pub fn check(&self) -> Result<()> {
        let rules = [
            (
                "learning_rate",
                self.learning_rate.is_finite() && self.learning_rate >= 0.0,
                "must be 0 or more",
            ),
            (
                "betas",
                in_unit(self.betas.0) && in_unit(self.betas.1),
                "must be at least 0 and below 1",
            ),
            ("eps", self.eps.is_finite() && self.eps > 0.0, "must be above 0"),
            (
                "weight_decay",
                self.weight_decay.is_finite() && self.weight_decay >= 0.0,
                "must be 0 or more",
            ),
            (
                "clip",
                self.clip.is_none_or(|c| c.is_finite() && c > 0.0),
                "must be above 0, or absent",
            ),
            ("final_fraction", (0.0..=1.0).contains(&self.final_fraction), "must be 0 to 1"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(TrainError::Recipe { field, problem }),
            None => Ok(()),
        }
    }

    /// The learning rate at `step` of `steps`, both from 0.
    #[must_use]
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        self.learning_rate
            * factor(self.schedule, step, steps, self.warmup_steps, self.final_fraction)
    }
}

fn in_unit(x: f64) -> bool {
    (0.0..1.0).contains(&x)
}

/// The running means of one flat parameter vector.
#[derive(Clone, Debug)]
pub struct AdamW {
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u64,
}

impl AdamW {
    /// The state before the first step of `parameters` parameters.
    #[must_use]
    pub fn new(parameters: usize) -> Self {
        Self { first: vec![0.0; parameters], second: vec![0.0; parameters], steps: 0 }
    }

    /// One step at learning rate `rate`; weight decay only within `decayed`.
    ///
    /// # Panics
    /// Vectors of another length than the state.
    #[allow(clippy::cast_possible_truncation)]
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradient: &mut [f32],
        recipe: &OptimRecipe,
        rate: f64,
        decayed: &[Range<usize>],
    ) {
        assert!(
            parameters.len() == self.first.len() && gradient.len() == self.first.len(),
            "flat vectors differ"
        );
        self.steps += 1;
        if let Some(most) = recipe.clip {
            clip(gradient, most);
        }
        if recipe.weight_decay > 0.0 {
            let keep = (1.0 - rate * recipe.weight_decay) as f32;
            for range in decayed {
                parameters[range.clone()].iter_mut().for_each(|p| *p *= keep);
            }
        }
        self.update(parameters, gradient, recipe, rate);
    }

    #[allow(clippy::cast_possible_truncation)]
    fn update(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        recipe: &OptimRecipe,
        rate: f64,
    ) {
        let (beta1, beta2) = recipe.betas;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let size = (rate / (1.0 - beta1.powi(steps))) as f32;
        let root = (1.0 / (1.0 - beta2.powi(steps)).sqrt()) as f32;
        let (epsilon, new1, beta2, new2) =
            (recipe.eps as f32, (1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
        let numbers = Numbers { size, root, epsilon, new1, beta2, new2 };
        if parameters.len() < PARALLEL_FROM {
            update_kernel(parameters, gradient, &mut self.first, &mut self.second, numbers);
            return;
        }
        let means = self.first.par_chunks_mut(CHUNK).zip(self.second.par_chunks_mut(CHUNK));
        let parts = parameters.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(means);
        parts.for_each(|((p, g), (m, v))| update_kernel(p, g, m, v, numbers));
    }
}

/// The scalars of one step.
#[derive(Clone, Copy)]
struct Numbers {
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
            *m += n.new1 * (g - *m);
            *v = n.beta2 * *v + n.new2 * g * g;
            *p -= n.size * *m / (v.sqrt() * n.root + n.epsilon);
        }
    }
}

/// Scales `gradient` down to norm `most`, as PyTorch does.
#[allow(clippy::cast_possible_truncation)]
fn clip(gradient: &mut [f32], most: f64) {
    let norm = f64::from(dot_product(gradient, gradient)).sqrt();
    let factor = most / (norm + 1e-6);
    if factor < 1.0 {
        gradient.iter_mut().for_each(|g| *g *= factor as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_moves_each_parameter_by_the_learning_rate() {
        let (mut p, mut g) = (vec![1.0, -2.0, 0.5], vec![0.3, -7.0, 0.0]);
        AdamW::new(3).step(&mut p, &mut g, &OptimRecipe::default(), 0.1, &[]);
        assert!((p[0] - 0.9).abs() < 1e-6 && (p[1] + 1.9).abs() < 1e-6 && p[2] == 0.5, "{p:?}");
    }

    #[test]
    fn decay_reaches_only_its_range_and_does_not_pass_through_the_means() {
        let recipe = OptimRecipe { weight_decay: 0.5, ..OptimRecipe::default() };
        let (mut p, mut g) = (vec![2.0, 2.0], vec![0.0, 0.0]);
        AdamW::new(2).step(&mut p, &mut g, &recipe, 0.1, std::slice::from_ref(&(0..1)));
        assert!((p[0] - 1.9).abs() < 1e-6 && p[1] == 2.0, "{p:?}");
    }

    #[test]
    fn a_long_gradient_is_cut_and_a_short_one_left_alone() {
        let mut long = vec![3.0, 4.0];
        clip(&mut long, 1.0);
        assert!((long[0] - 0.6).abs() < 1e-5 && (long[1] - 0.8).abs() < 1e-5);
        let mut short = vec![0.3, 0.4];
        clip(&mut short, 1.0);
        assert_eq!(short, [0.3, 0.4]);
    }

    #[test]
    fn recipes_out_of_range_are_refused_by_field() {
        for (recipe, field) in [
            (OptimRecipe { learning_rate: f64::NAN, ..OptimRecipe::default() }, "learning_rate"),
            (OptimRecipe { betas: (0.9, 1.0), ..OptimRecipe::default() }, "betas"),
            (OptimRecipe { clip: Some(0.0), ..OptimRecipe::default() }, "clip"),
        ] {
            assert!(recipe.check().unwrap_err().to_string().contains(field));
        }
    }
}
