//! The handle that requests use, and the channel to the model thread.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seal_protocol::{Digest, ErrorBody, JobStatus};
use serde_json::Value;
use tokio::sync::oneshot;

use super::model_thread::ModelThread;
use super::{JobError, JobStore, Progress};

/// Submits jobs and asks for them. Clones talk to the same model thread.
#[derive(Clone)]
pub struct JobRunner {
    pub(super) shared: Arc<Shared>,
    to_thread: Sender<Message>,
}

pub(super) struct Shared {
    store: Mutex<JobStore>,
    running: Mutex<Option<(Digest, Progress)>>,
}

pub(super) enum Message {
    /// A job was queued.
    Wake,
    /// Answer this now, before any queued job.
    Call(Call),
}

pub(super) struct Call {
    pub(super) kind: String,
    pub(super) body: Vec<u8>,
    pub(super) reply: oneshot::Sender<Result<Value, ErrorBody>>,
}

/// A runner and the loop that serves it; the loop belongs on a thread of its own.
pub fn runner(store: JobStore) -> (JobRunner, ModelThread) {
    let (to_thread, messages) = channel();
    let shared = Arc::new(Shared { store: Mutex::new(store), running: Mutex::new(None) });
    let runner = JobRunner { shared: shared.clone(), to_thread };
    (runner, ModelThread::new(shared, messages))
}

impl JobRunner {
    /// Queues work; returns at once with the job's id.
    ///
    /// # Errors
    /// The job table cannot be written.
    pub fn submit(&self, kind: &str, body: &[u8]) -> Result<Digest, JobError> {
        let id = self.shared.store().submit(kind, body)?;
        // A closed channel means that the daemon is going down; the job waits in the table.
        let _ = self.to_thread.send(Message::Wake);
        Ok(id)
    }

    /// The state of a job; `None` if it was never submitted here.
    ///
    /// # Errors
    /// The job table cannot be read.
    pub fn status(&self, id: &Digest) -> Result<Option<JobStatus>, JobError> {
        let status = self.shared.store().status(id)?;
        Ok(status.map(|status| self.shared.with_progress(id, status)))
    }

    /// Does short work on the model thread between two jobs and waits for it. Nothing is stored.
    ///
    /// # Errors
    /// The worker's own refusal; `worker_panicked`; `shutting_down`.
    pub async fn call(&self, kind: &str, body: Vec<u8>) -> Result<Value, ErrorBody> {
        let (reply, answer) = oneshot::channel();
        let call = Call { kind: kind.to_owned(), body, reply };
        self.to_thread.send(Message::Call(call)).map_err(|_| shutting_down())?;
        answer.await.map_err(|_| shutting_down())?
    }
}

impl Shared {
    pub(super) fn store(&self) -> MutexGuard<'_, JobStore> {
        // No invariant of the store spans two statements, so a poisoned lock hides nothing.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_running(&self, job: Option<(Digest, Progress)>) {
        *self.running() = job;
    }

    fn running(&self) -> MutexGuard<'_, Option<(Digest, Progress)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_progress(&self, id: &Digest, status: JobStatus) -> JobStatus {
        match (&status, &*self.running()) {
            (JobStatus::Running { .. }, Some((running, progress))) if running == id => {
                let (done, total) = progress.get();
                JobStatus::Running { done, total }
            }
            _ => status,
        }
    }
}

pub(super) type Messages = Receiver<Message>;

fn shutting_down() -> ErrorBody {
    ErrorBody {
        code: "shutting_down".to_owned(),
        message: "This daemon is going down; ask again when it is back.".to_owned(),
    }
}
