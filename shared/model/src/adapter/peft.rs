//! PEFT's adapter folder: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! **Invariant:** the same adapter and base name give the same bytes, so a digest names an adapter.

use super::gate::{self, AdapterError};
use crate::decoder::{DecoderConfig, to_safetensors};
use crate::error::{ModelError, Result};
use crate::lora::{Adapter, Projection};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Name of the config file.
pub(super) const CONFIG: &str = "adapter_config.json";
/// Name of the weight file.
pub(super) const WEIGHTS: &str = "adapter_model.safetensors";

/// PEFT's name of a factor.
pub(super) fn tensor_name(layer: usize, projection: Projection, factor: &str) -> String {
    format!("base_model.model.{}.lora_{factor}.weight", projection.module(layer))
}

impl Adapter {
    /// The bytes of `adapter_config.json` and `adapter_model.safetensors`.
    ///
    /// # Errors
    /// Factors that are not f32.
    pub fn to_peft_bytes(
        &self,
        base_name: &str,
        base_revision: &str,
    ) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut tensors = BTreeMap::new();
        for layer in 0..self.layer_count() {
            for projection in Projection::ALL {
                if let Some(factors) = self.factors(layer, projection) {
                    tensors.insert(tensor_name(layer, projection, "A"), factors.a.clone());
                    tensors.insert(tensor_name(layer, projection, "B"), factors.b.clone());
                }
            }
        }
        Ok((self.peft_config(base_name, base_revision), to_safetensors(&tensors)?))
    }

    fn peft_config(&self, base_name: &str, base_revision: &str) -> Vec<u8> {
        let spec = self.spec();
        let mut targets: Vec<&str> = spec.targets.iter().map(|t| t.name()).collect();
        targets.sort_unstable();
        let config = json!({
            "base_model_name_or_path": base_name,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "lora_alpha": spec.alpha,
            "lora_dropout": spec.dropout,
            "peft_type": "LORA",
            "r": spec.r,
            "revision": base_revision,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": spec.use_rslora,
        });
        let mut bytes = format!("{config:#}").into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// Writes a PEFT folder that PEFT and vLLM load unchanged.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save_peft(&self, dir: &Path, base_name: &str, base_revision: &str) -> Result<()> {
        let (config, weights) = self.to_peft_bytes(base_name, base_revision)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(|source| ModelError::File { path, source })
        };
        fs::create_dir_all(dir)
            .map_err(|source| ModelError::File { path: dir.to_path_buf(), source })?;
        write(WEIGHTS, &weights)?;
        write(CONFIG, &config)
    }

    /// Reads a PEFT folder through the gate: nothing is used before everything is checked.
    ///
    /// # Errors
    /// One variant of [`AdapterError`] for each broken rule.
    pub fn load_peft(dir: &Path, config: &DecoderConfig) -> Result<Self, AdapterError> {
        let adapter_config = gate::read_capped(&dir.join(CONFIG), gate::MAX_CONFIG_BYTES)?;
        let weights = gate::read_capped(&dir.join(WEIGHTS), gate::MAX_WEIGHT_BYTES)?;
        Self::from_peft_bytes(&adapter_config, &weights, config)
    }

    /// [`Adapter::load_peft`] over bytes that are already here.
    ///
    /// # Errors
    /// As [`Adapter::load_peft`].
    pub fn from_peft_bytes(
        adapter_config: &[u8],
        weights: &[u8],
        config: &DecoderConfig,
    ) -> Result<Self, AdapterError> {
        let spec = gate::check_config(adapter_config)?;
        gate::check_weights(weights, &spec, config)
    }
}
