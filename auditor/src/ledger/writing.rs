//! The statements of a group's one transaction.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use seal_protocol::{Audited, Digest, Envelope, LedgerEntry, LedgerEvent, UnixSeconds};
use seal_trust::{envelope_to_bytes, merkle};

use super::{Artefact, Head, LedgerError, NewGroup};

/// A row in the making.
pub(super) struct Row {
    pub(super) entry: LedgerEntry,
    bytes: Vec<u8>,
    pub(super) leaf: Digest,
}

/// Rows for events, numbered from `next_index`.
pub(super) fn rows(
    events: &[LedgerEvent],
    next_index: u64,
    at: UnixSeconds,
) -> Result<Vec<Row>, LedgerError> {
    let row = |(index, event): (u64, &LedgerEvent)| {
        let event = event.clone();
        let entry = LedgerEntry { index, at, event };
        let bytes = seal_trust::canonical_json(&entry)?;
        let leaf = merkle::leaf_hash(&bytes);
        Ok(Row { entry, bytes, leaf })
    };
    (next_index..).zip(events).map(row).collect()
}

/// Inserts the rows.
pub(super) fn insert_rows(transaction: &Transaction<'_>, rows: &[Row]) -> Result<(), LedgerError> {
    let mut insert =
        transaction.prepare("INSERT INTO ledger (idx, entry, leaf) VALUES (?1, ?2, ?3)")?;
    for row in rows {
        insert.execute(params![row.entry.index as i64, row.bytes, row.leaf.as_bytes()])?;
    }
    Ok(())
}

/// Inserts what goes with the rows.
pub(super) fn insert_group(
    transaction: &Transaction<'_>,
    group: &NewGroup,
    at: UnixSeconds,
) -> Result<(), LedgerError> {
    let artefact = "INSERT OR IGNORE INTO artefacts (kind, digest, body) VALUES (?1, ?2, ?3)";
    for Artefact { kind, digest, body } in &group.artefacts {
        transaction.execute(artefact, params![kind.folder(), digest.to_string(), body])?;
    }
    if let Some(envelope) = &group.verdict {
        let insert = "INSERT INTO verdicts (sequence, payload_digest, envelope, issued_at)
             VALUES ((SELECT coalesce(max(sequence), 0) + 1 FROM verdicts), ?1, ?2, ?3)";
        let digest = payload_digest(envelope)?.to_string();
        transaction.execute(insert, params![digest, envelope_to_bytes(envelope), at.0 as i64])?;
    }
    Ok(())
}

/// The name of a verdict.
pub(super) fn payload_digest(envelope: &Envelope) -> Result<Digest, LedgerError> {
    seal_trust::payload_digest(envelope).map_err(|error| LedgerError::Checkpoint(error.to_string()))
}

/// Where the ledger stands.
pub(super) fn head(
    transaction: &Transaction<'_>,
    next_index: u64,
    at: UnixSeconds,
) -> Result<Head, LedgerError> {
    let query = "SELECT sequence, payload_digest FROM verdicts ORDER BY sequence DESC LIMIT 1";
    let last: Option<(i64, String)> =
        transaction.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(Head {
        next_index,
        next_sequence: last.as_ref().map_or(1, |(sequence, _)| *sequence as u64 + 1),
        prev_verdict_digest: last.and_then(|(_, digest)| digest.parse().ok()),
        at,
    })
}

/// Inserts the checkpoint over `size` rows.
pub(super) fn insert_checkpoint(
    transaction: &Transaction<'_>,
    size: usize,
    note: &str,
) -> Result<(), LedgerError> {
    let insert = "INSERT INTO checkpoints (size, note) VALUES (?1, ?2)";
    transaction.execute(insert, params![size as i64, note])?;
    Ok(())
}

/// Inserts the reply to a request.
pub(super) fn insert_reply(
    transaction: &Transaction<'_>,
    nonce: &str,
    reply: &Audited,
) -> Result<(), LedgerError> {
    let bytes = seal_trust::canonical_json(reply)?;
    let insert = "INSERT INTO inbox (request_digest, nonce, reply) VALUES (?1, ?2, ?3)";
    transaction.execute(insert, params![reply.request_digest.to_string(), nonce, bytes])?;
    Ok(())
}

/// Moves the log into the database, so that an offline reader finds everything in one file.
pub(super) fn fold_log(db: &Connection) {
    // Only convenience: a log that stays is read as well.
    let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}
