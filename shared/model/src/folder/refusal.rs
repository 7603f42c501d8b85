//! Why a model folder is refused, each reason by its own name and with its mend.

use super::header::HeaderError;

/// Why a folder or file is not read. Nothing of it has been used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The path is no folder.
    #[error(
        "is no folder; name a local model folder, or fetch one with `seal model fetch ORG/NAME`"
    )]
    NoFolder,
    /// No `config.json`.
    #[error("is no model folder: it has no `config.json`")]
    NoConfig,
    /// The folder holds an adapter.
    #[error(
        "is an adapter, not a model: it has an `adapter_config.json`; name the folder of its base"
    )]
    IsAdapter,
    /// Weights that would run code when they are loaded.
    #[error(
        "is a pickle, which can run code when it is loaded, and is never read; take the model's \
         safetensors, or convert it on a machine you can lose"
    )]
    Pickle,
    /// A format of llama.cpp.
    #[error(
        "is GGUF, which only a teacher's `policy` may be; take the safetensors it was made from"
    )]
    Gguf,
    /// Mistral's own layout.
    #[error(
        "names its tensors in Mistral's own way; take the `model.safetensors` files of the same \
         repository"
    )]
    Consolidated,
    /// The config asks to run Python from the folder.
    #[error(
        "asks for remote code (`auto_map` names `{0}`), and no code of a model folder is ever run; \
         take a model that transformers knows without it"
    )]
    RemoteCode(String),
    /// Weights of a few bits.
    #[error(
        "is quantised (`quantization_config.quant_method` = {0}), which cannot be trained here; \
         take the unquantised model"
    )]
    Quantised(String),
    /// A tensor of a few bits or of integers.
    #[error(
        "tensor `{name}` has dtype {dtype}, not F32, F16 or BF16: quantised weights cannot be \
         trained here; take the unquantised model"
    )]
    QuantisedTensor {
        /// The tensor.
        name: String,
        /// Its dtype.
        dtype: String,
    },
    /// A tensor of a dtype no decoder is computed in.
    #[error(
        "tensor `{name}` has dtype {dtype}, not F32, F16 or BF16; convert the model to one of these"
    )]
    Dtype {
        /// The tensor.
        name: String,
        /// Its dtype.
        dtype: String,
    },
    /// What git leaves behind without its large-file support.
    #[error(
        "is a Git LFS pointer, not the file itself; run `git lfs pull` in the folder, or fetch the \
         model with `seal model fetch ORG/NAME`"
    )]
    LfsPointer,
    /// A pipe, a device, a folder.
    #[error("is no regular file")]
    NoRegularFile,
    /// No weights at all.
    #[error("has no weights: neither `model.safetensors` nor `model.safetensors.index.json`")]
    NoWeights,
    /// Shards without the list of them.
    #[error("has the shard `{0}` but no `model.safetensors.index.json`; fetch that file too")]
    NoIndex(String),
    /// The list of shards does not read.
    #[error("the index does not read: {0}")]
    Index(String),
    /// A shard whose name leads elsewhere.
    #[error("names the shard `{0}`, which is no plain `.safetensors` file name")]
    ShardName(String),
    /// A file that the index names is not there.
    #[error(
        "names the shard `{shard}`, which is missing ({missing} of {of} are); fetch the model again"
    )]
    MissingShard {
        /// The first one.
        shard: String,
        /// How many.
        missing: usize,
        /// Shards in all.
        of: usize,
    },
    /// The index puts a tensor where it is not.
    #[error("puts tensor `{tensor}` into `{shard}`, which does not have it")]
    NotInShard {
        /// The tensor.
        tensor: String,
        /// Where it should be.
        shard: String,
    },
    /// A shard has a tensor that the index does not put there.
    #[error("holds tensor `{0}`, which the index does not put there")]
    NotInIndex(String),
    /// Two shards hold the same tensor.
    #[error("holds tensor `{tensor}`, which `{other}` holds too")]
    InTwoShards {
        /// The tensor.
        tensor: String,
        /// The other shard.
        other: String,
    },
    /// A tensor that the config asks for is in no file.
    #[error("lacks tensor `{0}`, which its config asks for")]
    MissingTensor(String),
    /// A tensor of another shape than the config asks for.
    #[error("tensor `{name}` is {found:?}, its config asks for {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it must have.
        expected: Vec<usize>,
    },
    /// NaN or infinity among the weights.
    #[error("tensor `{0}` holds a number that is not finite; the file is damaged")]
    NotFinite(String),
    /// A damaged or hostile safetensors header.
    #[error(transparent)]
    Header(#[from] HeaderError),
}
