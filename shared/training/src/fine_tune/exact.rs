//! Every weight by the exact engine.

use super::{Named, Weights};
use crate::adamw::AdamW;
use crate::backward::{Gradients, Keep, Places, WeightGradients, accumulate};
use crate::batch::{TrainBatch, part_norms};
use crate::error::Result;
use crate::optimizer::OptimRecipe;
use crate::saved::RunState;
use crate::sequence::TrainSequence;
use candle_core::Tensor;
use rayon::prelude::*;
use seal_model::Decoder;
use seal_model::decoder::parameters;
use seal_model::ops::elementwise::add_into;
use seal_model::ops::{tensor, values};
use std::collections::{BTreeMap, VecDeque};

/// From so many weights on, shards are computed one after another into one gradient: the threads
/// share each product, and a gradient for each thread would not fit.
const LARGE_FROM: usize = 16 << 20;

/// Weights on the CPU.
pub(super) struct Exact {
    start: Decoder,
    /// By name. Nothing else holds them between two steps.
    weights: BTreeMap<String, Tensor>,
    optimizer: AdamW,
    places: Places,
    /// Of the step under way.
    gradient: Vec<f32>,
}

impl Exact {
    pub(super) fn new(decoder: &Decoder) -> Self {
        let places = Places::new(decoder.config());
        Self {
            weights: decoder.tensors(),
            optimizer: AdamW::new(places.len()),
            places,
            start: decoder.clone(),
            gradient: Vec::new(),
        }
    }
}

impl Weights for Exact {
    fn decoder(&self) -> Result<Decoder> {
        Ok(self.start.with_tensors(self.weights.clone())?)
    }

    /// Shards in parallel, summed in their order.
    fn gradient(
        &mut self,
        sequences: &[TrainSequence],
        shards: &[&[TrainSequence]],
        keep: Keep,
    ) -> Result<f64> {
        let (decoder, norms) = (self.decoder()?, part_norms(sequences));
        let add = |shard: &[TrainSequence], loss: &mut [f64; 1], flat: &mut [f32]| {
            let mut batch = TrainBatch::default();
            batch.push(shard, 0, None, &norms);
            let mut sink = Gradients::Weights(WeightGradients { flat, places: &self.places });
            accumulate(&decoder, &batch, &[], keep, loss, &mut sink)
        };
        let (mut loss, mut sum) = ([0.0], vec![0.0; self.places.len()]);
        if self.places.len() >= LARGE_FROM {
            shards.iter().try_for_each(|shard| add(shard, &mut loss, &mut sum))?;
            self.gradient = sum;
            return Ok(loss[0]);
        }
        // As many gradients at once as there are threads, each added in its turn.
        let fresh = |shard: &&[TrainSequence]| {
            let (mut loss, mut flat) = ([0.0], vec![0.0; self.places.len()]);
            add(shard, &mut loss, &mut flat).map(|()| (loss[0], flat))
        };
        for (number, shards) in shards.chunks(rayon::current_num_threads()).enumerate() {
            let parts: VecDeque<_> = shards.par_iter().map(fresh).collect::<Result<_>>()?;
            for (part, (more, flat)) in parts.into_iter().enumerate() {
                loss[0] += more;
                match (number, part) {
                    (0, 0) => sum = flat,
                    _ => add_into(&mut sum, &flat),
                }
            }
        }
        self.gradient = sum;
        Ok(loss[0])
    }

    fn update(&mut self, recipe: &OptimRecipe, rate: f64) -> Result<f64> {
        let gradient = std::mem::take(&mut self.gradient);
        let (norm, update) = self.optimizer.begin(&gradient, recipe, rate);
        let Some(update) = update else { return Ok(norm) };
        let mut at = 0;
        for (name, shape) in parameters(self.start.config()) {
            // Hugging Face's trainer decays no norm and no bias.
            let is_matrix = shape.len() == 2;
            if let Some(weight) = self.weights.get_mut(&name) {
                let mut numbers = values(weight)?.to_vec();
                if is_matrix {
                    update.decay(&mut numbers);
                }
                self.optimizer.apply(&update, at, &mut numbers, &gradient);
                at += numbers.len();
                *weight = tensor(numbers, shape)?;
            }
        }
        Ok(norm)
    }

    fn state(&self) -> Result<(Named, AdamW)> {
        let weights = self
            .weights
            .iter()
            .map(|(name, weight)| Ok((name.clone(), values(weight)?.to_vec())))
            .collect::<Result<_>>()?;
        Ok((weights, self.optimizer.clone()))
    }

    fn set_state(&mut self, state: RunState) -> Result<()> {
        let shapes = parameters(self.start.config());
        for ((name, shape), numbers) in shapes.into_iter().zip(state.parameters) {
            self.weights.insert(name, tensor(numbers, shape)?);
        }
        self.optimizer = state.optimizer;
        Ok(())
    }
}
