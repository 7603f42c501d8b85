//! Reading the ledger at the start: every row against its hash, all rows against the checkpoint.

use rusqlite::{Connection, OptionalExtension};
use seal_protocol::{LedgerEntry, UnixSeconds};
use seal_trust::{RootChain, TrustedRoot, merkle};

use super::known::Known;
use super::{ArtefactKind, LedgerError};

/// What the rows say; refuses a row that was changed.
pub(super) fn known(db: &Connection) -> Result<Known, LedgerError> {
    let mut known = Known::default();
    let mut query = db.prepare("SELECT idx, entry, leaf FROM ledger ORDER BY idx")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let index = known.leaves.len() as u64;
        let (found, bytes, leaf): (i64, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let changed = |what: &str| LedgerError::Row { index, what: what.to_owned() };
        let entry: LedgerEntry =
            serde_json::from_slice(&bytes).map_err(|_| changed("it does not parse"))?;
        let computed = merkle::leaf_hash(&bytes);
        if found as u64 != index || entry.index != index || leaf != computed.as_bytes() {
            return Err(changed("number or hash do not fit"));
        }
        known.asked.check(&entry.event).map_err(changed)?;
        known.add(computed, &entry);
    }
    Ok(known)
}

/// The last checkpoint.
pub(super) fn last_note(db: &Connection) -> Result<Option<String>, LedgerError> {
    let query = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1";
    Ok(db.query_row(query, [], |row| row.get(0)).optional()?)
}

/// The trust root in force with the earlier ones that the ledger kept: its last checkpoint may be
/// signed by a key that was rotated since.
fn roots(db: &Connection, newest: &TrustedRoot) -> Result<RootChain, LedgerError> {
    let mut query = db.prepare("SELECT body FROM artefacts WHERE kind = ?1")?;
    let files = query.query_map([ArtefactKind::TrustRoot.folder()], |row| row.get(0))?;
    let files: Vec<Vec<u8>> = files.collect::<Result<_, _>>()?;
    let chain = RootChain::new(newest.clone(), &files);
    chain.map_err(|error| LedgerError::TrustRoot(error.to_string()))
}

/// The rows yield the last checkpoint, and the ledger's key signed it.
pub(super) fn check_checkpoint(
    db: &Connection,
    known: &Known,
    root: &TrustedRoot,
    origin: &str,
    now: UnixSeconds,
) -> Result<(), LedgerError> {
    let refuse = |what: String| LedgerError::Checkpoint(what);
    let Some(note) = last_note(db)? else {
        return if known.leaves.is_empty() {
            Ok(())
        } else {
            Err(refuse("it is missing".to_owned()))
        };
    };
    let checkpoint = roots(db, root)?
        .verify_checkpoint(&note, origin, now)
        .map_err(|error| refuse(error.to_string()))?;
    let fits = checkpoint.size == known.leaves.len() as u64
        && checkpoint.root == merkle::root(&known.leaves);
    if fits {
        Ok(())
    } else {
        Err(refuse(format!("{} rows, checkpoint over {}", known.leaves.len(), checkpoint.size)))
    }
}
