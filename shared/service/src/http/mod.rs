//! HTTP for peers: every body is bounded and typed, every failure is an [`seal_protocol::ErrorBody`].
//!
//! **Invariant:** no request can stop the process: bodies are capped, handlers have a deadline, and
//! a panic becomes a 500.

mod access;
mod body;
mod error;
mod files;
mod jobs;
mod limits;
mod rate;

pub(crate) use access::restrict;
pub use access::{Peer, callers};
pub use body::JsonBody;
pub use error::ApiError;
pub(crate) use error::chain;
pub use files::{get_file_route, put_file_route};
pub(crate) use jobs::status_route;
pub use jobs::{call_route, job_route};
pub use limits::{Limits, guard};
