//! Work that outlives its request: jobs, kept in SQLite, done one at a time on the model thread.
//!
//! A job's id is the digest of its kind and body, so a repeated request is the same job and its
//! answer is the stored one. A job that ran when the process died is queued again.
//!
//! **Invariant:** a worker that panics makes a failed job, never a dead daemon.
//! **Invariant:** a result is on disk before anyone is told that the job is done.

mod model_thread;
mod progress;
mod runner;
mod store;

pub use model_thread::ModelThread;
pub use progress::Progress;
pub use runner::{JobRunner, runner};
pub use store::{JobStore, job_id};

use seal_protocol::ErrorBody;
use serde_json::Value;

/// What the model thread owns. It is built on that thread and never leaves it.
pub trait Worker {
    /// Does one piece of work. The same kind and body must lead to the same result: after a crash
    /// a job runs again.
    ///
    /// # Errors
    /// Why there is no result, in a form fit for the peer that asked.
    fn run(&mut self, kind: &str, body: &[u8], progress: &Progress) -> Result<Value, ErrorBody>;
}

/// The job table does not answer. The daemon stops: what it cannot record it must not do.
#[derive(Debug, thiserror::Error)]
#[error("the job table cannot be read or written; check the disk that holds the state folder")]
pub struct JobError(#[from] rusqlite::Error);

#[cfg(test)]
mod tests;
