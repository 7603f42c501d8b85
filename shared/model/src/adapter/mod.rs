//! Adapters on disk: PEFT folders, written deterministically and read through a strict gate.

mod gate;
mod peft;

pub use gate::AdapterError;
