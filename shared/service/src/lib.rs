//! What every daemon shares: start-up, confinement, transport, jobs, store helpers, clock.
//!
//! **Invariant:** a daemon is confined before its first thread exists, and serves nobody before it
//! has shown on itself that the confinement holds.
//! **Invariant:** what a peer sends can make a request fail, never the process.
//! **Absent:** keys, signatures, models, and any knowledge of what a job does.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod allocator;
pub mod clock;
pub mod config;
pub mod confine;
pub mod daemon;
pub mod endpoint;
mod hash;
pub mod http;
pub mod jobs;
pub mod listener;
pub mod store;
pub mod tls;
