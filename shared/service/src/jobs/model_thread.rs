//! The one thread that owns the worker: calls first, then queued jobs, then sleep.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use seal_protocol::{Digest, ErrorBody};
use serde_json::Value;

use super::runner::{Call, Message, Messages, Shared};
use super::{JobError, Progress, Worker};

/// The loop of the model thread.
pub struct ModelThread {
    shared: Arc<Shared>,
    messages: Messages,
}

impl ModelThread {
    pub(super) fn new(shared: Arc<Shared>, messages: Messages) -> Self {
        Self { shared, messages }
    }

    /// Works until every [`super::JobRunner`] is gone.
    ///
    /// # Errors
    /// The job table cannot be read or written; the job at work is then queued again at the next
    /// start.
    pub fn run(self, worker: &mut dyn Worker) -> Result<(), JobError> {
        loop {
            self.answer_calls(worker);
            if self.do_next_job(worker)? {
                continue;
            }
            match self.messages.recv() {
                Ok(Message::Wake) => {}
                Ok(Message::Call(call)) => answer(worker, call),
                Err(_) => return Ok(()),
            }
        }
    }

    fn answer_calls(&self, worker: &mut dyn Worker) {
        while let Ok(message) = self.messages.try_recv() {
            if let Message::Call(call) = message {
                answer(worker, call);
            }
        }
    }

    fn do_next_job(&self, worker: &mut dyn Worker) -> Result<bool, JobError> {
        let Some(job) = self.shared.store().take_next()? else {
            return Ok(false);
        };
        let progress = Progress::default();
        self.shared.set_running(Some((job.id, progress.clone())));
        let outcome = guarded(worker, &job.kind, &job.body, &progress);
        log_outcome(&job.id, &job.kind, &outcome);
        self.shared.store().finish(&job.id, &outcome)?;
        self.shared.set_running(None);
        Ok(true)
    }
}

fn answer(worker: &mut dyn Worker, call: Call) {
    let outcome = guarded(worker, &call.kind, &call.body, &Progress::default());
    // The peer may have stopped waiting; the work had no other reader.
    let _ = call.reply.send(outcome);
}

fn guarded(
    worker: &mut dyn Worker,
    kind: &str,
    body: &[u8],
    progress: &Progress,
) -> Result<Value, ErrorBody> {
    // Workers commit their state in transactions of their own, so what a panic leaves is whole.
    let outcome = catch_unwind(AssertUnwindSafe(|| worker.run(kind, body, progress)));
    outcome.unwrap_or_else(|_| Err(panicked(kind)))
}

fn panicked(kind: &str) -> ErrorBody {
    ErrorBody {
        code: "worker_panicked".to_owned(),
        message: format!("A defect of this daemon stopped the work `{kind}`; its log tells where."),
    }
}

fn log_outcome(id: &Digest, kind: &str, outcome: &Result<Value, ErrorBody>) {
    match outcome {
        Ok(_) => tracing::info!(job.id = %id, job.kind = kind, "job done"),
        Err(error) => {
            tracing::warn!(job.id = %id, job.kind = kind, error.code = error.code, "job failed");
        }
    }
}
