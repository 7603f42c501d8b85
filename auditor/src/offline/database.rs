//! The ledger's database, read from a copy.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, OpenFlags, Row};
use seal_protocol::Digest;

use super::Finding;
use crate::ledger::{Artefact, ArtefactKind, LEDGER_FILE, file_of};

/// Every row of every table, as stored.
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) rows: Vec<StoredRow>,
    pub(super) checkpoints: Vec<(u64, String)>,
    pub(super) cosignatures: Vec<StoredCosignature>,
    pub(super) verdicts: Vec<StoredVerdict>,
    pub(super) inbox: Vec<StoredReply>,
    pub(super) artefacts: Vec<Artefact>,
}

pub(super) struct StoredRow {
    pub(super) index: u64,
    pub(super) entry: Vec<u8>,
    pub(super) leaf: Vec<u8>,
}

pub(super) struct StoredCosignature {
    pub(super) size: u64,
    pub(super) keyid: String,
    pub(super) line: String,
}

pub(super) struct StoredVerdict {
    pub(super) sequence: u64,
    pub(super) payload_digest: Digest,
    pub(super) envelope: Vec<u8>,
    pub(super) issued_at: u64,
}

pub(super) struct StoredReply {
    pub(super) request_digest: Digest,
    pub(super) nonce: String,
    pub(super) reply: Vec<u8>,
}

impl Database {
    pub(super) fn read(state: &Path) -> Result<Self, Finding> {
        let path = state.join(LEDGER_FILE);
        let copy = Copy::of(&path)
            .map_err(|error| Finding::new(&path, format!("it cannot be read: {error}")))?;
        let damaged = |error: rusqlite::Error| {
            Finding::new(&path, format!("the database is damaged: {error}"))
        };
        let db = copy.open().map_err(damaged)?;
        let check: String =
            db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(damaged)?;
        if check != "ok" {
            return Err(Finding::new(path, format!("the database is damaged: {check}")));
        }
        Self::tables(&db, path.clone()).map_err(damaged)
    }

    /// Works on a copy, which is gone afterwards.
    pub(super) fn with_copy<T, E: std::fmt::Display>(
        state: &Path,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, Finding> {
        let path = state.join(LEDGER_FILE);
        let copy = Copy::of(&path)
            .map_err(|error| Finding::new(&path, format!("it cannot be read: {error}")))?;
        let db = copy
            .open()
            .map_err(|error| Finding::new(&path, format!("the database is damaged: {error}")))?;
        work(&db).map_err(|error| Finding::new(&path, error))
    }

    fn tables(db: &Connection, path: PathBuf) -> rusqlite::Result<Self> {
        Ok(Self {
            path,
            rows: all(db, "SELECT idx, entry, leaf FROM ledger ORDER BY idx", |row| {
                Ok(StoredRow { index: number(row, 0)?, entry: row.get(1)?, leaf: row.get(2)? })
            })?,
            checkpoints: all(db, "SELECT size, note FROM checkpoints ORDER BY size", |row| {
                Ok((number(row, 0)?, row.get(1)?))
            })?,
            cosignatures: all(
                db,
                "SELECT size, keyid, line FROM cosignatures ORDER BY rowid",
                |row| {
                    Ok(StoredCosignature {
                        size: number(row, 0)?,
                        keyid: row.get(1)?,
                        line: row.get(2)?,
                    })
                },
            )?,
            verdicts: all(
                db,
                "SELECT sequence, payload_digest, envelope, issued_at FROM verdicts ORDER BY sequence",
                |row| {
                    Ok(StoredVerdict {
                        sequence: number(row, 0)?,
                        payload_digest: digest(row, 1)?,
                        envelope: row.get(2)?,
                        issued_at: number(row, 3)?,
                    })
                },
            )?,
            inbox: all(
                db,
                "SELECT request_digest, nonce, reply FROM inbox ORDER BY rowid",
                |row| {
                    Ok(StoredReply {
                        request_digest: digest(row, 0)?,
                        nonce: row.get(1)?,
                        reply: row.get(2)?,
                    })
                },
            )?,
            artefacts: all(
                db,
                "SELECT kind, digest, body FROM artefacts ORDER BY kind, digest",
                |row| {
                    Ok(Artefact { kind: kind(row, 0)?, digest: digest(row, 1)?, body: row.get(2)? })
                },
            )?,
        })
    }

    /// A stored artefact.
    pub(super) fn artefact(&self, kind: ArtefactKind, digest: &Digest) -> Option<&Artefact> {
        self.artefacts.iter().find(|artefact| artefact.kind == kind && artefact.digest == *digest)
    }

    /// The bytes of an artefact that must be there.
    pub(super) fn kept(
        &self,
        state: &Path,
        kind: ArtefactKind,
        digest: &Digest,
    ) -> Result<&[u8], Finding> {
        let missing = || {
            Finding::new(file_of(state, kind, digest), "the ledger names it, but it is not there")
        };
        self.artefact(kind, digest).map(|kept| kept.body.as_slice()).ok_or_else(missing)
    }

    /// How a row is named to people.
    pub(super) fn row_name(&self, index: usize) -> PathBuf {
        PathBuf::from(format!("{} row {index}", self.path.display()))
    }
}

fn all<T>(
    db: &Connection,
    query: &str,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare(query)?.query_map([], read)?.collect()
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|error| unreadable(column, error))
}

fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error| unreadable(column, error))
}

fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<ArtefactKind> {
    let text: String = row.get(column)?;
    let known = ArtefactKind::ALL.into_iter().find(|kind| kind.folder() == text);
    known.ok_or_else(|| unreadable(column, std::io::Error::other("no kind of artefact")))
}

fn unreadable(
    column: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

/// A private copy of the database and its log, gone when dropped.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn of(database: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name =
            format!("seal-verify-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let copy = Self { folder: std::env::temp_dir().join(name) };
        std::fs::DirBuilder::new().mode(0o700).create(&copy.folder)?;
        std::fs::copy(database, copy.database())?;
        let log = with_suffix(database, "-wal");
        if log.exists() {
            std::fs::copy(log, with_suffix(&copy.database(), "-wal"))?;
        }
        Ok(copy)
    }

    fn database(&self) -> PathBuf {
        self.folder.join(LEDGER_FILE)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(self.database(), flags)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // A leftover in the system's temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
