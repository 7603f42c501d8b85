//! The weights of a decoder under their Hugging Face names, and their way to safetensors.
//!
//! **Invariant:** a decoder is built only from a complete set of tensors of the right shapes. Absent:
//! reading a folder (`folder`).

use super::config::DecoderConfig;
use crate::error::{ModelError, Result};
use crate::folder::{Metadata, WriteError, write_f32};
use crate::lora::Projection;
use crate::ops::linear::{Linear, Products};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::fs;
use std::io::BufWriter;
use std::path::Path;

/// Weights of one layer.
#[derive(Clone)]
pub struct Layer {
    /// Gain `[d]` before attention.
    pub input_norm: Tensor,
    /// Gain `[d]` before SwiGLU.
    pub mlp_norm: Tensor,
    /// Gain `[head_dim]` of every query head, in families that normalise them.
    pub q_norm: Option<Tensor>,
    /// Gain `[head_dim]` of every key head, in families that normalise them.
    pub k_norm: Option<Tensor>,
    /// By [`Projection`], in its order.
    pub projections: [Linear; Projection::COUNT],
}

impl Layer {
    /// The weight of one projection.
    #[must_use]
    pub fn projection(&self, which: Projection) -> &Linear {
        &self.projections[which as usize]
    }
}

/// All weights.
#[derive(Clone)]
pub struct Weights {
    /// `[vocab, d]`.
    pub embedding: Tensor,
    /// In order.
    pub layers: Vec<Layer>,
    /// Gain `[d]` before the output projection.
    pub norm: Tensor,
    /// `[vocab, d]`; shares the embedding's tensor if tied.
    pub head: Linear,
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const FINAL_NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";
const Q_NORM: &str = "self_attn.q_norm";
const K_NORM: &str = "self_attn.k_norm";

/// Name and shape of every tensor of a decoder, sorted as the flat parameter vector is.
#[must_use]
pub fn parameters(config: &DecoderConfig) -> Vec<(String, Vec<usize>)> {
    let d = config.hidden_size;
    let mut all = vec![(EMBEDDING.to_owned(), vec![config.vocab_size, d])];
    for layer in 0..config.num_hidden_layers {
        all.push((norm_name(layer, "input_layernorm"), vec![d]));
        for projection in Projection::ALL {
            let (out, inner) = projection.shape(config);
            let module = projection.module(layer);
            all.push((format!("{module}.weight"), vec![out, inner]));
            if projection.has_bias(config) {
                all.push((format!("{module}.bias"), vec![out]));
            }
        }
        if config.family.normalises_heads() {
            all.push((norm_name(layer, Q_NORM), vec![config.head_dim]));
            all.push((norm_name(layer, K_NORM), vec![config.head_dim]));
        }
        all.push((norm_name(layer, "post_attention_layernorm"), vec![d]));
    }
    all.push((FINAL_NORM.to_owned(), vec![d]));
    if !config.tie_word_embeddings {
        all.push((HEAD.to_owned(), vec![config.vocab_size, d]));
    }
    all
}

fn norm_name(layer: usize, which: &str) -> String {
    format!("model.layers.{layer}.{which}.weight")
}

impl Weights {
    /// Builds the weights from named tensors; `get` hands each out with its expected shape.
    fn build(config: &DecoderConfig, mut get: impl FnMut(&str) -> Result<Tensor>) -> Result<Self> {
        let embedding = get(EMBEDDING)?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            let mut projections = Vec::with_capacity(Projection::COUNT);
            for projection in Projection::ALL {
                let module = projection.module(layer);
                let weight = get(&format!("{module}.weight"))?;
                let bias = projection
                    .has_bias(config)
                    .then(|| get(&format!("{module}.bias")))
                    .transpose()?;
                projections.push(Linear::new(weight, bias));
            }
            let mut head_norm = |which| {
                let normalises = config.family.normalises_heads();
                normalises.then(|| get(&norm_name(layer, which))).transpose()
            };
            let (q_norm, k_norm) = (head_norm(Q_NORM)?, head_norm(K_NORM)?);
            layers.push(Layer {
                q_norm,
                k_norm,
                input_norm: get(&norm_name(layer, "input_layernorm"))?,
                mlp_norm: get(&norm_name(layer, "post_attention_layernorm"))?,
                projections: projections
                    .try_into()
                    .map_err(|_| ModelError::Input("a layer has seven projections".into()))?,
            });
        }
        let head = if config.tie_word_embeddings { embedding.clone() } else { get(HEAD)? };
        Ok(Self { embedding, layers, norm: get(FINAL_NORM)?, head: Linear::new(head, None) })
    }

    /// The same weights with products computed this way.
    pub(super) fn computing(&self, products: Products) -> Self {
        let layer = |layer: &Layer| Layer {
            projections: layer.projections.each_ref().map(|linear| linear.computing(products)),
            ..layer.clone()
        };
        let layers = self.layers.iter().map(layer).collect();
        Self { layers, head: self.head.computing(products), ..self.clone() }
    }

    /// Builds the weights from one flat vector in the order of [`parameters`].
    ///
    /// # Errors
    /// A vector of another length.
    pub fn from_flat(config: &DecoderConfig, flat: &[f32], device: &Device) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        let mut at = 0;
        for (name, shape) in parameters(config) {
            let len: usize = shape.iter().product();
            let data = flat
                .get(at..at + len)
                .ok_or_else(|| ModelError::Input(format!("flat parameters end before `{name}`")))?;
            tensors.insert(name, Tensor::from_slice(data, shape, device)?);
            at += len;
        }
        if at != flat.len() {
            return Err(ModelError::Input(format!(
                "{} flat parameters, expected {at}",
                flat.len()
            )));
        }
        Self::from_tensors(config, &tensors, Path::new(""))
    }

    /// Builds the weights from named f32 tensors.
    ///
    /// # Errors
    /// A missing or misshapen tensor; `path` is for the message only.
    pub fn from_tensors(
        config: &DecoderConfig,
        tensors: &BTreeMap<String, Tensor>,
        path: &Path,
    ) -> Result<Self> {
        let weights = |problem| ModelError::Weights { path: path.to_path_buf(), problem };
        for (name, shape) in parameters(config) {
            let found =
                tensors.get(&name).ok_or_else(|| weights(format!("tensor `{name}` is missing")))?;
            if found.dims() != shape {
                return Err(weights(format!(
                    "tensor `{name}` is {:?}, expected {shape:?}",
                    found.dims()
                )));
            }
        }
        Self::build(config, |name| {
            tensors.get(name).cloned().ok_or_else(|| weights(format!("tensor `{name}` is missing")))
        })
    }

    /// Every tensor by name.
    #[must_use]
    pub fn tensors(&self, config: &DecoderConfig) -> BTreeMap<String, Tensor> {
        let mut all = BTreeMap::from([
            (EMBEDDING.to_owned(), self.embedding.clone()),
            (FINAL_NORM.to_owned(), self.norm.clone()),
        ]);
        if !config.tie_word_embeddings {
            all.insert(HEAD.to_owned(), self.head.weight.clone());
        }
        for (index, layer) in self.layers.iter().enumerate() {
            all.insert(norm_name(index, "input_layernorm"), layer.input_norm.clone());
            all.insert(norm_name(index, "post_attention_layernorm"), layer.mlp_norm.clone());
            for (which, gain) in [(Q_NORM, &layer.q_norm), (K_NORM, &layer.k_norm)] {
                if let Some(gain) = gain {
                    all.insert(norm_name(index, which), gain.clone());
                }
            }
            for projection in Projection::ALL {
                let linear = layer.projection(projection);
                let module = projection.module(index);
                all.insert(format!("{module}.weight"), linear.weight.clone());
                if let Some(bias) = &linear.bias {
                    all.insert(format!("{module}.bias"), bias.clone());
                }
            }
        }
        all
    }

    /// Fresh weights: N(0, 0.02) for matrices, ones for gains, zeros for biases.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn init(config: &DecoderConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tensors = BTreeMap::new();
        for (name, shape) in parameters(config) {
            let len = shape.iter().product();
            let data: Vec<f32> = match shape.as_slice() {
                [_, _] => (0..len).map(|_| 0.02 * gaussian(&mut rng)).collect(),
                _ if name.ends_with(".bias") => vec![0.0; len],
                _ => vec![1.0; len],
            };
            tensors.insert(name, Tensor::from_vec(data, shape, device)?);
        }
        Self::from_tensors(config, &tensors, Path::new(""))
    }

    /// Writes `model.safetensors` in f32; the same weights give the same bytes.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, dir: &Path, config: &DecoderConfig) -> Result<()> {
        let path = dir.join("model.safetensors");
        let written = fs::File::create(&path).map_err(WriteError::from).and_then(|file| {
            write_f32(&mut BufWriter::new(file), &self.tensors(config), &Metadata::new())
        });
        written.map_err(|error| match error {
            WriteError::Tensor(error) => ModelError::Tensor(error),
            WriteError::Io(source) => ModelError::File { path, source },
        })
    }
}

/// A standard normal number: Box–Muller over f64.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn gaussian(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
}
