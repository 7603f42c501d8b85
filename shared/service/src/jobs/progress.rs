//! How far the running job is. Kept in memory: a fsync per training step would cost more than it tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Done and total units of the job at work. Clones share the same counters.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Sets both counters; units are the job's own.
    pub fn set(&self, done: u64, total: u64) {
        self.0.total.store(total, Ordering::Relaxed);
        self.0.done.store(done, Ordering::Relaxed);
    }

    /// Done and total.
    pub fn get(&self) -> (u64, u64) {
        let done = self.0.done.load(Ordering::Relaxed);
        (done, self.0.total.load(Ordering::Relaxed))
    }
}
