//! The auditor: it alone holds τ, the suites, the rules and the signing key; it measures, decides
//! and signs.
//!
//! **Invariant:** it trusts no number another process reports. It hashes and evaluates the adapter
//! bytes itself.
//! **Invariant:** what leaves it per attempt is accept or not.
//! **Absent:** every outgoing connection.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod gate;
pub mod graders;
pub mod items;
pub mod rules;
pub mod selection;
pub mod statistics;
pub mod vault;

#[cfg(test)]
mod reference_data;
