//! What an adapter from elsewhere must satisfy before one of its numbers is used.
//!
//! **Invariant:** names, shapes, dtypes and sizes are decided by the base's config and the declared
//! rank alone; a file can neither add, drop nor repeat a tensor. Absent: pickle, and any format
//! but safetensors.

use super::peft::tensor_name;
use crate::decoder::{DecoderConfig, to_f32};
use crate::error::ModelError;
use crate::lora::{Adapter, LoraInit, LoraSpec, Projection, factor_shapes};
use safetensors::{Dtype, SafeTensors};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest `adapter_config.json`, in bytes.
pub(super) const MAX_CONFIG_BYTES: u64 = 64 << 10;
/// Longest `adapter_model.safetensors`, in bytes.
pub(super) const MAX_WEIGHT_BYTES: u64 = 4 << 30;
/// Longest safetensors header, in bytes.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Most tensors of an adapter.
const MAX_TENSORS: usize = 4096;
/// Largest Frobenius norm of one factor. Trained factors stay far below; a larger one is no update
/// but an attempt to overflow.
const MAX_NORM: f64 = 1e4;

/// Why an adapter was refused. Nothing of it has been used.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A file is missing or unreadable.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is longer than any adapter's.
    #[error("{what} has {bytes} bytes, the most is {max}")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// `adapter_config.json` is not valid.
    #[error("adapter_config.json: {0}")]
    Config(String),
    /// `adapter_config.json` asks for something other than plain LoRA.
    #[error(
        "adapter_config.json: `{field}` = {value} is not supported; only plain LoRA without bias, dropout or other layers is"
    )]
    Unsupported {
        /// The field.
        field: String,
        /// Its value.
        value: String,
    },
    /// `adapter_config.json` asks for a start that PEFT may take out of the base's own weights.
    #[error(
        "adapter_config.json: `init_lora_weights` = {0} may change the base at load; convert the adapter to plain LoRA, whose value is true, false or \"gaussian\""
    )]
    Init(String),
    /// The safetensors header cannot be parsed.
    #[error("adapter_model.safetensors: {0}")]
    Header(String),
    /// The header names one tensor twice.
    #[error("adapter_model.safetensors names tensor `{0}` twice")]
    DuplicateTensor(String),
    /// More tensors than any adapter has.
    #[error("adapter_model.safetensors has {0} tensors, the most is {MAX_TENSORS}")]
    TooManyTensors(usize),
    /// A tensor the declared targets do not have.
    #[error("tensor `{0}` does not belong to the declared targets of this base")]
    UnexpectedTensor(String),
    /// A tensor of the declared targets is missing.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// A tensor does not have the shape that base and rank require.
    #[error("tensor `{name}` is {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it must have.
        expected: Vec<usize>,
    },
    /// A tensor is not F32, BF16 or F16.
    #[error("tensor `{name}` has dtype {dtype}, not F32, BF16 or F16")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its dtype.
        dtype: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("tensor `{0}` holds a number that is not finite")]
    NotFinite(String),
    /// A tensor is larger than any training makes it.
    #[error("tensor `{name}` has norm {norm:.1}, the most is {MAX_NORM}")]
    Norm {
        /// The tensor.
        name: String,
        /// Its Frobenius norm.
        norm: f64,
    },
    /// The checked numbers could not be turned into an adapter.
    #[error("cannot build the adapter")]
    Build(#[from] ModelError),
}

/// Reads a file of at most `max` bytes, even if it grows meanwhile.
pub(super) fn read_capped(path: &Path, max: u64) -> Result<Vec<u8>, AdapterError> {
    let read = |source| AdapterError::Read { path: path.to_path_buf(), source };
    let file = std::fs::File::open(path).map_err(read)?;
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(read)?;
    if bytes.len() as u64 > max {
        return Err(AdapterError::TooLarge {
            what: "an adapter file",
            bytes: bytes.len() as u64,
            max,
        });
    }
    Ok(bytes)
}

/// The fields of PEFT's LoRA config that change what is computed. All others must be empty or off.
#[derive(Deserialize)]
struct PeftConfig {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    target_modules: Vec<String>,
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

/// Parses and checks `adapter_config.json`.
pub(super) fn check_config(bytes: &[u8]) -> Result<LoraSpec, AdapterError> {
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        let bytes = bytes.len() as u64;
        return Err(AdapterError::TooLarge {
            what: "adapter_config.json",
            bytes,
            max: MAX_CONFIG_BYTES,
        });
    }
    let config: PeftConfig =
        serde_json::from_slice(bytes).map_err(|e| AdapterError::Config(e.to_string()))?;
    if config.peft_type != "LORA" {
        return Err(AdapterError::Unsupported {
            field: "peft_type".into(),
            value: config.peft_type,
        });
    }
    if !leaves_base(&config.init_lora_weights) {
        return Err(AdapterError::Init(config.init_lora_weights.to_string()));
    }
    for (field, value) in &config.rest {
        if !DESCRIPTIVE.contains(&field.as_str()) && !is_off(field, value) {
            return Err(AdapterError::Unsupported {
                field: field.clone(),
                value: value.to_string(),
            });
        }
    }
    let mut targets: Vec<Projection> =
        config.target_modules.iter().map(|name| target(name)).collect::<Result<_, _>>()?;
    // Files list targets by name; everything here is in the order of the flat vector.
    targets.sort_unstable();
    let spec = LoraSpec {
        r: config.r,
        alpha: config.lora_alpha,
        targets,
        init: LoraInit::default(),
        dropout: config.lora_dropout.unwrap_or(0.0),
        use_rslora: config.use_rslora.unwrap_or(false),
    };
    spec.check().map_err(|e| AdapterError::Config(e.to_string()))?;
    Ok(spec)
}

fn target(name: &str) -> Result<Projection, AdapterError> {
    Projection::from_name(name).ok_or_else(|| AdapterError::Unsupported {
        field: "target_modules".into(),
        value: name.into(),
    })
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
    empty
        || (field == "bias" && value == "none")
        || (field == "lora_bias" && value == false)
        || is_idle(field, value)
}

/// Sizes of methods that the flags checked elsewhere leave switched off.
fn is_idle(field: &str, value: &Value) -> bool {
    matches!(field, "megatron_core" | "qalora_group_size") && !value.is_object()
}

/// Checks `adapter_model.safetensors` against what `spec` on `config` must have, and builds it.
pub(super) fn check_weights(
    bytes: &[u8],
    spec: &LoraSpec,
    config: &DecoderConfig,
) -> Result<Adapter, AdapterError> {
    check_header(bytes)?;
    let file = SafeTensors::deserialize(bytes).map_err(|e| AdapterError::Header(e.to_string()))?;
    let shapes = factor_shapes(config, spec);
    let mut expected = BTreeMap::new();
    for shape in &shapes {
        expected.insert(tensor_name(shape.layer, shape.projection, "A"), shape.a);
        expected.insert(tensor_name(shape.layer, shape.projection, "B"), shape.b);
    }
    if let Some(name) = file.names().into_iter().find(|name| !expected.contains_key(*name)) {
        return Err(AdapterError::UnexpectedTensor(name.to_owned()));
    }
    // Every shape is checked before the first number is copied.
    for (name, &(rows, columns)) in &expected {
        let view = file.tensor(name).map_err(|_| AdapterError::MissingTensor(name.clone()))?;
        if view.shape() != [rows, columns] {
            let (found, expected) = (view.shape().to_vec(), vec![rows, columns]);
            return Err(AdapterError::Shape { name: name.clone(), found, expected });
        }
        if !matches!(view.dtype(), Dtype::F32 | Dtype::BF16 | Dtype::F16) {
            return Err(AdapterError::Dtype {
                name: name.clone(),
                dtype: format!("{:?}", view.dtype()),
            });
        }
    }
    let mut flat = Vec::new();
    for shape in &shapes {
        flat.extend(numbers(&file, tensor_name(shape.layer, shape.projection, "A"))?);
        flat.extend(numbers(&file, tensor_name(shape.layer, shape.projection, "B"))?);
    }
    Ok(Adapter::from_flat(config, spec, &flat)?)
}

/// The numbers of one tensor, finite and of bounded norm.
fn numbers(file: &SafeTensors<'_>, name: String) -> Result<Vec<f32>, AdapterError> {
    let Ok(view) = file.tensor(&name) else { return Err(AdapterError::MissingTensor(name)) };
    let Some(data) = to_f32(view.dtype(), view.data()) else {
        return Err(AdapterError::Dtype { name, dtype: format!("{:?}", view.dtype()) });
    };
    if data.iter().any(|x| !x.is_finite()) {
        return Err(AdapterError::NotFinite(name));
    }
    let norm = data.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if norm > MAX_NORM {
        return Err(AdapterError::Norm { name, norm });
    }
    Ok(data)
}

/// Checks the raw header, whose JSON a lenient parser would silently merge.
fn check_header(bytes: &[u8]) -> Result<(), AdapterError> {
    let header = |problem: &str| AdapterError::Header(problem.into());
    let (length, rest) =
        bytes.split_first_chunk::<8>().ok_or_else(|| header("shorter than its header"))?;
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(AdapterError::TooLarge {
            what: "the safetensors header",
            bytes: length,
            max: MAX_HEADER_BYTES,
        });
    }
    let length = usize::try_from(length).map_err(|_| header("shorter than its header"))?;
    let text = rest.get(..length).ok_or_else(|| header("shorter than its header"))?;
    let names: Names =
        serde_json::from_slice(text).map_err(|e| AdapterError::Header(e.to_string()))?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = names.0.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(AdapterError::DuplicateTensor(twice.clone()));
    }
    match names.0.len() {
        count if count > MAX_TENSORS + 1 => Err(AdapterError::TooManyTensors(count)),
        _ => Ok(()),
    }
}

/// The keys of a JSON object in file order, repeated ones included.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
