//! Why an adapter was refused.

use crate::error::ModelError;
use crate::folder::Refusal;
use std::io;
use std::path::PathBuf;

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
    /// A file is of another kind, damaged or hostile.
    #[error("`{}`: {reason}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why, with the mend.
        reason: Refusal,
    },
    /// `adapter_config.json` is not valid.
    #[error("adapter_config.json: {0}")]
    Config(String),
    /// `adapter_config.json` asks for something other than plain LoRA.
    #[error(
        "adapter_config.json: `{field}` = {value} is not supported; only plain LoRA on the linear \
         projections, without bias, patterns or other layers is"
    )]
    Unsupported {
        /// The field.
        field: String,
        /// Its value.
        value: String,
    },
    /// `adapter_config.json` asks for a start that PEFT may take out of the base's own weights.
    #[error(
        "adapter_config.json: `init_lora_weights` = {0} may change the base at load; convert the \
         adapter to plain LoRA, whose value is true, false or \"gaussian\""
    )]
    Init(String),
    /// The adapter was trained over another base model.
    #[error(
        "adapter_model.safetensors belongs to the base model with digest {found}, this one has {expected}; load \
         it over its own base"
    )]
    WrongBase {
        /// What the adapter says.
        found: String,
        /// The base it should be used on.
        expected: String,
    },
    /// The adapter does not say which base it was trained over.
    #[error(
        "adapter_model.safetensors names no base model's digest (`{0}` in its metadata); only an \
         adapter that names its base is taken here"
    )]
    NoBase(&'static str),
    /// A tensor the declared targets do not have.
    #[error(
        "adapter_model.safetensors: tensor `{0}` does not belong to the declared targets of this base"
    )]
    UnexpectedTensor(String),
    /// A tensor of the declared targets is missing.
    #[error("adapter_model.safetensors: tensor `{0}` is missing")]
    MissingTensor(String),
    /// A tensor does not have the shape that base and rank require.
    #[error("adapter_model.safetensors: tensor `{name}` is {found:?}, expected {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it must have.
        expected: Vec<usize>,
    },
    /// A tensor is not F32, BF16 or F16.
    #[error("adapter_model.safetensors: tensor `{name}` has dtype {dtype}, not F32, BF16 or F16")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its dtype.
        dtype: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("adapter_model.safetensors: tensor `{0}` holds a number that is not finite")]
    NotFinite(String),
    /// A tensor is larger than any training makes it.
    #[error(
        "adapter_model.safetensors: tensor `{name}` has norm {norm:.1e}, the most is {max:.1e}"
    )]
    Norm {
        /// The tensor.
        name: String,
        /// Its Frobenius norm.
        norm: f64,
        /// The limit.
        max: f64,
    },
    /// The checked numbers could not be turned into an adapter.
    #[error("cannot build the adapter")]
    Build(#[source] ModelError),
}

impl From<ModelError> for AdapterError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::File { path, source } => Self::Read { path, source },
            ModelError::Refused { path, reason } => Self::Refused { path, reason },
            other => Self::Build(other),
        }
    }
}
