//! The conductor's memory: which tasks are done and what came of them. One SQLite file.
//!
//! Losing it costs time, never correctness: every daemon answers a repeated request with its
//! stored reply.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::plan::TaskId;

/// Why the conductor's own record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or written.
    #[error("the run's progress file cannot be used; free disk space or restore it from a backup")]
    Database(#[from] rusqlite::Error),
    /// The file cannot be opened as a database of ours.
    #[error(transparent)]
    Open(#[from] seal_service::store::SqliteError),
    /// A stored result does not have the shape this version expects.
    #[error("the stored result of task `{task}` has another shape; start a fresh run folder")]
    Shape {
        /// Whose result.
        task: String,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The run folder was begun with other settings.
    #[error(
        "this run folder was begun with other settings; resume it with its own `run.toml` or start a fresh folder"
    )]
    OtherSettings,
}

/// Results by task.
pub struct Store {
    connection: Connection,
}

impl Store {
    /// Opens or creates the file and binds it to the run's settings and contexts.
    pub fn open(path: &Path, settings_json: &str) -> Result<Self, StoreError> {
        let connection = seal_service::store::open_sqlite(path)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS run (id INTEGER PRIMARY KEY CHECK (id = 1), settings TEXT NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS results (task TEXT PRIMARY KEY, result TEXT NOT NULL) STRICT;",
        )?;
        connection
            .execute("INSERT OR IGNORE INTO run (id, settings) VALUES (1, ?1)", [settings_json])?;
        let begun: String =
            connection.query_row("SELECT settings FROM run WHERE id = 1", [], |row| row.get(0))?;
        if begun == settings_json {
            Ok(Self { connection })
        } else {
            Err(StoreError::OtherSettings)
        }
    }

    /// Whether a task is done.
    pub fn is_done(&self, task: &TaskId) -> Result<bool, StoreError> {
        let mut query = self.connection.prepare_cached("SELECT 1 FROM results WHERE task = ?1")?;
        Ok(query.exists([&task.0])?)
    }

    /// The result of a task, if done.
    pub fn result<T: DeserializeOwned>(&self, task: &TaskId) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self
            .connection
            .query_row("SELECT result FROM results WHERE task = ?1", [&task.0], |row| row.get(0))
            .optional()?;
        text.map(|text| {
            serde_json::from_str(&text)
                .map_err(|source| StoreError::Shape { task: task.0.clone(), source })
        })
        .transpose()
    }

    /// Records a result; a repeated one changes nothing.
    pub fn finish<T: Serialize>(&self, task: &TaskId, result: &T) -> Result<(), StoreError> {
        let text = serde_json::to_string(result)
            .map_err(|source| StoreError::Shape { task: task.0.clone(), source })?;
        self.connection.execute(
            "INSERT OR IGNORE INTO results (task, result) VALUES (?1, ?2)",
            params![task.0, text],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_outlive_the_process_and_other_settings_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("conductor.sqlite");
        let task = TaskId("round-1/propose".into());
        let store = Store::open(&file, "{\"seed\":0}").expect("opens");
        store.finish(&task, &vec![1, 2]).expect("writes");
        store.finish(&task, &vec![9]).expect("a repetition is harmless");
        drop(store);
        let store = Store::open(&file, "{\"seed\":0}").expect("opens again");
        assert!(store.is_done(&task).expect("reads"));
        assert_eq!(store.result::<Vec<i32>>(&task).expect("reads"), Some(vec![1, 2]));
        assert!(matches!(Store::open(&file, "{\"seed\":1}"), Err(StoreError::OtherSettings)));
    }
}
