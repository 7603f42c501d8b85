//! Why a model folder, an input or a computation was refused.

use crate::fit::Misfit;
use crate::folder::Refusal;
use std::io;
use std::path::PathBuf;

/// Every error names the file or the value at fault and, where there is one, the mend.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file of the model folder could not be read or written.
    #[error("cannot access `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// `config.json` is not what a Hugging Face decoder folder has.
    #[error("`{}`: {problem}", path.display())]
    Config {
        /// The config file.
        path: PathBuf,
        /// What is wrong, with the field's name.
        problem: String,
    },
    /// The folder is sound, but of a kind this engine does not compute.
    #[error("`{}`: `{field}` = {value} is not supported; supported are Llama, Mistral, Qwen2 and Qwen3 decoders with silu, rotary embedding over whole heads of type default, linear, llama3 or yarn, full or sliding attention without dropout, unquantised weights and no code of their own", path.display())]
    Unsupported {
        /// The config file.
        path: PathBuf,
        /// The field that asks for the unsupported feature.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// The folder or one of its files is not read; nothing of it has been used.
    #[error("`{}`: {reason}", path.display())]
    Refused {
        /// The file, or the folder.
        path: PathBuf,
        /// Why, with the mend.
        reason: Refusal,
    },
    /// A GGUF file that is not read; nothing of it has been used.
    #[cfg(feature = "gguf")]
    #[error("`{}` {reason}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// Why, with the mend.
        reason: crate::gguf::GgufError,
    },
    /// Weights that do not fit the config.
    #[error("`{}`: {problem}", path.display())]
    Weights {
        /// The folder.
        path: PathBuf,
        /// What is wrong, with the tensor's name.
        problem: String,
    },
    /// The tokenizer file is damaged, or refused a text.
    #[error("tokenizer `{}`: {problem}", path.display())]
    Tokenizer {
        /// The tokenizer file.
        path: PathBuf,
        /// What the tokenizer said.
        problem: String,
    },
    /// The model and the work on it take more memory than there is.
    #[error("{0}")]
    DoesNotFit(Box<Misfit>),
    /// A token id that the embedding does not have.
    #[error("token {token} is outside the vocabulary of {vocab_size}")]
    Token {
        /// The offending id.
        token: u32,
        /// Number of embeddings.
        vocab_size: usize,
    },
    /// A sequence longer than the model's positions.
    #[error("a sequence of {tokens} tokens exceeds the model's {max} positions; shorten it")]
    TooLong {
        /// Tokens asked for.
        tokens: usize,
        /// `max_position_embeddings`.
        max: usize,
    },
    /// The caller's request makes no sense (an empty prompt, an unknown adapter index, …).
    #[error("{0}")]
    Input(String),
    /// The model produced NaN or infinity.
    #[error("the model's output for {what} is not finite; its weights or adapter are damaged")]
    NotFinite {
        /// Which item or prompt.
        what: String,
    },
    /// The moment came at which the caller wanted it to stop.
    #[error("the time for this computation is over")]
    OutOfTime,
    /// A GPU that was asked for cannot be used.
    #[error(
        "cannot use CUDA device {index}: {reason}; install NVIDIA's driver 580 or newer and a program built with the feature `cuda`, or set `device = \"cpu\"`"
    )]
    Cuda {
        /// Its number.
        index: usize,
        /// What the driver said.
        reason: String,
    },
    /// The tensor library refused an operation.
    #[error("tensor operation")]
    Tensor(#[from] candle_core::Error),
}

/// The result of everything in this crate but adapters on disk.
pub type Result<T, E = ModelError> = std::result::Result<T, E>;
