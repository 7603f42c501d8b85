//! PEFT's adapter folder: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! **Invariant:** the same adapter and base give the same bytes, so a digest names an adapter.
//! **Invariant:** nothing of a file is used before everything about it was checked.

use super::error::AdapterError;
use super::{gate, settings};
use crate::decoder::DecoderConfig;
use crate::error::{ModelError, Result};
use crate::folder::{self, Metadata, Refusal};
use crate::lora::{Adapter, Projection};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Name of the config file.
const CONFIG: &str = "adapter_config.json";
/// Name of the weight file.
const WEIGHTS: &str = "adapter_model.safetensors";
/// What PEFT wrote before safetensors.
const PICKLE: &str = "adapter_model.bin";

/// PEFT's name of a factor.
pub(super) fn tensor_name(layer: usize, projection: Projection, factor: &str) -> String {
    format!("base_model.model.{}.lora_{factor}.weight", projection.module(layer))
}

/// The base that an adapter was trained over, as the adapter's files name it.
#[derive(Clone, Copy, Debug)]
pub struct BaseModel<'a> {
    /// Hub name or path, for those who load the adapter elsewhere.
    pub name: &'a str,
    /// Commit on the hub, where it came from there.
    pub revision: Option<&'a str>,
    /// [`crate::folder_digest`] of its folder.
    pub digest: &'a [u8; 32],
}

impl Adapter {
    /// The bytes of `adapter_config.json` and `adapter_model.safetensors`.
    ///
    /// The base's digest stands in the metadata of the latter, which PEFT and vLLM skip.
    ///
    /// # Errors
    /// Factors that are not f32.
    pub fn to_peft_bytes(&self, base: BaseModel<'_>) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut tensors = BTreeMap::new();
        for layer in 0..self.layer_count() {
            for projection in Projection::ALL {
                if let Some(factors) = self.factors(layer, projection) {
                    tensors.insert(tensor_name(layer, projection, "A"), factors.a.clone());
                    tensors.insert(tensor_name(layer, projection, "B"), factors.b.clone());
                }
            }
        }
        let digest = gate::hex(base.digest);
        let notes = Metadata::from([("format", "pt"), (gate::BASE_DIGEST, &digest)]);
        Ok((self.peft_config(base), folder::f32_bytes(&tensors, &notes)?))
    }

    fn peft_config(&self, base: BaseModel<'_>) -> Vec<u8> {
        let spec = self.spec();
        let mut targets: Vec<&str> = spec.targets.iter().map(|t| t.name()).collect();
        targets.sort_unstable();
        let mut config = json!({
            "base_model_name_or_path": base.name,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "lora_alpha": spec.alpha,
            "lora_dropout": spec.dropout,
            "peft_type": "LORA",
            "r": spec.r,
            "revision": base.revision,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": false,
            "use_rslora": spec.use_rslora,
        });
        // Sorted whatever another crate of the build asks of serde_json: the bytes are digested.
        config.sort_all_objects();
        let mut bytes = format!("{config:#}").into_bytes();
        bytes.push(b'\n');
        bytes
    }

    /// Writes a PEFT folder that PEFT and vLLM load unchanged.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save_peft(&self, dir: &Path, base: BaseModel<'_>) -> Result<()> {
        let (config, weights) = self.to_peft_bytes(base)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.join(name);
            fs::write(&path, bytes).map_err(|source| ModelError::File { path, source })
        };
        fs::create_dir_all(dir)
            .map_err(|source| ModelError::File { path: dir.to_path_buf(), source })?;
        write(WEIGHTS, &weights)?;
        write(CONFIG, &config)
    }

    /// Reads a PEFT folder through the gate, whatever base of this shape it was made for.
    ///
    /// # Errors
    /// One variant of [`AdapterError`] for each broken rule.
    pub fn load_peft(dir: &Path, config: &DecoderConfig) -> Result<Self, AdapterError> {
        load(dir, config, None)
    }

    /// [`Adapter::load_peft`] for the base of that digest alone.
    ///
    /// # Errors
    /// As [`Adapter::load_peft`]; an adapter that names another base, or none.
    pub fn load_peft_over(
        dir: &Path,
        config: &DecoderConfig,
        base: &[u8; 32],
    ) -> Result<Self, AdapterError> {
        load(dir, config, Some(base))
    }

    /// [`Adapter::load_peft_over`], or without a base [`Adapter::load_peft`], over bytes that are
    /// already here.
    ///
    /// # Errors
    /// As these.
    pub fn from_peft_bytes(
        adapter_config: &[u8],
        weights: &[u8],
        config: &DecoderConfig,
        base: Option<&[u8; 32]>,
    ) -> Result<Self, AdapterError> {
        let refused = |reason| AdapterError::Refused { path: WEIGHTS.into(), reason };
        let spec = settings::check(adapter_config, config.num_hidden_layers)?;
        let header = folder::header_of_bytes(weights, gate::LIMITS).map_err(refused)?;
        base.map_or(Ok(()), |base| gate::check_base(&header, base))?;
        gate::check_header(&header, &spec, config)?;
        gate::build(weights, &header, &spec, config)
    }
}

fn load(
    dir: &Path,
    config: &DecoderConfig,
    base: Option<&[u8; 32]>,
) -> Result<Adapter, AdapterError> {
    let path = dir.join(WEIGHTS);
    let adapter_config = folder::read_small(&dir.join(CONFIG), settings::MAX_CONFIG_BYTES)?;
    if !path.exists() && dir.join(PICKLE).exists() {
        return Err(AdapterError::Refused { path: dir.join(PICKLE), reason: Refusal::Pickle });
    }
    let spec = settings::check(&adapter_config, config.num_hidden_layers)?;
    // The file is read as a whole only once its header has shown it to be as long as it must be.
    let (file, bytes, header) = folder::open_with_header(&path, gate::LIMITS)?;
    if bytes > gate::MAX_WEIGHT_BYTES {
        return Err(AdapterError::TooLarge { what: WEIGHTS, bytes, max: gate::MAX_WEIGHT_BYTES });
    }
    base.map_or(Ok(()), |base| gate::check_base(&header, base))?;
    gate::check_header(&header, &spec, config)?;
    let weights = folder::read_whole(&path, &file, bytes)?;
    gate::build(&weights, &header, &spec, config)
}
