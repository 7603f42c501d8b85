//! Adapters on disk: PEFT folders, written deterministically and read through a strict gate.

mod error;
mod gate;
mod peft;
mod settings;
mod targets;

pub use error::AdapterError;
pub use peft::BaseModel;
