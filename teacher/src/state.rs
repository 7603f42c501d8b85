//! What the teacher remembers in `state.sqlite`: used verdicts and the policies that came of them.
//!
//! **Invariant:** a new policy and the use of its verdicts are one transaction.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use seal_protocol::Digest;
use seal_service::store::{SqliteError, open_sqlite};
use seal_trust::SeenVerdicts;

/// A database that does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] SqliteError),
    /// A statement failed.
    #[error("the teacher's state.sqlite failed: {0}; check free space and the file's permissions")]
    Sql(#[from] rusqlite::Error),
    /// A row that this program would not have written.
    #[error(
        "the teacher's state.sqlite holds a row that does not read: {0}; restore it from a copy"
    )]
    Row(String),
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS seen_verdicts (
    consumer TEXT PRIMARY KEY,
    seen TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS policy_updates (
    request TEXT PRIMARY KEY,
    policy_digest TEXT NOT NULL,
    envelope BLOB NOT NULL
) STRICT;
";

/// Who uses verdicts here.
const CONSUMER: &str = "policy-update";

/// The teacher's database; the model thread alone uses it.
#[derive(Debug)]
pub(crate) struct State(Connection);

impl State {
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let connection = open_sqlite(path)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self(connection))
    }

    /// The verdicts that policy updates have used.
    pub(crate) fn seen(&self) -> Result<SeenVerdicts, StateError> {
        let query = "SELECT seen FROM seen_verdicts WHERE consumer = ?1";
        let seen: Option<String> =
            self.0.query_row(query, [CONSUMER], |row| row.get(0)).optional()?;
        let parse = |seen: String| serde_json::from_str(&seen).map_err(|error| bad_row(&error));
        seen.map_or_else(|| Ok(SeenVerdicts::default()), parse)
    }

    /// The result of a request that was done before: policy and signed receipt in file form.
    pub(crate) fn updated(
        &self,
        request: &Digest,
    ) -> Result<Option<(Digest, Vec<u8>)>, StateError> {
        let query = "SELECT policy_digest, envelope FROM policy_updates WHERE request = ?1";
        let row: Option<(String, Vec<u8>)> = self
            .0
            .query_row(query, [request.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let parse = |(digest, envelope): (String, Vec<u8>)| {
            Ok((digest.parse().map_err(|error| bad_row(&error))?, envelope))
        };
        row.map(parse).transpose()
    }

    /// Whether a policy came out of some update.
    pub(crate) fn has_policy(&self, digest: &Digest) -> Result<bool, StateError> {
        let query = "SELECT count(*) FROM policy_updates WHERE policy_digest = ?1";
        let count: i64 = self.0.query_row(query, [digest.to_string()], |row| row.get(0))?;
        Ok(count > 0)
    }

    /// Records a policy update together with the verdicts it used.
    pub(crate) fn commit(
        &mut self,
        request: &Digest,
        policy_digest: &Digest,
        envelope: &[u8],
        seen: &SeenVerdicts,
    ) -> Result<(), StateError> {
        let seen = serde_json::to_string(seen).map_err(|error| bad_row(&error))?;
        let transaction = self.0.transaction()?;
        transaction.execute(
            "INSERT OR REPLACE INTO seen_verdicts (consumer, seen) VALUES (?1, ?2)",
            params![CONSUMER, seen],
        )?;
        transaction.execute(
            "INSERT INTO policy_updates (request, policy_digest, envelope) VALUES (?1, ?2, ?3)",
            params![request.to_string(), policy_digest.to_string(), envelope],
        )?;
        Ok(transaction.commit()?)
    }

    /// Every signed receipt in file form.
    pub(crate) fn receipts(&self) -> Result<Vec<Vec<u8>>, StateError> {
        let mut query = self.0.prepare("SELECT envelope FROM policy_updates ORDER BY rowid")?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn bad_row(error: &dyn std::fmt::Display) -> StateError {
    StateError::Row(error.to_string())
}
