//! Where gradients go: into the flat vectors of adapters, or of all weights.

use seal_model::Projection;
use seal_model::decoder::{DecoderConfig, parameters};
use seal_model::lora::{FactorShape, LoraSpec, factor_shapes};
use std::ops::Range;

/// What is trained.
pub enum Gradients<'a> {
    /// Candidates' adapters over frozen weights.
    Adapters(AdapterGradients<'a>),
    /// Every weight.
    Weights(WeightGradients<'a>),
}

/// One flat gradient for each adapter of the forward; all have the same shape.
pub struct AdapterGradients<'a> {
    /// By layer and projection.
    shapes: Vec<[Option<FactorShape>; Projection::COUNT]>,
    /// By adapter, in the order of [`factor_shapes`].
    flats: &'a mut [Vec<f32>],
}

impl<'a> AdapterGradients<'a> {
    /// Gradients of adapters of shape `spec`.
    #[must_use]
    pub fn new(config: &DecoderConfig, spec: &LoraSpec, flats: &'a mut [Vec<f32>]) -> Self {
        let mut shapes = vec![[None; Projection::COUNT]; config.num_hidden_layers];
        for shape in factor_shapes(config, spec) {
            shapes[shape.layer][shape.projection as usize] = Some(shape);
        }
        Self { shapes, flats }
    }

    /// The gradients of A and B of one projection of one adapter.
    pub(super) fn factors(
        &mut self,
        adapter: usize,
        layer: usize,
        which: Projection,
    ) -> Option<(&mut [f32], &mut [f32])> {
        let shape = self.shapes.get(layer)?[which as usize]?;
        let flat = self.flats.get_mut(adapter)?;
        Some(flat[shape.offset..shape.offset + shape.len()].split_at_mut(shape.a.0 * shape.a.1))
    }
}

/// One flat gradient of all weights.
pub struct WeightGradients<'a> {
    /// In the order of [`parameters`].
    pub flat: &'a mut [f32],
    /// Where each tensor is.
    pub places: &'a Places,
}

/// Where each tensor is in the flat vector.
pub struct Places {
    pub(super) embedding: Range<usize>,
    pub(super) norm: Range<usize>,
    /// The embedding's place if tied.
    pub(super) head: Range<usize>,
    pub(super) layers: Vec<LayerPlaces>,
    matrices: Vec<Range<usize>>,
    len: usize,
}

#[derive(Clone, Default)]
pub(super) struct LayerPlaces {
    pub(super) input_norm: Range<usize>,
    pub(super) mlp_norm: Range<usize>,
    /// Empty in families without it, as `k_norm`.
    pub(super) q_norm: Range<usize>,
    pub(super) k_norm: Range<usize>,
    pub(super) weights: [Range<usize>; Projection::COUNT],
    pub(super) biases: [Option<Range<usize>>; Projection::COUNT],
}

impl Places {
    /// The places of a decoder's tensors.
    #[must_use]
    pub fn new(config: &DecoderConfig) -> Self {
        let mut named = std::collections::BTreeMap::new();
        let (mut matrices, mut len) = (Vec::new(), 0);
        for (name, shape) in parameters(config) {
            let range = len..len + shape.iter().product::<usize>();
            len = range.end;
            if shape.len() == 2 {
                matrices.push(range.clone());
            }
            named.insert(name, range);
        }
        let place = |name: &str| named.get(name).cloned();
        let norm =
            |layer: usize, which: &str| place(&format!("model.layers.{layer}.{which}.weight"));
        let layers = (0..config.num_hidden_layers).map(|layer| LayerPlaces {
            input_norm: norm(layer, "input_layernorm").unwrap_or_default(),
            mlp_norm: norm(layer, "post_attention_layernorm").unwrap_or_default(),
            q_norm: norm(layer, "self_attn.q_norm").unwrap_or_default(),
            k_norm: norm(layer, "self_attn.k_norm").unwrap_or_default(),
            weights: Projection::ALL
                .map(|p| place(&format!("{}.weight", p.module(layer))).unwrap_or_default()),
            biases: Projection::ALL.map(|p| place(&format!("{}.bias", p.module(layer)))),
        });
        let embedding = place("model.embed_tokens.weight").unwrap_or_default();
        Self {
            norm: place("model.norm.weight").unwrap_or_default(),
            head: place("lm_head.weight").unwrap_or_else(|| embedding.clone()),
            layers: layers.collect(),
            embedding,
            matrices,
            len,
        }
    }

    /// Places of the matrices: what weight decay applies to, as in Hugging Face's trainer.
    #[must_use]
    pub fn matrices(&self) -> &[Range<usize>] {
        &self.matrices
    }

    /// Number of weights.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never: every decoder has weights.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The flat gradient of all weights, if they are what is trained.
pub(super) fn weights<'a>(gradients: &'a mut Gradients<'_>) -> Option<(&'a mut [f32], &'a Places)> {
    match gradients {
        Gradients::Weights(all) => Some((&mut *all.flat, all.places)),
        Gradients::Adapters(_) => None,
    }
}
