//! Why a GGUF file is refused, each reason by its own name and with its mend.

/// Why a GGUF file is not read. Nothing of it has been used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// The path leads to no file.
    #[error("is no file; name one `.gguf` file")]
    NoFile,
    /// A pipe, a device, a folder.
    #[error("is no regular file")]
    NoRegularFile,
    /// What git leaves behind without its large-file support.
    #[error("is a Git LFS pointer, not the file itself; run `git lfs pull` beside it")]
    LfsPointer,
    /// Another format under the name.
    #[error("does not begin as GGUF does; take a `.gguf` file as llama.cpp writes it")]
    Magic,
    /// Numbers in the other byte order.
    #[error("is a big-endian GGUF; take the little-endian one")]
    BigEndian,
    /// A layout that is not read.
    #[error("is GGUF version {0}; versions 2 and 3 are read: convert the model again")]
    Version(u32),
    /// The file ends inside its header.
    #[error("ends inside its header, at {at}; fetch the file again")]
    Truncated {
        /// What was being read.
        at: String,
    },
    /// A header that no real file has.
    #[error("has a header of more than {max} bytes; this is no sound GGUF file")]
    TooLong {
        /// The limit.
        max: u64,
    },
    /// A count that no real file has.
    #[error("claims {found} {what}, the most is {max}; this is no sound GGUF file")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// What the file says.
        found: u64,
        /// The limit.
        max: u64,
    },
    /// A key or tensor name that no converter writes.
    #[error("names {what} `{name}`: letters, digits and `._-` are, up to {max} of them")]
    Name {
        /// `key` or `tensor`.
        what: &'static str,
        /// As it stands, shortened.
        name: String,
        /// Longest one, in bytes.
        max: usize,
    },
    /// One name twice.
    #[error("names {what} `{name}` twice")]
    Duplicate {
        /// `key` or `tensor`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A value that does not read.
    #[error("`{key}` {problem}")]
    Value {
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A key that the model cannot be computed without.
    #[error("lacks the key `{0}`; convert the model again with a newer converter")]
    MissingKey(String),
    /// The file asks for what the engine does not compute.
    #[error(
        "`{key}` = {value} is not supported; supported are Llama, Mistral, Qwen2 and Qwen3 decoders \
         (`llama`, `qwen2`, `qwen3`) with rotary embedding over whole heads, unscaled, linear, llama3 \
         or yarn"
    )]
    Unsupported {
        /// The key.
        key: String,
        /// Its value.
        value: String,
    },
    /// One of several parts.
    #[error(
        "is one of {0} parts; join them with llama.cpp's `llama-gguf-split --merge FIRST-PART OUT`"
    )]
    Split(u64),
    /// A tensor whose place or shape cannot be.
    #[error("tensor `{name}` {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A way to store numbers that is not read.
    #[error(
        "tensor `{name}` is stored as {kind}, which is not read; F32, F16, BF16, Q4_0, Q4_1, Q5_0, \
         Q5_1, Q8_0 and Q2_K to Q6_K are: take the same model in one of these, such as Q4_K_M or Q8_0"
    )]
    Kind {
        /// The tensor.
        name: String,
        /// The type's name, or its number.
        kind: String,
    },
    /// A tensor that the shape asks for is not there.
    #[error("lacks tensor `{0}`, which its metadata asks for")]
    MissingTensor(String),
    /// A tensor that a decoder of this kind does not have.
    #[error(
        "has tensor `{0}`, which a decoder of this architecture does not have; what it would change \
         is not computed here"
    )]
    UnknownTensor(String),
    /// The file goes on behind its tensors.
    #[error("has {0} bytes that belong to no tensor; this is no sound GGUF file")]
    Trailing(u64),
    /// NaN or infinity among the weights.
    #[error("tensor `{0}` holds a number that is not finite; the file is damaged")]
    NotFinite(String),
    /// A tokenizer that is not made from metadata.
    #[error(
        "{0}; name a folder with the model's `tokenizer.json` as `tokenizer` under [backend] of \
         teacher.toml"
    )]
    Tokenizer(String),
}
