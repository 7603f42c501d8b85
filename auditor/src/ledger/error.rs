//! Why the ledger does not answer.

use seal_protocol::Digest;
use seal_service::store::SqliteError;

/// The ledger cannot be used or written. Nothing was signed or half-written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not opened.
    #[error(transparent)]
    Open(#[from] SqliteError),
    /// SQLite refused.
    #[error("the ledger refused a statement; check the disk that holds the auditor's state")]
    Sqlite(#[from] rusqlite::Error),
    /// A file beside the database.
    #[error(
        "a file of the auditor's state cannot be written; check the disk and the folder's owner"
    )]
    File(#[from] std::io::Error),
    /// A row that was changed.
    #[error("ledger row {index} was changed: {what}; restore the state from a copy")]
    Row {
        /// Its number.
        index: u64,
        /// What does not fit.
        what: String,
    },
    /// The rows do not yield the signed checkpoint.
    #[error("the ledger's rows do not yield its checkpoint: {0}; restore the state from a copy")]
    Checkpoint(String),
    /// Trust roots that do not lead to the one in force.
    #[error("the ledger was kept under trust roots that do not lead to the one in force: {0}")]
    TrustRoot(String),
    /// The clock stands before the last row.
    #[error(
        "the clock reads {now}, the ledger's last row {last}: set the clock right; nothing is signed until then"
    )]
    ClockWentBack {
        /// Seconds since 1970.
        now: u64,
        /// Seconds since 1970.
        last: u64,
    },
    /// Another request came with this nonce.
    #[error("the nonce was used by another request; draw a new one")]
    NonceUsed,
    /// A value without canonical JSON.
    #[error("a value has no canonical form")]
    Canonical(#[from] seal_trust::CanonicalError),
    /// A line that is not kept.
    #[error("the cosignature is not kept: {0}")]
    CosignatureRefused(String),
    /// A checkpoint that was asked for by its size.
    #[error("the ledger has no checkpoint of {0} rows; ask without `at` for its last one")]
    NoCheckpoint(u64),
    /// An origin that cannot stand in a checkpoint.
    #[error("`ledger_origin` cannot name a ledger")]
    Origin(#[from] seal_trust::NoteError),
    /// A stored reply that does not parse.
    #[error("the stored reply of request {0} was changed; restore the state from a copy")]
    Reply(Digest),
}
