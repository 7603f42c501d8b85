//! The weights of a decoder under their Hugging Face names, from and to safetensors.
//!
//! **Invariant:** a decoder is built only from a complete set of finite-shaped tensors; unknown
//! tensors are ignored (checkpoints carry buffers), missing or misshapen ones are an error.

use super::config::DecoderConfig;
use crate::error::{ModelError, Result};
use crate::lora::Projection;
use crate::ops::linear::Linear;
use candle_core::{DType, Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

    /// Reads `model.safetensors`, or the shards its index names.
    ///
    /// # Errors
    /// Files that are missing, damaged or lack a tensor.
    pub fn load(dir: &Path, config: &DecoderConfig, device: &Device) -> Result<Self> {
        let wanted: BTreeMap<String, Vec<usize>> = parameters(config).into_iter().collect();
        let mut tensors = BTreeMap::new();
        for path in weight_files(dir)? {
            read_file(&path, &wanted, device, &mut tensors)?;
        }
        Self::from_tensors(config, &tensors, dir)
    }

    /// Writes `model.safetensors` in f32; the same weights give the same bytes.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, dir: &Path, config: &DecoderConfig) -> Result<()> {
        let path = dir.join("model.safetensors");
        let bytes = to_safetensors(&self.tensors(config))?;
        fs::write(&path, bytes).map_err(|source| ModelError::File { path, source })
    }
}

/// A standard normal number: Box–Muller over f64.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn gaussian(rng: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
}

/// Safetensors bytes of f32 tensors, in name order, without metadata that varies.
pub(crate) fn to_safetensors(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let mut owned = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let data = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        owned.push((name, tensor.dims().to_vec(), bytes));
    }
    let mut views = Vec::with_capacity(owned.len());
    for (name, shape, bytes) in &owned {
        let view = safetensors::tensor::TensorView::new(Dtype::F32, shape.clone(), bytes)
            .map_err(|e| ModelError::Input(format!("tensor `{name}`: {e}")))?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize(views, None)
        .map_err(|e| ModelError::Input(format!("cannot serialise weights: {e}")))
}

/// The weight files of a folder, in order.
fn weight_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let index = dir.join("model.safetensors.index.json");
    if !index.exists() {
        return Ok(vec![dir.join("model.safetensors")]);
    }
    let bytes =
        fs::read(&index).map_err(|source| ModelError::File { path: index.clone(), source })?;
    let weights = |problem: String| ModelError::Weights { path: index.clone(), problem };
    let parsed: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| weights(e.to_string()))?;
    let map = parsed["weight_map"]
        .as_object()
        .ok_or_else(|| weights("`weight_map` is missing".into()))?;
    let mut names: Vec<&str> = map.values().filter_map(|v| v.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    // A shard is a file of this folder: the index must not lead out of it.
    if let Some(name) = names.iter().find(|n| Path::new(n).file_name() != Some(n.as_ref())) {
        return Err(weights(format!("shard `{name}` is not a plain file name")));
    }
    Ok(names.iter().map(|name| dir.join(name)).collect())
}

fn read_file(
    path: &Path,
    wanted: &BTreeMap<String, Vec<usize>>,
    device: &Device,
    into: &mut BTreeMap<String, Tensor>,
) -> Result<()> {
    let bytes =
        fs::read(path).map_err(|source| ModelError::File { path: path.to_path_buf(), source })?;
    let weights = |problem: String| ModelError::Weights { path: path.to_path_buf(), problem };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| weights(e.to_string()))?;
    for name in wanted.keys() {
        let Ok(view) = file.tensor(name) else { continue };
        let data = to_f32(view.dtype(), view.data()).ok_or_else(|| {
            weights(format!("tensor `{name}` has dtype {:?}, not F32, F16 or BF16", view.dtype()))
        })?;
        into.insert(name.clone(), Tensor::from_vec(data, view.shape(), device)?);
    }
    Ok(())
}

/// Little-endian floats of a stored dtype, or `None` for a dtype that is not a float.
pub(crate) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let pairs = || bytes.as_chunks::<2>().0.iter().copied();
    match dtype {
        Dtype::F32 => {
            Some(bytes.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect())
        }
        Dtype::BF16 => {
            Some(pairs().map(|b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)).collect())
        }
        Dtype::F16 => Some(pairs().map(|b| half_to_f32(u16::from_le_bytes(b))).collect()),
        _ => None,
    }
}

fn half_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f32::from(bits & 0x3ff));
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_numbers_are_read_exactly() {
        let bytes: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7c00, 0x3555]
            .iter()
            .flat_map(|b| b.to_le_bytes())
            .collect();
        let read = to_f32(Dtype::F16, &bytes).unwrap();
        assert_eq!(read, [1.0, -2.0, 5.960_464_5e-8, f32::INFINITY, 0.333_251_95]);
        assert_eq!(to_f32(Dtype::BF16, &[0x80, 0x3f]).unwrap(), [1.0]);
        assert!(to_f32(Dtype::I32, &[0; 4]).is_none());
    }
}
