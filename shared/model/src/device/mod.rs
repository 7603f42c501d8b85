//! The second engine: the same decoder from tensor operations that run on any device.
//!
//! The engine of [`crate::ops`] is exact and lives on the CPU. This one is made for GPUs: all
//! candidates in one rectangle of rows, few large products, nothing read back but what is asked
//! for. The frozen weights may be bf16; residual stream, norms, attention, adapters and everything
//! that is summed stay f32.
//!
//! **Invariant:** a candidate's result depends on the others of its batch by rounding alone.
//! **Absent:** bit-equality, between batches or with the exact engine. Gradients: `seal-training`.

mod attention;
mod cache;
mod choice;
#[cfg(feature = "cuda")]
mod cuda;
mod forward;
mod hardware;
mod head;
pub mod kernels;
mod linear;
mod lora;
mod packed;
mod plan;
mod rotation;
mod score;

pub use attention::{Mask, attend, join_heads, pieces, probabilities, split_heads};
pub(crate) use cache::{Cache, read_next, read_prompts};
pub use choice::{DeviceChoice, Opened};
pub use forward::{Attend, Fresh, LayerTrace, Masks, Pass};
pub use hardware::{free_bytes, hardware};
pub(crate) use head::LogSums;
pub(crate) use head::{Choice, choices};
pub use head::{chunk_rows, judge};
pub use linear::{Activation, by_group, project};
pub use lora::{LoraStack, StackedFactors};
pub use packed::{Bucket, Packed};
pub use plan::Plan;
pub use rotation::{Rotation, Turned};
pub(crate) use score::score;
