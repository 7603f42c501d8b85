//! `adapter_config.json`: plain LoRA, or refused by field.
//!
//! **Invariant:** a field that could change what is computed is either understood or refused; only
//! fields that name or describe may hold anything.

use super::error::AdapterError;
use super::targets;
use crate::lora::{LoraInit, LoraSpec};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest `adapter_config.json`, in bytes.
pub(super) const MAX_CONFIG_BYTES: u64 = 64 << 10;

/// The fields of PEFT's LoRA config that change what is computed. All others must be empty or off.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    target_modules: Value,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(default)]
    lora_dropout: Option<f64>,
    #[serde(default)]
    use_rslora: Option<bool>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Fields that name or describe, and so may hold anything.
const DESCRIPTIVE: [&str; 7] = [
    "base_model_name_or_path",
    "revision",
    "task_type",
    "inference_mode",
    "auto_mapping",
    "peft_version",
    "runtime_config",
];

/// Parses and checks `adapter_config.json` for a decoder of `layers` layers.
pub(super) fn check(bytes: &[u8], layers: usize) -> Result<LoraSpec, AdapterError> {
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        let bytes = bytes.len() as u64;
        let what = "adapter_config.json";
        return Err(AdapterError::TooLarge { what, bytes, max: MAX_CONFIG_BYTES });
    }
    let config: PeftConfig =
        serde_json::from_slice(bytes).map_err(|e| AdapterError::Config(e.to_string()))?;
    if config.peft_type != "LORA" {
        return Err(unsupported("peft_type", &Value::from(config.peft_type)));
    }
    if !leaves_base(&config.init_lora_weights) {
        return Err(AdapterError::Init(shortened(&config.init_lora_weights)));
    }
    for (field, value) in &config.rest {
        if !DESCRIPTIVE.contains(&field.as_str()) && !is_off(field, value) {
            return Err(unsupported(field, value));
        }
    }
    let spec = LoraSpec {
        r: config.r,
        alpha: config.lora_alpha,
        targets: targets::projections(&config.target_modules, layers)?,
        init: LoraInit::default(),
        dropout: config.lora_dropout.unwrap_or(0.0),
        use_rslora: config.use_rslora.unwrap_or(false),
    };
    spec.check().map_err(|e| AdapterError::Config(e.to_string()))?;
    Ok(spec)
}

fn unsupported(field: &str, value: &Value) -> AdapterError {
    let field = field.chars().take(80).flat_map(char::escape_debug).collect();
    AdapterError::Unsupported { field, value: shortened(value) }
}

/// JSON escapes control characters, so this is safe to print.
fn shortened(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

/// True for a start that concerns the factors alone. PiSSA, OLoRA and others subtract theirs from
/// the base's weights at load, so the model that PEFT serves is not base + file.
fn leaves_base(init: &Value) -> bool {
    init.is_null() || init.is_boolean() || init == "gaussian"
}

/// True for a PEFT option in the position that leaves plain LoRA.
fn is_off(field: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    empty || (field == "bias" && value == "none") || is_idle(field, value)
}

/// Sizes of methods that the flags checked elsewhere leave switched off.
fn is_idle(field: &str, value: &Value) -> bool {
    matches!(field, "megatron_core" | "qalora_group_size") && !value.is_object()
}
