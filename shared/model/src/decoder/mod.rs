//! A trainable decoder: configuration, weights and forward.

mod config;
mod forward;
mod weights;

pub use config::{DecoderConfig, Family, SlidingWindow};
pub use forward::{Attend, Fresh, HeadNormTrace, LayerTrace};
pub(crate) use weights::gaussian;
pub use weights::{Layer, Weights, parameters};

use crate::error::{ModelError, Result};
use crate::fit::{self, Work};
use crate::folder::ModelFolder;
use crate::ops::linear::Products;
use crate::ops::rope::Rope;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A decoder with its weights on one device. Cloning shares the weights.
#[derive(Clone)]
pub struct Decoder {
    config: Arc<DecoderConfig>,
    weights: Arc<Weights>,
    rope: Arc<Rope>,
    device: Device,
    /// True if the engine of [`crate::device`] computes it, false if the exact one does.
    composed: bool,
    /// How the exact engine computes products with these weights.
    products: Products,
    /// When its forwards stop; absent: never.
    until: Option<Instant>,
}

impl Decoder {
    /// Loads a Hugging Face folder: `config.json` and safetensors.
    ///
    /// On the CPU the weights are f32 and the exact engine computes; elsewhere they are bf16.
    ///
    /// # Errors
    /// A folder that is incomplete, damaged or of an unsupported kind.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        Self::from_folder(&ModelFolder::open(dir)?, device)
    }

    /// [`Decoder::load`] for `works`, which must all fit on the device: else nothing is read.
    ///
    /// # Errors
    /// [`ModelError::DoesNotFit`] with figures and mends, before any weight is read; then as
    /// [`Decoder::load`].
    pub fn load_for(dir: &Path, device: &Device, works: &[Work]) -> Result<Self> {
        let folder = ModelFolder::open(dir)?;
        let fits = |work| fit::require(dir, folder.config(), device, work);
        works.iter().try_for_each(fits)?;
        Self::from_folder(&folder, device)
    }

    /// Loads the weights of an open folder, as [`Decoder::load`] does.
    ///
    /// # Errors
    /// A weight that is no number, a file that changed meanwhile, a device without the memory.
    pub fn from_folder(folder: &ModelFolder, device: &Device) -> Result<Self> {
        let dtype = if device.is_cpu() { DType::F32 } else { DType::BF16 };
        let tensors = folder.read(dtype, device)?;
        Self::from_read(folder.config().clone(), &tensors, folder.path(), device)
    }

    /// A decoder over tensors that were read from `path` onto `device`.
    pub(crate) fn from_read(
        config: DecoderConfig,
        tensors: &BTreeMap<String, Tensor>,
        path: &Path,
        device: &Device,
    ) -> Result<Self> {
        let weights = Weights::from_tensors(&config, tensors, path)?;
        Self::assemble(config, weights, device)
    }

    /// A decoder with fresh random weights; the seed fixes them.
    ///
    /// # Errors
    /// A device without the memory.
    pub fn init(config: &DecoderConfig, seed: u64, device: &Device) -> Result<Self> {
        Self::from_weights(config.clone(), Weights::init(config, seed, device)?, device)
    }

    /// A decoder of the engine of [`crate::device`] whose random weights are drawn on `device`
    /// itself, for measurements. Nothing fixes them.
    ///
    /// # Errors
    /// A device without the memory, or a dtype that is neither f32 nor bf16.
    pub fn drawn(config: &DecoderConfig, device: &Device, dtype: DType) -> Result<Self> {
        computable(dtype)?;
        let mut tensors = BTreeMap::new();
        for (name, shape) in parameters(config) {
            let tensor = match shape.len() {
                2 => Tensor::randn(0f32, 0.02, shape, device)?.to_dtype(dtype)?,
                _ if name.ends_with(".bias") => Tensor::zeros(shape, DType::F32, device)?,
                _ => Tensor::ones(shape, DType::F32, device)?,
            };
            tensors.insert(name, tensor);
        }
        let weights = Weights::from_tensors(config, &tensors, Path::new(""))?;
        let decoder = Self::assemble(config.clone(), weights, device)?;
        Ok(Self { composed: true, ..decoder })
    }

    /// A decoder over existing f32 weights on the CPU, computed by the exact engine.
    ///
    /// # Errors
    /// Sizes that no decoder has, a device the exact engine has no kernels for.
    pub fn from_weights(config: DecoderConfig, weights: Weights, device: &Device) -> Result<Self> {
        if !device.is_cpu() {
            return Err(ModelError::Input("the exact engine computes on the CPU only".into()));
        }
        Self::assemble(config, weights, device)
    }

    fn assemble(config: DecoderConfig, weights: Weights, device: &Device) -> Result<Self> {
        config.check().map_err(ModelError::Input)?;
        let (positions, theta) = (config.max_position_embeddings, config.rope_theta);
        let rope = Rope::new(config.head_dim, positions, theta, &config.rope_scaling);
        Ok(Self {
            config: Arc::new(config),
            weights: Arc::new(weights),
            rope: Arc::new(rope),
            composed: !device.is_cpu(),
            products: Products::default(),
            until: None,
            device: device.clone(),
        })
    }

    /// This decoder, whose forwards stop at a moment: between two layers, with
    /// [`ModelError::OutOfTime`]. Whatever computes with it stops there, scoring, generation and
    /// training alike; no thread is killed, and what came before is the same to the bit.
    #[must_use]
    pub fn until(&self, moment: Instant) -> Self {
        Self { until: Some(moment), ..self.clone() }
    }

    /// Asked before each layer.
    pub(crate) fn check_time(&self) -> Result<()> {
        match self.until {
            Some(until) if Instant::now() >= until => Err(ModelError::OutOfTime),
            _ => Ok(()),
        }
    }

    /// This decoder with the products of the exact engine computed this way; the other engine has
    /// its own. The tensors are shared.
    #[must_use]
    pub fn computing(&self, products: Products) -> Self {
        if self.composed || products == self.products {
            return self.clone();
        }
        let weights = Arc::new(self.weights.computing(products));
        Self { weights, products, ..self.clone() }
    }

    /// This decoder on `device` with its matrices in `dtype`, computed by the engine of
    /// [`crate::device`].
    ///
    /// # Errors
    /// A device without the memory, or a dtype that is neither f32 nor bf16.
    pub fn composed(&self, device: &Device, dtype: DType) -> Result<Self> {
        computable(dtype)?;
        let moved = Self { device: device.clone(), composed: true, ..self.clone() };
        moved.rounded(self.tensors(), dtype)
    }

    /// This decoder with other weights, rounded to its dtype. Where nothing is rounded or moved,
    /// the tensors are shared. Products are [`Products::F32`]: preparing weights for others pays
    /// only if they stay.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn with_tensors(&self, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        self.rounded(tensors, self.weights.embedding.dtype())
    }

    fn rounded(&self, mut tensors: BTreeMap<String, Tensor>, dtype: DType) -> Result<Self> {
        for tensor in tensors.values_mut() {
            // Gains and biases are few and stay exact.
            let dtype = if tensor.rank() == 2 { dtype } else { DType::F32 };
            *tensor = tensor.to_device(&self.device)?.to_dtype(dtype)?;
        }
        Ok(self.over(Weights::from_tensors(&self.config, &tensors, Path::new(""))?))
    }

    fn over(&self, weights: Weights) -> Self {
        let (weights, products) = (Arc::new(weights), Products::default());
        Self { weights, products, ..self.clone() }
    }

    /// True if the engine of [`crate::device`] computes it.
    #[must_use]
    pub fn is_composed(&self) -> bool {
        self.composed
    }

    /// How the exact engine computes products.
    #[must_use]
    pub fn products(&self) -> Products {
        self.products
    }

    /// This decoder with the weights of one flat vector in the order of [`parameters`]. Products
    /// are as [`Decoder::with_tensors`] says.
    ///
    /// # Errors
    /// A vector of another length.
    pub fn with_flat(&self, flat: &[f32]) -> Result<Self> {
        Ok(self.over(Weights::from_flat(&self.config, flat, &self.device)?))
    }

    /// All weights as one flat vector in the order of [`parameters`].
    ///
    /// # Errors
    /// Weights that are not f32.
    pub fn flat(&self) -> Result<Vec<f32>> {
        let tensors = self.weights.tensors(&self.config);
        let mut flat = Vec::new();
        for (name, _) in parameters(&self.config) {
            flat.extend(tensors[&name].flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(flat)
    }

    /// Writes `config.json` and `model.safetensors`; the same decoder gives the same bytes.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let file = |path: &Path| {
            let path = path.to_path_buf();
            move |source| ModelError::File { path, source }
        };
        std::fs::create_dir_all(dir).map_err(file(dir))?;
        let path = dir.join("config.json");
        std::fs::write(&path, self.config.to_json()).map_err(file(&path))?;
        self.weights.save(dir, &self.config)
    }

    /// The shape.
    #[must_use]
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The shape, shared.
    pub(crate) fn shared_config(&self) -> Arc<DecoderConfig> {
        self.config.clone()
    }

    /// True if both compute with the very same weights.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.weights, &other.weights)
            && Arc::ptr_eq(&self.config, &other.config)
            && Arc::ptr_eq(&self.rope, &other.rope)
    }

    /// The weights.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The rotary table.
    #[must_use]
    pub fn rope(&self) -> &Rope {
        &self.rope
    }

    /// The device of the weights.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Number of weights.
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        parameters(&self.config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    }

    /// Every tensor under its Hugging Face name.
    #[must_use]
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        self.weights.tensors(&self.config)
    }

    /// Refuses what the forward could not index.
    ///
    /// # Errors
    /// A sequence that is empty or too long, or a token outside the vocabulary.
    pub fn check_tokens(&self, tokens: &[u32]) -> Result<()> {
        let (vocab_size, max) = (self.config.vocab_size, self.config.max_position_embeddings);
        if tokens.is_empty() {
            return Err(ModelError::Input("a sequence has no tokens".into()));
        }
        if tokens.len() > max {
            return Err(ModelError::TooLong { tokens: tokens.len(), max });
        }
        match tokens.iter().find(|&&t| t as usize >= vocab_size) {
            Some(&token) => Err(ModelError::Token { token, vocab_size }),
            None => Ok(()),
        }
    }
}

/// Refuses dtypes that the engine of [`crate::device`] has no products for.
fn computable(dtype: DType) -> Result<()> {
    match dtype {
        DType::F32 | DType::BF16 => Ok(()),
        other => Err(ModelError::Input(format!("weights are f32 or bf16, not {other:?}"))),
    }
}
