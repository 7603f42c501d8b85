//! Where gradients go.

use crate::error::Result;
use candle_core::{DType, Tensor};
use seal_model::{Decoder, ModelError, Projection};
use std::collections::BTreeMap;

/// What is trained, and its gradient so far.
pub enum Gradients {
    /// Candidates' adapters over frozen weights.
    Adapters(AdapterGradients),
    /// Every weight, by its Hugging Face name.
    Weights(BTreeMap<String, Tensor>),
}

/// By layer and projection: the gradients of A, times its scale, and of B.
pub struct AdapterGradients {
    layers: Vec<[Option<[Tensor; 2]>; Projection::COUNT]>,
}

impl AdapterGradients {
    /// Takes those of one projection in all layers, stacked: `[layers, groups, r, in]`, which is of the
    /// unscaled A, and `[layers, groups, out, r]`.
    ///
    /// # Errors
    /// A layer without them.
    pub(super) fn stacked(&mut self, which: Projection, scale: f32) -> Result<[Tensor; 2]> {
        let taken = self.layers.iter_mut().map(|layer| layer[which as usize].take());
        let all: Option<Vec<[Tensor; 2]>> = taken.collect();
        let all =
            all.ok_or_else(|| ModelError::Input(format!("{} has no gradient", which.name())))?;
        let (a, b): (Vec<_>, Vec<_>) = all.into_iter().map(<(Tensor, Tensor)>::from).unzip();
        Ok([(Tensor::stack(&a, 0)? * f64::from(scale))?, Tensor::stack(&b, 0)?])
    }
}

impl Gradients {
    /// Of adapters on so many layers, before the backward.
    pub fn of_adapters(layers: usize) -> Self {
        Self::Adapters(AdapterGradients { layers: vec![Default::default(); layers] })
    }

    /// Of every weight, before the first backward.
    pub fn of_weights() -> Self {
        Self::Weights(BTreeMap::new())
    }

    /// True if weights are frozen.
    pub(super) fn only_adapters(&self) -> bool {
        matches!(self, Self::Adapters(_))
    }

    /// Takes those of one projection of one layer.
    pub(super) fn factors(&mut self, layer: usize, which: Projection, both: [Tensor; 2]) {
        if let Self::Adapters(adapters) = self {
            adapters.layers[layer][which as usize] = Some(both);
        }
    }

    /// Adds `gradient()` to that of the weight `name()`, if weights are trained.
    pub(super) fn weight(
        &mut self,
        name: impl FnOnce() -> String,
        gradient: impl FnOnce() -> Result<Tensor>,
    ) -> Result<()> {
        let Self::Weights(all) = self else { return Ok(()) };
        let (name, gradient) = (name(), gradient()?.to_dtype(DType::F32)?);
        let sum = match all.remove(&name) {
            Some(so_far) => (so_far + gradient)?,
            None => gradient,
        };
        all.insert(name, sum);
        Ok(())
    }

    /// Of the embedding, where the rows `dx` began.
    pub(super) fn embedding(
        &mut self,
        decoder: &Decoder,
        tokens: &Tensor,
        dx: &Tensor,
    ) -> Result<()> {
        let name = || EMBEDDING.to_owned();
        self.weight(name, || {
            let shape = decoder.weights().embedding.shape();
            let none = Tensor::zeros(shape, DType::F32, dx.device())?;
            Ok(none.index_add(tokens, dx, 0)?)
        })
    }
}

pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(super) const FINAL_NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";

/// The name of the output projection's weight.
pub(super) fn head_name(decoder: &Decoder) -> &'static str {
    if decoder.config().tie_word_embeddings { EMBEDDING } else { HEAD }
}
