//! The judge: holds self-edits against a written constitution and signs what it found.
//!
//! It asks a model that others serve, so it needs an API key and a way out; the auditor has neither and
//! takes the signed judgements in. A judgement never lets anything pass that the gate refuses.
//!
//! **Invariant:** a judge that fails on the cases of its own constitution judges nothing.
//! **Invariant:** a ruling is read from one constrained field; an answer that is anything else is none.
//! **Invariant:** what is judged is never said in a voice that the model is to obey, and stands between
//! marks that its author cannot know.
//! **Absent:** τ, weights, contexts.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod asking;
mod config;
mod constitution;
mod daemon;
mod error;
mod judge;
mod prompt;
mod ruling;
#[cfg(test)]
mod testing;
mod trial;
mod try_out;

pub use config::JudgeConfig;
pub use constitution::{Case, Constitution, ConstitutionError, Principle};
pub use daemon::run;
pub use error::JudgeError;
pub use judge::{Identity, Judge};
pub use ruling::{Ruling, read_ruling};
pub use try_out::{TriedOut, try_cases, try_texts};
