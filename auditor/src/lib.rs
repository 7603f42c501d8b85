//! The auditor: it alone holds τ, the suites, the rules and the signing key; it measures, decides
//! and signs.
//!
//! **Invariant:** it trusts no number another process reports. It hashes and evaluates the adapter
//! bytes itself.
//! **Invariant:** what leaves it per attempt is accept or not.
//! **Absent:** every outgoing connection.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod annex;
pub mod audit;
pub mod config;
mod daemon;
pub mod gate;
pub mod graders;
pub mod grading;
pub mod items;
pub mod judge;
pub mod ledger;
mod ledger_http;
mod level;
pub mod measure;
pub mod model;
pub mod offline;
pub mod policy;
pub mod recompute;
mod rotation;
pub mod rules;
pub mod selection;
mod start;
pub mod statistics;
pub mod summary;
pub mod vault;
pub mod voting;

#[cfg(test)]
mod reference_data;
#[cfg(test)]
mod testing;

pub use config::AuditorConfig as Config;
pub use daemon::run;
