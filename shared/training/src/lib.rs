//! Supervised fine-tuning: many adapters at once over a frozen base, or every weight.
//!
//! **Invariant:** the same inputs give the same bytes, alone or in a batch, on any number of
//! threads. Absent: where sequences come from, and what a trained adapter is worth.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backward;
mod batch;
mod error;
mod fine_tune;
mod inner_update;
mod optimizer;
mod schedule;

pub use batch::{TrainBatch, TrainSequence, part_norms};
pub use error::{Result, TrainError};
pub use fine_tune::{FineTune, fine_tune};
pub use inner_update::{InnerJob, InnerRecipe, Trained, inner_updates};
pub use optimizer::{AdamW, OptimRecipe};
pub use schedule::{Schedule, factor};
