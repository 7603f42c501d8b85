//! The open ledger: look up, commit.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use seal_protocol::{
    AuditPurpose, Audited, Digest, LedgerEvent, Rotation, Subject, UnixSeconds, Verdict,
    VerdictKind,
};
use seal_service::store::open_sqlite;
use seal_trust::{SigningKey, TrustedRoot, envelope_to_bytes, merkle};

use super::known::{Known, MeasuredAdapter};
use super::{
    ArtefactKind, Head, InForce, LEDGER_FILE, LedgerError, NewGroup, Used, opening, schema, shown,
    view, writing,
};

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
    /// Whether a failure kept files of a commit from being written.
    files_behind: bool,
}

impl Ledger {
    /// Opens the ledger in `state`, checks every row against the last checkpoint, writes files that a
    /// crash left out, and adds a row if what is in force changed.
    ///
    /// # Errors
    /// Damage of any kind; a full disk.
    pub fn open(
        state: &Path,
        signer: LedgerKey,
        root: &TrustedRoot,
        in_force: InForce,
        now: UnixSeconds,
    ) -> Result<Self, LedgerError> {
        view::folders(state)?;
        let db = open_sqlite(&state.join(LEDGER_FILE))?;
        schema::create(&db)?;
        let known = opening::known(&db)?;
        opening::check_checkpoint(&db, &known, root, &signer.origin, now)?;
        let (state, skew_s) = (state.to_owned(), root.root().limits.max_clock_skew_s);
        let mut ledger = Self { db, state, signer, known, skew_s, files_behind: true };
        ledger.catch_up()?;
        ledger.put_in_force(in_force, now)?;
        Ok(ledger)
    }

    fn put_in_force(&mut self, in_force: InForce, now: UnixSeconds) -> Result<(), LedgerError> {
        if self.known.in_force.as_ref() == Some(&in_force.event) {
            return Ok(());
        }
        let InForce { event, artefacts } = in_force;
        let group = |_: Head| Ok(NewGroup { rows: vec![event], verdict: None, artefacts });
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

    /// What is used up of a context's τ for this purpose.
    pub fn used(&self, context: &Digest, tau: Option<Digest>, purpose: AuditPurpose) -> Used {
        self.known.asked.used(context, tau, purpose)
    }

    /// The τ of a context that the last row about it names.
    pub fn tau_in_force(&self, context: &Digest) -> Option<Digest> {
        self.known.asked.in_force(context)
    }

    /// Every τ of a context that some row names, oldest first.
    pub fn named_tau(&self, context: &Digest) -> &[Digest] {
        self.known.asked.named(context)
    }

    /// Records that contexts are asked other questions from here on: all of them or, where the disk
    /// fails, none.
    ///
    /// # Errors
    /// As [`Ledger::commit`].
    pub fn rotate(
        &mut self,
        rotations: Vec<Rotation>,
        now: UnixSeconds,
    ) -> Result<(), LedgerError> {
        let rows = rotations.into_iter().map(LedgerEvent::Rotation).collect();
        let group = |_: Head| Ok(NewGroup { rows, verdict: None, artefacts: Vec::new() });
        self.commit(None, now, group).map(drop)
    }

    /// Whether a verdict covers the adapter with these tensors, so that its files must stay.
    pub fn keeps(&self, adapter: &Digest) -> bool {
        self.known.keeps(adapter)
    }

    /// Whether some adapter was not made from what it claimed, at any time.
    pub fn holds_a_forgery(&self) -> bool {
        self.known.holds_a_forgery()
    }

    /// What an adapter was that was measured and asked for nothing.
    pub fn measured(&self, adapter: &Digest) -> Option<&MeasuredAdapter> {
        self.known.measured(adapter)
    }

    /// Whether a verdict let this edit feed the policy.
    pub fn is_accepted(&self, edit: &Digest) -> bool {
        self.known.is_accepted(edit)
    }

    /// Edits on a context that a verdict let feed the policy.
    pub fn accepted_on(&self, context: &Digest) -> impl Iterator<Item = &Digest> {
        self.known.accepted_on(context)
    }

    /// The files of the adapter over `base` that was accepted for serving last.
    ///
    /// # Errors
    /// A verdict that was changed.
    pub fn last_promotion(&self, base: &Digest) -> Result<Option<Vec<Subject>>, LedgerError> {
        let mut query = self.db.prepare("SELECT envelope FROM verdicts ORDER BY sequence DESC")?;
        let envelopes = query.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        for envelope in envelopes {
            let verdict = shown::verdict(&envelope?)?;
            let Verdict { kind, base_model_digest, .. } = &verdict.predicate;
            if *kind == VerdictKind::Promotion && base_model_digest == base {
                return Ok(Some(verdict.subject));
            }
        }
        Ok(None)
    }

    /// Writes the files that a crash or a failing disk left out after a commit.
    ///
    /// # Errors
    /// The disk still fails.
    pub fn catch_up(&mut self) -> Result<(), LedgerError> {
        if self.files_behind {
            view::catch_up(&self.state, &self.db)?;
            self.catch_up_proofs()?;
            if let Some(note) = opening::last_note(&self.db)? {
                view::write_checkpoint(&self.state, &note)?;
            }
            self.files_behind = false;
        }
        Ok(())
    }

    /// Adds a group: `build` gets the head inside the transaction. All or nothing is written, and
    /// nothing while files of an earlier group cannot be.
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
        let at = self.time(now)?;
        self.refuse_used_nonce(request)?;
        self.catch_up()?;
        let next_index = self.known.leaves.len() as u64;
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let group = build(writing::head(&transaction, next_index, at)?)?;
        let rows = writing::rows(&group.rows, next_index, at)?;
        let leaves = leaves(&self.known, &rows);
        let checkpoint = self.signer.checkpoint(&leaves)?;
        let reply = Audited {
            request_digest: request.map_or(NO_REQUEST, |(digest, _)| digest),
            verdict: group.verdict.clone(),
            checkpoint,
        };
        writing::insert_rows(&transaction, &rows)?;
        writing::insert_group(&transaction, &group, at)?;
        writing::insert_checkpoint(&transaction, leaves.len(), &reply.checkpoint)?;
        if let Some((_, nonce)) = request {
            writing::insert_reply(&transaction, nonce, &reply)?;
        }
        transaction.commit()?;
        writing::fold_log(&self.db);
        rows.iter().for_each(|row| self.known.add(row.leaf, &row.entry));
        self.files_behind = true;
        self.write_files(&group, &reply.checkpoint)?;
        self.files_behind = false;
        Ok(reply)
    }

    fn time(&self, now: UnixSeconds) -> Result<UnixSeconds, LedgerError> {
        let last = self.known.last_at;
        let at = self.known.time(now, self.skew_s);
        at.ok_or(LedgerError::ClockWentBack { now: now.0, last })
    }

    fn refuse_used_nonce(&self, request: Option<(Digest, &str)>) -> Result<(), LedgerError> {
        match request {
            Some((digest, nonce)) if self.nonce_is_taken(nonce, &digest)? => {
                Err(LedgerError::NonceUsed)
            }
            _ => Ok(()),
        }
    }

    fn write_files(&self, group: &NewGroup, checkpoint: &str) -> Result<(), LedgerError> {
        for artefact in &group.artefacts {
            view::write(&self.state, artefact.kind, &artefact.digest, &artefact.body)?;
        }
        if let Some(envelope) = &group.verdict {
            let digest = writing::payload_digest(envelope)?;
            let bytes = envelope_to_bytes(envelope);
            view::write(&self.state, ArtefactKind::Verdict, &digest, &bytes)?;
            self.write_proof(&digest, &bytes, checkpoint)?;
        }
        Ok(view::write_checkpoint(&self.state, checkpoint)?)
    }

    /// The proof over the checkpoint at hand; witnesses' lines come later.
    fn write_proof(
        &self,
        verdict: &Digest,
        envelope: &[u8],
        checkpoint: &str,
    ) -> Result<(), LedgerError> {
        match shown::proof(&self.known.leaves, shown::attempt(envelope)?, checkpoint) {
            Some(proof) => Ok(view::write_proof(&self.state, verdict, &proof)?),
            None => Ok(()),
        }
    }

    /// Writes the proofs that a crash left out.
    fn catch_up_proofs(&self) -> Result<(), LedgerError> {
        let Some(note) = opening::last_note(&self.db)? else { return Ok(()) };
        let mut query = self.db.prepare("SELECT payload_digest, envelope FROM verdicts")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (digest, envelope): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let damaged = || LedgerError::Checkpoint("a verdict's name is no digest".to_owned());
            let digest: Digest = digest.parse().map_err(|_| damaged())?;
            if !view::proof_file(&self.state, &digest).exists() {
                self.write_proof(&digest, &envelope, &note)?;
            }
        }
        Ok(())
    }
}

impl LedgerKey {
    fn checkpoint(&self, leaves: &[Digest]) -> Result<String, LedgerError> {
        let (size, root) = (leaves.len() as u64, merkle::root(leaves));
        Ok(seal_trust::sign_checkpoint(&self.key, &self.origin, size, root)?)
    }
}

/// Stands in the reply that nobody gets: a row without a request.
const NO_REQUEST: Digest = Digest::from_bytes([0; 32]);

fn leaves(known: &Known, rows: &[writing::Row]) -> Vec<Digest> {
    known.leaves.iter().copied().chain(rows.iter().map(|row| row.leaf)).collect()
}
