//! What the student remembers in `state.sqlite`.
//!
//! **Invariant:** a change of what serves and the use of the verdict behind it are one transaction:
//! there is no promotion without its verdict marked used, and the reverse.
//! **Absent:** decisions; rows come in checked.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use seal_protocol::{AdapterFile, Digest};
use seal_service::store::{SqliteError, open_sqlite};
use seal_trust::SeenVerdicts;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A database that does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] SqliteError),
    /// A statement failed.
    #[error("the student's state.sqlite failed: {0}; check free space and the file's permissions")]
    Sql(#[from] rusqlite::Error),
    /// A row that this program would not have written.
    #[error(
        "the student's state.sqlite holds a row that does not read: {0}; restore it from a copy"
    )]
    Row(String),
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS trained (
    key TEXT PRIMARY KEY,
    files TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS seen_verdicts (
    consumer TEXT PRIMARY KEY,
    seen TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS serving_changes (
    number INTEGER PRIMARY KEY,
    envelope BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS versions (
    version TEXT PRIMARY KEY,
    files TEXT NOT NULL,
    verdict BLOB NOT NULL
) STRICT;
";

/// The student's database. One connection behind a lock: its transactions are short.
#[derive(Debug)]
pub(crate) struct State(Mutex<Connection>);

/// A promoted version at rest.
pub(crate) struct VersionRow<'a> {
    pub(crate) version: &'a str,
    pub(crate) files: &'a [AdapterFile],
    /// The verdict's envelope in its file form.
    pub(crate) verdict: &'a [u8],
}

impl State {
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let connection = open_sqlite(path)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(Mutex::new(connection)))
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic under the lock rolled its transaction back, so the connection is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files of an adapter that was trained under this key.
    pub(crate) fn trained(&self, key: &Digest) -> Result<Option<Vec<AdapterFile>>, StateError> {
        let query = "SELECT files FROM trained WHERE key = ?1";
        let files: Option<String> =
            self.connection().query_row(query, [key.to_string()], |row| row.get(0)).optional()?;
        files.map(|files| parse(&files)).transpose()
    }

    /// Remembers adapters that are durably stored.
    pub(crate) fn remember_trained(
        &self,
        adapters: &[(Digest, Vec<AdapterFile>)],
    ) -> Result<(), StateError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        for (key, files) in adapters {
            transaction.execute(
                "INSERT OR REPLACE INTO trained (key, files) VALUES (?1, ?2)",
                params![key.to_string(), text(files)?],
            )?;
        }
        Ok(transaction.commit()?)
    }

    /// The verdicts that `consumer` has used.
    pub(crate) fn seen(&self, consumer: &str) -> Result<SeenVerdicts, StateError> {
        let query = "SELECT seen FROM seen_verdicts WHERE consumer = ?1";
        let seen: Option<String> =
            self.connection().query_row(query, [consumer], |row| row.get(0)).optional()?;
        seen.map_or_else(|| Ok(SeenVerdicts::default()), |seen| parse(&seen))
    }

    /// Replaces what `consumer` has used.
    pub(crate) fn keep_seen(&self, consumer: &str, seen: &SeenVerdicts) -> Result<(), StateError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        write_seen(&transaction, consumer, seen)?;
        Ok(transaction.commit()?)
    }

    /// Records a promotion: version, change and used verdict in one transaction.
    pub(crate) fn promote(
        &self,
        number: u64,
        change: &[u8],
        version: &VersionRow<'_>,
        seen: &SeenVerdicts,
    ) -> Result<(), StateError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        write_seen(&transaction, PROMOTION, seen)?;
        transaction.execute(
            "INSERT INTO versions (version, files, verdict) VALUES (?1, ?2, ?3)",
            params![version.version, text(version.files)?, version.verdict],
        )?;
        insert_change(&transaction, number, change)?;
        Ok(transaction.commit()?)
    }

    /// Records a change that no verdict stands behind.
    pub(crate) fn roll_back(&self, number: u64, change: &[u8]) -> Result<(), StateError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        insert_change(&transaction, number, change)?;
        Ok(transaction.commit()?)
    }

    /// The envelopes of all changes in their file form, oldest first.
    pub(crate) fn changes(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let connection = self.connection();
        let mut query =
            connection.prepare("SELECT envelope FROM serving_changes ORDER BY number")?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The files of a promoted version.
    pub(crate) fn version_files(&self, version: &str) -> Result<Vec<AdapterFile>, StateError> {
        let query = "SELECT files FROM versions WHERE version = ?1";
        let files: String = self.connection().query_row(query, [version], |row| row.get(0))?;
        parse(&files)
    }

    /// Every version with its verdict's envelope in file form.
    pub(crate) fn version_verdicts(&self) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let connection = self.connection();
        let mut query = connection.prepare("SELECT version, verdict FROM versions")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Consumer name of promotions.
pub(crate) const PROMOTION: &str = "promotion";

fn write_seen(
    transaction: &Transaction<'_>,
    consumer: &str,
    seen: &SeenVerdicts,
) -> Result<(), StateError> {
    transaction.execute(
        "INSERT OR REPLACE INTO seen_verdicts (consumer, seen) VALUES (?1, ?2)",
        params![consumer, text(seen)?],
    )?;
    Ok(())
}

fn insert_change(
    transaction: &Transaction<'_>,
    number: u64,
    change: &[u8],
) -> Result<(), StateError> {
    let number = i64::try_from(number).map_err(|_| StateError::Row("number".into()))?;
    transaction.execute(
        "INSERT INTO serving_changes (number, envelope) VALUES (?1, ?2)",
        params![number, change],
    )?;
    Ok(())
}

fn text<T: Serialize + ?Sized>(value: &T) -> Result<String, StateError> {
    serde_json::to_string(value).map_err(|error| StateError::Row(error.to_string()))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, StateError> {
    serde_json::from_str(text).map_err(|error| StateError::Row(error.to_string()))
}
