//! The ledger shown to readers, and their cosignatures taken in. Works beside the model thread, over
//! a connection of its own.
//!
//! **Invariant:** of rows, only those of signed verdicts are shown; a refused attempt's reasons stay
//! here.
//! **Invariant:** a cosignature is kept only if a witness of the trust root made it under a checkpoint
//! of this ledger.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};
use seal_protocol::{
    Cosignature, CosignedCheckpoint, Digest, LedgerQuestion, LedgerShown, ShownRow, Statement,
    Verdict,
};
use seal_service::clock::Clock;
use seal_service::store::open_sqlite;
use seal_trust::{
    LedgerProof, TrustedRoot, envelope_from_file_bytes, merkle, payload_bytes, with_lines,
};

use super::{LEDGER_FILE, LedgerError, view};

/// The reading and cosigning side of the ledger.
pub struct LedgerDesk {
    db: Mutex<Connection>,
    state: PathBuf,
    root: TrustedRoot,
    clock: Arc<dyn Clock>,
}

/// A checkpoint at rest.
struct Head {
    size: usize,
    note: String,
}

impl LedgerDesk {
    /// Opens the ledger that the writer has opened before.
    ///
    /// # Errors
    /// A database that does not open.
    pub fn open(
        state: &Path,
        root: TrustedRoot,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LedgerError> {
        let db = open_sqlite(&state.join(LEDGER_FILE))?;
        Ok(Self { db: Mutex::new(db), state: state.to_owned(), root, clock })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic under the lock rolled its transaction back, so the connection is sound.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checkpoint asked for with its cosignatures, that it continues what the reader knows, and
    /// the rows of the verdicts asked for. A verdict unknown there has no row; a reader that knows
    /// more rows gets no proof, and will say so.
    ///
    /// # Errors
    /// `NoCheckpoint`, and a database that was changed.
    pub fn show(&self, question: &LedgerQuestion) -> Result<LedgerShown, LedgerError> {
        let mut db = self.db();
        // One moment of the ledger: the model thread may write meanwhile.
        let moment = db.transaction()?;
        show(&moment, question)
    }

    /// Keeps a witness's line and renews the proofs beside the verdicts that it completes.
    ///
    /// # Errors
    /// `CosignatureRefused`: no such checkpoint, or no witness of the trust root made the line.
    pub fn cosign(&self, cosignature: &Cosignature) -> Result<CosignedCheckpoint, LedgerError> {
        let mut db = self.db();
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let head = at_size(&transaction, cosignature.size)?.ok_or(refused("no such checkpoint"))?;
        let alone = with_lines(&head.note, std::slice::from_ref(&cosignature.line))
            .map_err(|_| refused("it is no signature line"))?;
        let witnesses = self.root.witnesses(&alone).map_err(|_| refused("it is malformed"))?;
        let [witness] = witnesses.as_slice() else {
            return Err(refused("no witness of the trust root made it"));
        };
        transaction.execute(
            "INSERT OR IGNORE INTO cosignatures (size, keyid, line, at) VALUES (?1, ?2, ?3, ?4)",
            params![size_of(&head)?, witness.keyid, cosignature.line, self.clock.now().0 as i64],
        )?;
        let checkpoint = cosigned(&transaction, &head)?;
        transaction.commit()?;
        self.renew_proofs(&db, &head, &checkpoint)?;
        Ok(CosignedCheckpoint { checkpoint })
    }

    /// Writes the proofs that lack witnesses anew over a better checkpoint.
    fn renew_proofs(
        &self,
        db: &Connection,
        head: &Head,
        checkpoint: &str,
    ) -> Result<(), LedgerError> {
        let leaves = leaves(db, head.size)?;
        let count = |note: &str| self.root.witnesses(note).map_or(0, |witnesses| witnesses.len());
        let better = count(checkpoint);
        for (digest, index) in verdicts(db)? {
            let file = view::proof_file(&self.state, &digest);
            let there = std::fs::read_to_string(&file).ok();
            let there = there.and_then(|text| LedgerProof::from_text(&text).ok());
            if there.is_some_and(|proof| count(&proof.checkpoint) >= better) {
                continue;
            }
            if let Some(proof) = proof(&leaves, index, checkpoint) {
                view::write_proof(&self.state, &digest, &proof)?;
            }
        }
        Ok(())
    }
}

/// See [`LedgerDesk::show`]; `db` stands still meanwhile.
///
/// # Errors
/// As there.
pub(crate) fn show(db: &Connection, question: &LedgerQuestion) -> Result<LedgerShown, LedgerError> {
    let head = match question.at {
        Some(size) => at_size(db, size)?.ok_or(LedgerError::NoCheckpoint(size))?,
        None => last(db)?.ok_or_else(|| LedgerError::Checkpoint("it is missing".to_owned()))?,
    };
    let leaves = leaves(db, head.size)?;
    let origin = head.note.lines().next().unwrap_or_default();
    let known = question.known.iter().find(|known| known.origin == origin);
    let known = known.and_then(|known| usize::try_from(known.size).ok()).unwrap_or(0);
    let rows = question.verdicts.iter().map(|verdict| shown_row(db, &leaves, verdict));
    Ok(LedgerShown {
        checkpoint: cosigned(db, &head)?,
        consistency: merkle::consistency_proof(&leaves, known).unwrap_or_default(),
        rows: rows.filter_map(Result::transpose).collect::<Result<_, _>>()?,
    })
}

fn refused(what: &str) -> LedgerError {
    LedgerError::CosignatureRefused(what.to_owned())
}

/// The portable proof that a row stands under a checkpoint; `None` beyond its end.
pub(super) fn proof(leaves: &[Digest], index: u64, checkpoint: &str) -> Option<LedgerProof> {
    let path = merkle::inclusion_proof(leaves, usize::try_from(index).ok()?)?;
    Some(LedgerProof { index, path, checkpoint: checkpoint.to_owned() })
}

fn last(db: &Connection) -> rusqlite::Result<Option<Head>> {
    let query = "SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1";
    db.query_row(query, [], head).optional()
}

fn at_size(db: &Connection, size: u64) -> rusqlite::Result<Option<Head>> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let query = "SELECT size, note FROM checkpoints WHERE size = ?1";
    db.query_row(query, [size], head).optional()
}

fn head(row: &rusqlite::Row<'_>) -> rusqlite::Result<Head> {
    let size: i64 = row.get(0)?;
    Ok(Head { size: usize::try_from(size).unwrap_or_default(), note: row.get(1)? })
}

fn size_of(head: &Head) -> Result<i64, LedgerError> {
    i64::try_from(head.size).map_err(|_| LedgerError::Checkpoint("its size".to_owned()))
}

/// A checkpoint with every cosignature that was kept, oldest first.
fn cosigned(db: &Connection, head: &Head) -> Result<String, LedgerError> {
    let mut query = db.prepare("SELECT line FROM cosignatures WHERE size = ?1 ORDER BY rowid")?;
    let lines = query.query_map([size_of(head)?], |row| row.get(0))?;
    let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
    Ok(with_lines(&head.note, &lines)?)
}

fn leaves(db: &Connection, size: usize) -> Result<Vec<Digest>, LedgerError> {
    let mut query = db.prepare("SELECT leaf FROM ledger ORDER BY idx LIMIT ?1")?;
    let rows = query.query_map([i64::try_from(size).unwrap_or(i64::MAX)], |row| row.get(0))?;
    rows.map(|leaf| Ok(Digest::from_bytes(leaf?))).collect()
}

fn shown_row(
    db: &Connection,
    leaves: &[Digest],
    verdict: &Digest,
) -> Result<Option<ShownRow>, LedgerError> {
    let query = "SELECT envelope FROM verdicts WHERE payload_digest = ?1";
    let envelope: Option<Vec<u8>> =
        db.query_row(query, [verdict.to_string()], |row| row.get(0)).optional()?;
    let Some(envelope) = envelope else { return Ok(None) };
    let index = attempt(&envelope)?;
    let query = "SELECT entry FROM ledger WHERE idx = ?1";
    let entry: Vec<u8> = db.query_row(query, [index as i64], |row| row.get(0))?;
    let changed = || LedgerError::Row { index, what: "it is no text".to_owned() };
    let entry = String::from_utf8(entry).map_err(|_| changed())?;
    let path = usize::try_from(index).ok().and_then(|at| merkle::inclusion_proof(leaves, at));
    Ok(path.map(|path| ShownRow { index, entry, path }))
}

/// Every verdict with its row.
fn verdicts(db: &Connection) -> Result<Vec<(Digest, u64)>, LedgerError> {
    let mut query =
        db.prepare("SELECT payload_digest, envelope FROM verdicts ORDER BY sequence")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.map(|row| {
        let (digest, envelope): (String, Vec<u8>) = row?;
        let digest = digest
            .parse()
            .map_err(|_| LedgerError::Checkpoint("a verdict's name is no digest".to_owned()))?;
        Ok((digest, attempt(&envelope)?))
    })
    .collect()
}

/// The row that a verdict of our own answers for.
pub(super) fn attempt(envelope: &[u8]) -> Result<u64, LedgerError> {
    Ok(verdict(envelope)?.predicate.attempt)
}

/// A verdict of our own, from the bytes at rest.
pub(super) fn verdict(envelope: &[u8]) -> Result<Statement<Verdict>, LedgerError> {
    let changed =
        |error: String| LedgerError::Checkpoint(format!("a verdict was changed: {error}"));
    let envelope =
        envelope_from_file_bytes(envelope).map_err(|error| changed(error.to_string()))?;
    let payload = payload_bytes(&envelope).map_err(|error| changed(error.to_string()))?;
    serde_json::from_slice(&payload).map_err(|error| changed(error.to_string()))
}
