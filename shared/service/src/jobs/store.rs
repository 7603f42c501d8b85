//! The job table.

use rusqlite::{Connection, OptionalExtension, Row, params};
use seal_protocol::{Digest, ErrorBody, JobStatus};
use serde_json::Value;

use super::JobError;
use crate::hash::Hasher;

/// `number` is the order of work: SQLite gives each new row a higher one.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS jobs (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    kind    TEXT NOT NULL,
    body    BLOB NOT NULL,
    state   TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    outcome TEXT CHECK ((outcome IS NULL) = (state IN ('queued', 'running')))
) STRICT";

/// Jobs and their results.
pub struct JobStore(Connection);

/// The next piece of work.
pub(super) struct QueuedJob {
    pub(super) id: Digest,
    pub(super) kind: String,
    pub(super) body: Vec<u8>,
}

/// The id of the job that `kind` and `body` make.
pub fn job_id(kind: &str, body: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    // The length keeps kind and body apart.
    hasher.update(&(kind.len() as u64).to_le_bytes());
    hasher.update(kind.as_bytes());
    hasher.update(body);
    hasher.finish()
}

impl JobStore {
    /// Takes over a connection from [`crate::store::open_sqlite`]; jobs that ran when the last
    /// process ended are queued again.
    ///
    /// # Errors
    /// Any refusal of the database.
    pub fn new(connection: Connection) -> Result<Self, JobError> {
        connection.execute_batch(TABLE)?;
        connection.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'", [])?;
        Ok(Self(connection))
    }

    /// Adds a job, or queues a failed one again; any other known job stays as it is.
    pub(super) fn submit(&self, kind: &str, body: &[u8]) -> Result<Digest, JobError> {
        let id = job_id(kind, body);
        self.0.execute(
            "INSERT INTO jobs (id, kind, body, state) VALUES (?1, ?2, ?3, 'queued')
             ON CONFLICT (id) DO UPDATE SET state = 'queued', outcome = NULL
             WHERE state = 'failed'",
            params![id.to_string(), kind, body],
        )?;
        Ok(id)
    }

    /// Marks the oldest queued job as running and hands it out.
    pub(super) fn take_next(&self) -> Result<Option<QueuedJob>, JobError> {
        // A commit of its own: one that follows the returned row by itself may fail unheard.
        let transaction = self.0.unchecked_transaction()?;
        let job = transaction.query_row(
            "UPDATE jobs SET state = 'running'
             WHERE number = (SELECT min(number) FROM jobs WHERE state = 'queued')
             RETURNING id, kind, body",
            [],
            queued,
        );
        let job = job.optional()?;
        transaction.commit()?;
        Ok(job)
    }

    /// Keeps the outcome of a running job.
    pub(super) fn finish(
        &self,
        id: &Digest,
        outcome: &Result<Value, ErrorBody>,
    ) -> Result<(), JobError> {
        let (state, text) = match outcome {
            Ok(result) => ("done", result.to_string()),
            Err(error) => ("failed", in_json(error)?),
        };
        self.0.execute(
            "UPDATE jobs SET state = ?2, outcome = ?3 WHERE id = ?1",
            params![id.to_string(), state, text],
        )?;
        Ok(())
    }

    /// The state of a job, without its progress.
    pub(super) fn status(&self, id: &Digest) -> Result<Option<JobStatus>, JobError> {
        let query = "SELECT state, outcome FROM jobs WHERE id = ?1";
        let status = self.0.query_row(query, [id.to_string()], status);
        Ok(status.optional()?)
    }
}

fn in_json(error: &ErrorBody) -> Result<String, JobError> {
    serde_json::to_string(error)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()).into())
}

fn queued(row: &Row<'_>) -> rusqlite::Result<QueuedJob> {
    Ok(QueuedJob { id: digest(row, 0)?, kind: row.get(1)?, body: row.get(2)? })
}

fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| unreadable(column, error))
}

fn status(row: &Row<'_>) -> rusqlite::Result<JobStatus> {
    let state: String = row.get(0)?;
    let outcome: Option<String> = row.get(1)?;
    let outcome = outcome.as_deref().unwrap_or("null");
    Ok(match state.as_str() {
        "queued" => JobStatus::Queued,
        "running" => JobStatus::Running { done: 0, total: 0 },
        "done" => JobStatus::Done { result: parsed(outcome)? },
        _ => JobStatus::Failed { error: parsed(outcome)? },
    })
}

fn parsed<T: serde::de::DeserializeOwned>(outcome: &str) -> rusqlite::Result<T> {
    serde_json::from_str(outcome).map_err(|error| unreadable(1, error))
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    let text = rusqlite::types::Type::Text;
    rusqlite::Error::FromSqlConversionFailure(column, text, Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn store() -> JobStore {
        JobStore::new(Connection::open_in_memory().unwrap()).unwrap()
    }

    #[test]
    fn the_same_request_is_the_same_job() {
        let store = store();
        let first = store.submit("propose", b"{}").unwrap();
        assert_eq!(store.submit("propose", b"{}").unwrap(), first);
        assert_ne!(store.submit("propos", b"e{}").unwrap(), first);
        assert_ne!(store.submit("propose", b"{ }").unwrap(), first);
        assert_eq!(store.take_next().unwrap().unwrap().id, first);
    }

    #[test]
    fn a_finished_job_keeps_its_result_when_it_is_asked_for_again() {
        let store = store();
        let id = store.submit("a", b"").unwrap();
        store.take_next().unwrap().unwrap();
        store.finish(&id, &Ok(json!({"x": 1}))).unwrap();
        assert_eq!(store.submit("a", b"").unwrap(), id);
        let done = JobStatus::Done { result: json!({"x": 1}) };
        assert_eq!(store.status(&id).unwrap(), Some(done));
        assert!(store.take_next().unwrap().is_none());
    }

    #[test]
    fn a_failed_job_can_be_asked_for_again() {
        let store = store();
        let id = store.submit("a", b"").unwrap();
        store.take_next().unwrap().unwrap();
        let error = ErrorBody { code: "no".to_owned(), message: "No.".to_owned() };
        store.finish(&id, &Err(error.clone())).unwrap();
        assert_eq!(store.status(&id).unwrap(), Some(JobStatus::Failed { error }));
        store.submit("a", b"").unwrap();
        assert_eq!(store.status(&id).unwrap(), Some(JobStatus::Queued));
    }

    #[test]
    fn a_job_that_could_not_be_marked_as_running_is_not_handed_out() {
        let store = store();
        let id = store.submit("a", b"").unwrap();
        // Fails at the commit, as a disk would.
        let stop = "PRAGMA foreign_keys = ON;
            CREATE TABLE one (id INTEGER PRIMARY KEY);
            CREATE TABLE other (id INTEGER REFERENCES one DEFERRABLE INITIALLY DEFERRED);
            CREATE TRIGGER stop AFTER UPDATE ON jobs BEGIN INSERT INTO other VALUES (1); END";
        store.0.execute_batch(stop).unwrap();
        assert!(store.take_next().is_err());
        assert_eq!(store.status(&id).unwrap(), Some(JobStatus::Queued));
        store.0.execute_batch("DROP TRIGGER stop").unwrap();
        assert_eq!(store.take_next().unwrap().unwrap().id, id);
    }

    #[test]
    fn jobs_are_done_in_the_order_they_came() {
        let store = store();
        let ids = ["c", "a", "b"].map(|kind| store.submit(kind, b"").unwrap());
        let taken = ids.map(|_| store.take_next().unwrap().unwrap().id);
        assert_eq!(taken, ids);
    }

    #[test]
    fn an_unknown_job_has_no_status() {
        assert_eq!(store().status(&job_id("a", b"")).unwrap(), None);
    }
}
