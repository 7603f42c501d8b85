//! Every weight by the engine of [`seal_model::device`]: f32 masters and optimizer state beside the
//! rounded weights that compute.
//!
//! One step reads back two numbers: the loss, and the norm of the gradient.

use super::{Named, Weights};
use crate::adamw::AdamW as OnHost;
use crate::backward::Keep;
use crate::batch::part_norms;
use crate::device::{AdamW, Batch, Gradients, loss_and_gradients};
use crate::error::Result;
use crate::optimizer::OptimRecipe;
use crate::saved::RunState;
use crate::sequence::TrainSequence;
use candle_core::{DType, Tensor};
use seal_model::decoder::parameters;
use seal_model::{Decoder, ModelError};
use std::collections::BTreeMap;

/// Weights on a device.
pub(super) struct OnDevice {
    start: Decoder,
    /// In the order of [`parameters`].
    names: Vec<(String, Vec<usize>)>,
    /// `[1, 1, rows, columns]`, f32: one candidate for the optimizer.
    masters: Vec<Tensor>,
    optimizer: AdamW,
    /// Of the step under way.
    gradient: Vec<Tensor>,
}

impl OnDevice {
    /// # Errors
    /// A device without the memory.
    pub(super) fn new(decoder: &Decoder) -> Result<Self> {
        let (names, tensors) = (parameters(decoder.config()), decoder.tensors());
        let masters = names.iter().map(|(name, _)| master(tensors.get(name), name));
        let masters = masters.collect::<Result<Vec<_>>>()?;
        let none: Vec<Tensor> = masters.iter().map(Tensor::zeros_like).collect::<Result<_, _>>()?;
        Ok(Self {
            start: decoder.clone(),
            optimizer: AdamW { first: none.clone(), second: none, steps: 0 },
            names,
            masters,
            gradient: Vec::new(),
        })
    }

    /// A flat vector in the order of [`parameters`] as tensors like the masters.
    fn upload(&self, flat: &[f32]) -> Result<Vec<Tensor>> {
        let (mut tensors, mut at) = (Vec::with_capacity(self.masters.len()), 0);
        for master in &self.masters {
            let len = master.elem_count();
            let numbers = &flat[at..at + len];
            tensors.push(Tensor::from_slice(numbers, master.shape(), self.start.device())?);
            at += len;
        }
        Ok(tensors)
    }
}

/// The f32 master of a weight or the like of its gradient.
fn master(tensor: Option<&Tensor>, name: &str) -> Result<Tensor> {
    let missing = || ModelError::Input(format!("tensor `{name}` is missing"));
    let tensor = tensor.ok_or_else(missing)?.to_dtype(DType::F32)?;
    let columns = tensor.dims().last().copied().unwrap_or(1);
    Ok(tensor.reshape((1, 1, (), columns))?)
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

impl Weights for OnDevice {
    /// The masters, rounded to the dtype that the run began with.
    fn decoder(&self) -> Result<Decoder> {
        let named = self.names.iter().zip(&self.masters);
        let named = named
            .map(|((name, shape), master)| Ok((name.clone(), master.reshape(shape.as_slice())?)));
        Ok(self.start.with_tensors(named.collect::<Result<BTreeMap<_, _>>>()?)?)
    }

    fn gradient(
        &mut self,
        sequences: &[TrainSequence],
        shards: &[&[TrainSequence]],
        keep: Keep,
    ) -> Result<f64> {
        let (decoder, norms) = (self.decoder()?, [part_norms(sequences)]);
        let (mut gradients, mut losses) = (Gradients::of_weights(), Vec::new());
        for shard in shards {
            let batch = Batch::new(&decoder, &[shard.iter().collect()], &norms)?;
            losses.push(loss_and_gradients(&decoder, None, &batch, keep, &mut gradients)?);
        }
        if let Gradients::Weights(found) = &gradients {
            let gradient = self.names.iter().map(|(name, _)| master(found.get(name), name));
            self.gradient = gradient.collect::<Result<_>>()?;
        }
        let losses = Tensor::cat(&losses, 0)?.to_vec1::<f32>()?;
        Ok(losses.into_iter().map(f64::from).sum())
    }

    fn update(&mut self, recipe: &OptimRecipe, rate: f64) -> Result<f64> {
        let gradient = std::mem::take(&mut self.gradient);
        // Hugging Face's trainer decays no norm and no bias.
        let decays = |at: usize| self.names[at].1.len() == 2;
        let norm = self.optimizer.step(&mut self.masters, gradient, recipe, rate, decays)?;
        Ok(norm.to_vec1::<f32>()?.into_iter().map(f64::from).sum())
    }

    fn state(&self) -> Result<(Named, OnHost)> {
        let weights = self.names.iter().zip(&self.masters);
        let weights = weights.map(|((name, _), master)| Ok((name.clone(), numbers(master)?)));
        let flat = |tensors: &[Tensor]| -> Result<Vec<f32>> {
            Ok(tensors.iter().map(numbers).collect::<Result<Vec<_>>>()?.concat())
        };
        let (first, second) = (flat(&self.optimizer.first)?, flat(&self.optimizer.second)?);
        let optimizer = OnHost { first, second, steps: self.optimizer.steps };
        Ok((weights.collect::<Result<_>>()?, optimizer))
    }

    fn set_state(&mut self, state: RunState) -> Result<()> {
        self.masters = self.upload(&state.parameters.concat())?;
        let means = state.optimizer;
        let (first, second) = (self.upload(&means.first)?, self.upload(&means.second)?);
        self.optimizer = AdamW { first, second, steps: means.steps };
        Ok(())
    }
}
