//! Supervised fine-tuning: many adapters at once over a frozen base, or every weight.
//!
//! **Invariant:** on the CPU the same inputs give the same bytes, alone or in a batch, on any number
//! of threads, in one go or resumed; on other devices the same up to rounding. Absent: where sequences come from, and what a trained adapter is
//! worth.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adamw;
pub mod backward;
mod batch;
pub mod device;
mod error;
mod fine_tune;
mod inner_update;
mod optimizer;
mod options;
mod recipe;
mod saved;
mod schedule;
mod sequence;
mod watchdog;

pub use adamw::AdamW;
pub use batch::{TrainBatch, part_norms};
pub use error::{Result, TrainError};
pub use fine_tune::{FineTune, fine_tune, fine_tune_with};
pub use inner_update::{InnerJob, Outcome, Trained, inner_updates, inner_updates_with};
pub use optimizer::OptimRecipe;
pub use options::{Saves, TrainOptions};
pub use recipe::InnerRecipe;
pub use saved::SaveError;
pub use schedule::{Schedule, factor};
pub use sequence::{End, TrainSequence};
pub use watchdog::{Diverged, Divergence};
