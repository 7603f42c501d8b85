//! The last head of each ledger, and the rows that were shown to stand in it. One SQLite file.
//!
//! **Invariant:** comparing with the remembered head and replacing it are one transaction, with the
//! rows that were shown in it.
//! **Invariant:** a head goes back only by the operator's word, and that stays on record.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use seal_protocol::{
    Digest, LedgerEntry, LedgerEvent, LedgerHead, LedgerShown, ShownRow, UnixSeconds,
};
use seal_service::store::{SqliteError, open_sqlite};
use seal_trust::{Checkpoint, NoteError, SeenHead, TrustedRoot, VerifyError, merkle};

/// Name of the file in a role's state folder.
pub const HEADS_FILE: &str = "witness.sqlite";
/// Most rows of one showing.
const MAX_ROWS: usize = 4096;

/// A ledger that this role does not go by, or a memory that fails.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError {
    /// Signature, form, proof, expiry.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A ledger of another name.
    #[error(
        "a checkpoint of ledger {found:?} was shown; this role goes by {known}; see `[ledger] origins`"
    )]
    UnknownOrigin {
        /// As shown, shortened.
        found: String,
        /// As configured.
        known: String,
    },
    /// A row that is not what it should be.
    #[error("ledger row {index} was shown, but {what}")]
    Row {
        /// Its number.
        index: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// More than anybody needs at once.
    #[error("{0} rows were shown at once; show at most {MAX_ROWS}")]
    TooManyRows(usize),
    /// The verdict was not shown in the ledger.
    #[error(
        "the verdict was not shown to stand in the auditor's ledger: show the ledger first (POST /v1/ledger-heads)"
    )]
    NotShown,
    /// Nothing to acknowledge.
    #[error("this role remembers no ledger {0:?}; `seal ledger heads` lists those it does")]
    NothingKnown(String),
    /// The file.
    #[error(transparent)]
    Open(#[from] SqliteError),
    /// A statement.
    #[error("the role's witness.sqlite failed: {0}; check free space and the file's permissions")]
    Sql(#[from] rusqlite::Error),
    /// A row that this program would not have written.
    #[error(
        "the role's witness.sqlite holds a row that does not read: {0}; restore it from a copy"
    )]
    Damaged(String),
}

impl From<NoteError> for HeadsError {
    fn from(error: NoteError) -> Self {
        Self::Verify(error.into())
    }
}

impl HeadsError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Verify(error) => error.code(),
            Self::UnknownOrigin { .. } => "ledger_unknown",
            Self::Row { .. } | Self::TooManyRows(_) => "ledger_row_refused",
            Self::NotShown => "verdict_not_in_ledger",
            Self::NothingKnown(_) => "ledger_unknown",
            Self::Open(_) | Self::Sql(_) | Self::Damaged(_) => "storage_failed",
        }
    }
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS heads (
    origin TEXT PRIMARY KEY,
    size   INTEGER NOT NULL,
    root   TEXT NOT NULL,
    note   TEXT NOT NULL,
    at     INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS shown (
    verdict TEXT PRIMARY KEY,
    origin  TEXT NOT NULL,
    idx     INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS acknowledged (
    at     INTEGER NOT NULL,
    origin TEXT NOT NULL,
    size   INTEGER NOT NULL,
    root   TEXT NOT NULL,
    reason TEXT NOT NULL
) STRICT;
";

/// The memory of one role.
#[derive(Debug)]
pub struct Heads {
    file: PathBuf,
    connection: Mutex<Connection>,
}

/// What is checked when a ledger is shown.
pub struct Terms<'a> {
    /// Who may sign checkpoints and cosign them.
    pub root: &'a TrustedRoot,
    /// Ledgers that count.
    pub origins: &'a [String],
    /// The time.
    pub now: UnixSeconds,
    /// Whether this role itself will cosign what it accepts.
    pub own_witness: Option<&'a str>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Remembered from here on.
    pub checkpoint: Checkpoint,
    /// Cosignatures that the rows lack; they were recorded only if this is 0.
    pub witnesses_missing: usize,
}

impl Heads {
    /// Opens or creates the memory in a state folder.
    ///
    /// # Errors
    /// A file that does not open.
    pub fn open(state: &Path) -> Result<Self, HeadsError> {
        let file = state.join(HEADS_FILE);
        let connection = open_sqlite(&file)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { file, connection: Mutex::new(connection) })
    }

    /// Where it lies.
    pub fn file(&self) -> &Path {
        &self.file
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic under the lock rolled its transaction back, so the connection is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a ledger's new head, if it continues the remembered one, and the rows shown in it.
    ///
    /// # Errors
    /// Whatever does not hold; then nothing is remembered.
    pub fn take(&self, shown: &LedgerShown, terms: &Terms<'_>) -> Result<Taken, HeadsError> {
        let origin = known_origin(&shown.checkpoint, terms.origins)?;
        let checkpoint = terms.root.verify_checkpoint(&shown.checkpoint, origin, terms.now)?;
        let verdicts = verified_rows(&shown.rows, &checkpoint)?;
        let witnesses_missing = witnesses_missing(&shown.checkpoint, terms)?;
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(seen) = seen(&transaction, origin)? {
            seen.advanced(&checkpoint, &shown.consistency)?;
        }
        remember(&transaction, &checkpoint, &shown.checkpoint, terms.now)?;
        if witnesses_missing == 0 {
            for (verdict, index) in verdicts {
                transaction.execute(
                    "INSERT OR REPLACE INTO shown (verdict, origin, idx) VALUES (?1, ?2, ?3)",
                    params![verdict.to_string(), origin, number(index)?],
                )?;
            }
        }
        transaction.commit()?;
        Ok(Taken { checkpoint, witnesses_missing })
    }

    /// Whether a verdict, by the digest of its envelope's file, was shown to stand in a ledger.
    ///
    /// # Errors
    /// `NotShown`.
    pub fn demand_shown(&self, verdict: &Digest) -> Result<(), HeadsError> {
        let query = "SELECT count(*) FROM shown WHERE verdict = ?1";
        let count: i64 =
            self.connection().query_row(query, [verdict.to_string()], |row| row.get(0))?;
        if count > 0 { Ok(()) } else { Err(HeadsError::NotShown) }
    }

    /// Every remembered head.
    ///
    /// # Errors
    /// A row that does not read.
    pub fn known(&self) -> Result<Vec<LedgerHead>, HeadsError> {
        let connection = self.connection();
        let mut query =
            connection.prepare("SELECT origin, size, root FROM heads ORDER BY origin")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.map(|row| {
            let (origin, size, root): (String, i64, String) = row?;
            let SeenHead { size, root } = head(size, &root)?;
            Ok(LedgerHead { origin, size, root })
        })
        .collect()
    }

    /// Forgets what was seen of a ledger, by the operator's word: it was lost and restored from a
    /// copy, and the loss is known. What is shown next is taken as a first look.
    ///
    /// # Errors
    /// A ledger that this role does not remember.
    pub fn acknowledge(
        &self,
        origin: &str,
        reason: &str,
        now: UnixSeconds,
    ) -> Result<LedgerHead, HeadsError> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let Some(SeenHead { size, root }) = seen(&transaction, origin)? else {
            return Err(HeadsError::NothingKnown(origin.to_owned()));
        };
        transaction.execute(
            "INSERT INTO acknowledged (at, origin, size, root, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![number(now.0)?, origin, number(size)?, root.to_string(), reason],
        )?;
        transaction.execute("DELETE FROM heads WHERE origin = ?1", [origin])?;
        transaction.execute("DELETE FROM shown WHERE origin = ?1", [origin])?;
        transaction.commit()?;
        Ok(LedgerHead { origin: origin.to_owned(), size, root })
    }
}

/// The name on the note's first line, if it is one that counts.
fn known_origin<'a>(note: &'a str, origins: &[String]) -> Result<&'a str, HeadsError> {
    let found = note.lines().next().unwrap_or_default();
    match origins.iter().any(|origin| origin == found) {
        true => Ok(found),
        false => Err(HeadsError::UnknownOrigin {
            found: found.chars().take(80).collect(),
            known: origins.join(", "),
        }),
    }
}

/// The verdicts, by envelope digest, whose rows are in the checkpoint's tree.
fn verified_rows(
    rows: &[ShownRow],
    checkpoint: &Checkpoint,
) -> Result<Vec<(Digest, u64)>, HeadsError> {
    if rows.len() > MAX_ROWS {
        return Err(HeadsError::TooManyRows(rows.len()));
    }
    rows.iter().map(|row| Ok((verified_row(row, checkpoint)?, row.index))).collect()
}

fn verified_row(row: &ShownRow, checkpoint: &Checkpoint) -> Result<Digest, HeadsError> {
    let leaf = merkle::leaf_hash(row.entry.as_bytes());
    let Checkpoint { size, root, .. } = checkpoint;
    merkle::verify_inclusion(&leaf, row.index, *size, &row.path, root)?;
    let refuse = |what| HeadsError::Row { index: row.index, what };
    let entry: LedgerEntry =
        serde_json::from_str(&row.entry).map_err(|_| refuse("it does not parse"))?;
    match entry.event {
        LedgerEvent::Attempt(attempt) if entry.index == row.index => {
            attempt.verdict_envelope_digest.ok_or(refuse("it is about no verdict"))
        }
        _ => Err(refuse("it is no attempt with that number")),
    }
}

/// Witnesses that must still cosign. The role's own signature follows from its consent.
fn witnesses_missing(note: &str, terms: &Terms<'_>) -> Result<usize, HeadsError> {
    let found = terms.root.witnesses(note)?;
    let own = terms.own_witness.is_some_and(|own| found.iter().all(|one| one.keyid != own));
    let got = found.len() + usize::from(own);
    Ok(terms.root.witnesses_needed().saturating_sub(got))
}

fn seen(transaction: &Transaction<'_>, origin: &str) -> Result<Option<SeenHead>, HeadsError> {
    let query = "SELECT size, root FROM heads WHERE origin = ?1";
    let row: Option<(i64, String)> =
        transaction.query_row(query, [origin], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    row.map(|(size, root)| head(size, &root)).transpose()
}

fn remember(
    transaction: &Transaction<'_>,
    checkpoint: &Checkpoint,
    note: &str,
    now: UnixSeconds,
) -> Result<(), HeadsError> {
    let Checkpoint { origin, size, root } = checkpoint;
    transaction.execute(
        "INSERT OR REPLACE INTO heads (origin, size, root, note, at) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![origin, number(*size)?, root.to_string(), note, number(now.0)?],
    )?;
    Ok(())
}

fn head(size: i64, root: &str) -> Result<SeenHead, HeadsError> {
    let damaged = |error: &dyn std::fmt::Display| HeadsError::Damaged(error.to_string());
    let size = u64::try_from(size).map_err(|error| damaged(&error))?;
    let root = root.parse().map_err(|error| damaged(&error))?;
    Ok(SeenHead { size, root })
}

fn number(value: u64) -> Result<i64, HeadsError> {
    i64::try_from(value).map_err(|error| HeadsError::Damaged(error.to_string()))
}
