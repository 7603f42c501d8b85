//! Decoders, LoRA adapters, tokenizer, scoring and generation: the numbers of SEAL.
//!
//! **Invariant:** on the CPU in f32 a result depends on its inputs alone: not on the batch it is
//! computed in, the number of threads, or the width of the vector unit.
//! Absent: training (`seal-training`), and everything that knows why a model is run.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod adapter;
pub mod batch;
pub mod chat;
pub mod decoder;
pub mod device;
mod digest;
mod error;
pub mod fit;
pub mod folder;
mod generate;
#[cfg(feature = "gguf")]
pub mod gguf;
#[cfg(feature = "grammar")]
pub mod grammar;
mod log_probs;
pub mod lora;
mod memory;
pub mod ops;
mod past;
mod score;
mod sharing;
mod stack;
mod tokenizer;

pub use adapter::{AdapterError, BaseModel};
pub use decoder::{Decoder, DecoderConfig, Family, SlidingWindow};
pub use device::DeviceChoice;
pub use digest::folder_digest;
pub use error::{ModelError, Result};
pub use folder::{GenerationConfig, ModelFolder};
pub use generate::{
    Event, Finish, Generated, Generator, Limits, Prompt, Request, SamplingConfig, Statistics,
    Ticket, TokenConstraint, TokenMask, generate,
};
pub use log_probs::{TokenLogProb, perplexity};
pub use lora::{Adapter, LoraInit, LoraSpec, Projection};
pub use ops::lanes::instruction_set;
pub use ops::linear::Products;
pub use ops::rope::RopeScaling;
pub use past::PrefixCache;
pub use score::{ItemScore, ScoreItem, Scorer, score, shard_tokens};
pub use sharing::forward_tokens;
pub use tokenizer::Tokenizer;
