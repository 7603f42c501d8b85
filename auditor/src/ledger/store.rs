//! The database: open, verify, commit.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use seal_protocol::{
    AuditPurpose, Audited, Digest, Envelope, LedgerEntry, LedgerEvent, UnixSeconds,
};
use seal_service::store::{SqliteError, open_sqlite};
use seal_trust::{SigningKey, TrustedRoot, envelope_to_bytes, merkle};

use super::known::Known;
use super::{Artefact, ArtefactKind, Head, LEDGER_FILE, NewGroup, schema, view};

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
    /// An origin that cannot stand in a checkpoint.
    #[error("`ledger_origin` cannot name a ledger")]
    Origin(#[from] seal_trust::NoteError),
    /// A stored reply that does not parse.
    #[error("the stored reply of request {0} was changed; restore the state from a copy")]
    Reply(Digest),
}

/// Who signs checkpoints, under which name.
pub struct LedgerKey {
    /// The ledger's private key.
    pub key: SigningKey,
    /// The ledger's name.
    pub origin: String,
}

/// The open ledger. One writer.
pub struct Ledger {
    db: Connection,
    state: PathBuf,
    signer: LedgerKey,
    known: Known,
    skew_s: u64,
}

impl Ledger {
    /// Opens the ledger in `state`, checks every row against the last checkpoint, writes files that a
    /// crash left out, and adds a genesis row if what is in force changed.
    ///
    /// # Errors
    /// Damage of any kind; a full disk.
    pub fn open(
        state: &Path,
        signer: LedgerKey,
        root: &TrustedRoot,
        genesis: LedgerEvent,
        now: UnixSeconds,
    ) -> Result<Self, LedgerError> {
        view::folders(state)?;
        let db = open_sqlite(&state.join(LEDGER_FILE))?;
        schema::create(&db)?;
        let known = known(&db)?;
        check_checkpoint(&db, &known, root, &signer.origin, now)?;
        view::catch_up(state, &db)?;
        let (state, skew_s) = (state.to_owned(), root.root().limits.max_clock_skew_s);
        let mut ledger = Self { db, state, signer, known, skew_s };
        ledger.put_in_force(genesis, now)?;
        Ok(ledger)
    }

    fn put_in_force(&mut self, genesis: LedgerEvent, now: UnixSeconds) -> Result<(), LedgerError> {
        if self.known.in_force.as_ref() == Some(&genesis) {
            let note = last_note(&self.db)?.unwrap_or_default();
            return Ok(view::write_checkpoint(&self.state, &note)?);
        }
        let group =
            |_: Head| Ok(NewGroup { rows: vec![genesis], verdict: None, artefacts: Vec::new() });
        self.commit(None, now, group).map(drop)
    }

    /// The stored reply to a request.
    ///
    /// # Errors
    /// A reply that was changed.
    pub fn reply(&self, request: &Digest) -> Result<Option<Audited>, LedgerError> {
        let query = "SELECT reply FROM inbox WHERE request_digest = ?1";
        let reply: Option<Vec<u8>> =
            self.db.query_row(query, [request.to_string()], |row| row.get(0)).optional()?;
        reply
            .map(|bytes| serde_json::from_slice(&bytes).map_err(|_| LedgerError::Reply(*request)))
            .transpose()
    }

    /// Whether another request than `request` came with `nonce`.
    ///
    /// # Errors
    /// A refusal of the database.
    pub fn nonce_is_taken(&self, nonce: &str, request: &Digest) -> Result<bool, LedgerError> {
        let query = "SELECT count(*) FROM inbox WHERE nonce = ?1 AND request_digest <> ?2";
        let taken: i64 =
            self.db.query_row(query, params![nonce, request.to_string()], |row| row.get(0))?;
        Ok(taken > 0)
    }

    /// Groups judged on a context for this purpose so far.
    pub fn attempts_on(&self, context: &Digest, purpose: AuditPurpose) -> u32 {
        self.known.attempts_on(context, purpose)
    }

    /// Whether a verdict covers the adapter with these tensors, so that its files must stay.
    pub fn keeps(&self, adapter: &Digest) -> bool {
        self.known.keeps(adapter)
    }

    /// Whether a verdict let this edit feed the policy.
    pub fn is_accepted(&self, edit: &Digest) -> bool {
        self.known.is_accepted(edit)
    }

    /// Adds a group: `build` gets the head inside the transaction. All or nothing is written.
    /// `request` is (digest, nonce) of the request that the reply answers.
    ///
    /// # Errors
    /// What `build` returns; a clock that went back; a nonce of another request; a full disk.
    pub fn commit(
        &mut self,
        request: Option<(Digest, &str)>,
        now: UnixSeconds,
        build: impl FnOnce(Head) -> Result<NewGroup, LedgerError>,
    ) -> Result<Audited, LedgerError> {
        let at = self.known.time(now, self.skew_s);
        let at = at.ok_or(LedgerError::ClockWentBack { now: now.0, last: self.known.last_at })?;
        if let Some((request, nonce)) = request
            && self.nonce_is_taken(nonce, &request)?
        {
            return Err(LedgerError::NonceUsed);
        }
        let next_index = self.known.leaves.len() as u64;
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let group = build(head(&transaction, next_index, at)?)?;
        let entries = entries(&group.rows, next_index, at)?;
        let leaves: Vec<Digest> =
            self.known.leaves.iter().copied().chain(entries.iter().map(|row| row.leaf)).collect();
        let checkpoint = seal_trust::sign_checkpoint(
            &self.signer.key,
            &self.signer.origin,
            leaves.len() as u64,
            merkle::root(&leaves),
        )?;
        let reply = Audited {
            request_digest: request.map_or(Digest::from_bytes([0; 32]), |(digest, _)| digest),
            verdict: group.verdict.clone(),
            checkpoint: checkpoint.clone(),
        };
        insert_rows(&transaction, &entries)?;
        insert_group(&transaction, &group, at)?;
        transaction.execute(
            "INSERT INTO checkpoints (size, note) VALUES (?1, ?2)",
            params![leaves.len() as i64, checkpoint],
        )?;
        if let Some((digest, nonce)) = request {
            let reply = seal_trust::canonical_json(&reply)?;
            let inbox = "INSERT INTO inbox (request_digest, nonce, reply) VALUES (?1, ?2, ?3)";
            transaction.execute(inbox, params![digest.to_string(), nonce, reply])?;
        }
        transaction.commit()?;
        fold_log(&self.db);
        entries.iter().for_each(|row| self.known.add(row.leaf, &row.entry));
        self.write_files(&group, &checkpoint)?;
        Ok(reply)
    }

    fn write_files(&self, group: &NewGroup, checkpoint: &str) -> Result<(), LedgerError> {
        for artefact in &group.artefacts {
            view::write(&self.state, artefact.kind, &artefact.digest, &artefact.body)?;
        }
        if let Some(envelope) = &group.verdict {
            let digest = payload_digest(envelope)?;
            view::write(&self.state, ArtefactKind::Verdict, &digest, &envelope_to_bytes(envelope))?;
        }
        Ok(view::write_checkpoint(&self.state, checkpoint)?)
    }
}

struct Row {
    entry: LedgerEntry,
    bytes: Vec<u8>,
    leaf: Digest,
}

fn entries(
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

fn insert_rows(transaction: &Transaction<'_>, rows: &[Row]) -> Result<(), LedgerError> {
    let mut insert =
        transaction.prepare("INSERT INTO ledger (idx, entry, leaf) VALUES (?1, ?2, ?3)")?;
    for row in rows {
        insert.execute(params![row.entry.index as i64, row.bytes, row.leaf.as_bytes()])?;
    }
    Ok(())
}

fn insert_group(
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

fn payload_digest(envelope: &Envelope) -> Result<Digest, LedgerError> {
    seal_trust::payload_digest(envelope).map_err(|error| LedgerError::Checkpoint(error.to_string()))
}

fn head(
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

fn known(db: &Connection) -> Result<Known, LedgerError> {
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
        known.add(computed, &entry);
    }
    Ok(known)
}

/// Moves the log into the database, so that an offline reader finds everything in one file.
fn fold_log(db: &Connection) {
    // Only convenience: a log that stays is read as well.
    let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

fn last_note(db: &Connection) -> Result<Option<String>, LedgerError> {
    let query = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1";
    Ok(db.query_row(query, [], |row| row.get(0)).optional()?)
}

fn check_checkpoint(
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
    let checkpoint =
        root.verify_checkpoint(&note, origin, now).map_err(|error| refuse(error.to_string()))?;
    let fits = checkpoint.size == known.leaves.len() as u64
        && checkpoint.root == merkle::root(&known.leaves);
    if fits {
        Ok(())
    } else {
        Err(refuse(format!("{} rows, checkpoint over {}", known.leaves.len(), checkpoint.size)))
    }
}
