//! The student: turns self-edits into adapters on local weights, and serves what was allowed.
//!
//! Inner updates train many candidates side by side and put them up for audit; a consolidation does
//! so for all accepted edits together; promotion and rollback change what answers questions.
//!
//! **Invariant:** no adapter serves without a promotion verdict that covers its bytes as they are.
//! **Invariant:** the same request leads to the same digests, after a crash too.
//! **Absent:** τ, retention items, rules, API keys, and any outgoing connection.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answers;
mod config;
mod consolidate;
mod daemon;
mod error;
mod extend;
mod groups;
mod history;
mod http;
mod inner_update;
mod joint_update;
mod memory;
mod one_candidate;
mod promotion;
mod seeds;
mod serving;
mod signed_files;
mod state;
mod student;
mod training;
mod worker;

pub use config::{ServingConfig, StudentConfig};
pub use daemon::run;
pub use error::StudentError;
pub use memory::works;
pub use serving::{BASE, Serving, ServingError};
pub use state::StateError;
pub use student::{Identity, Report, Student};
