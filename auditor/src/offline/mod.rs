//! Reading and verifying an auditor's state folder offline, from files alone.
//!
//! Root and every verdict are derived again: each row is hashed, each checkpoint recomputed, each
//! signature checked, each file compared with the digest that names it, each group judged again from
//! its recorded measurements.
//!
//! **Invariant:** nothing in the state folder is written, not even by SQLite: it works on a copy.
//! **Invariant:** whatever does not fit is named by file, or by ledger row.
//! **Absent:** measuring again. That needs the model and τ, which only the auditor has.

mod adapters;
mod artefacts;
mod asked;
mod bundle;
mod database;
mod export;
mod groups;
mod judgements;
mod levels;
mod policies;
mod proofs;
mod rejudge;
mod rows;
mod verdicts;

use std::path::{Path, PathBuf};

use seal_protocol::{
    Digest, Envelope, LedgerEntry, LedgerQuestion, LedgerShown, Predicate, Statement, UnixSeconds,
    Verdict,
};
use seal_trust::RootChain;

pub use asked::{TauUse, tau_use};
pub use bundle::{BUNDLE_INDEX, BundleIndex, BundleSummary, verify_bundle};
pub use export::{ExportError, export};
pub use rejudge::{Changed, Rejudged, rejudge};

pub use crate::annex::{Annex, CandidateAnnex, PanelSummary};
pub use crate::gate::{Outcome, Panel, PanelName, Ruling, Stage, StageOutcome, StageRecord};
use crate::ledger::{ArtefactKind, file_of};
pub use crate::statistics::Interval;
use database::Database;

/// Something that does not fit, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct Finding {
    /// The file; for a ledger row, the database with the row's number behind it.
    pub path: PathBuf,
    /// What does not fit.
    pub what: String,
}

impl Finding {
    fn new(path: impl Into<PathBuf>, what: impl ToString) -> Self {
        Self { path: path.into(), what: what.to_string() }
    }
}

/// What was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Ledger rows.
    pub rows: u64,
    /// Root over them, as the signed checkpoint says and as derived.
    pub root: Digest,
    /// Cosignatures of witnesses under its checkpoints.
    pub cosignatures: u64,
    /// Verdicts.
    pub verdicts: u64,
    /// Audit requests.
    pub requests: u64,
    /// Edits.
    pub edits: u64,
    /// Metrics annexes.
    pub annexes: u64,
    /// Adapter files.
    pub adapter_files: u64,
}

/// Verifies everything that an auditor wrote: under the newest trust root, and under the earlier ones
/// that were in force when a row was made. Earlier versions that `roots` lacks are taken from the
/// ledger, as far as they lead to it.
///
/// # Errors
/// The first thing that does not fit: what was touched, by path.
pub fn verify_state(state: &Path, roots: &RootChain, now: UnixSeconds) -> Result<Summary, Finding> {
    let database = Database::read(state)?;
    let ledger = rows::verify(state, &database)?;
    let roots = &artefacts::roots(state, &database, roots)?;
    rows::verify_checkpoints(state, &database, &ledger, roots, now)?;
    rows::verify_cosignatures(&database, roots)?;
    rows::verify_in_force(&ledger, roots)?;
    artefacts::verify(state, &database, roots, now)?;
    verdicts::verify(state, &database, &ledger, roots, now)?;
    proofs::verify(state, &database, &ledger, roots, now)?;
    artefacts::verify_complete(state, &database)?;
    groups::verify(state, &database, &ledger)?;
    levels::verify(state, &database, &ledger, roots)?;
    let adapter_files = adapters::verify(state, &database)?;
    let count = |kind: ArtefactKind| {
        database.artefacts.iter().filter(|artefact| artefact.kind == kind).count() as u64
    };
    Ok(Summary {
        rows: ledger.entries.len() as u64,
        root: seal_trust::merkle::root(&ledger.leaves),
        cosignatures: database.cosignatures.len() as u64,
        verdicts: database.verdicts.len() as u64,
        requests: count(ArtefactKind::Request),
        edits: count(ArtefactKind::Edit),
        annexes: count(ArtefactKind::Annex),
        adapter_files,
    })
}

/// The ledger as a reader is shown it, from a copy of the state's files: for a role that is to act
/// while the auditor does not run. Unverified; the reader checks it.
///
/// # Errors
/// A database that is missing or damaged.
pub fn show(state: &Path, question: &LedgerQuestion) -> Result<LedgerShown, Finding> {
    Database::with_copy(state, |db| crate::ledger::show(db, question))
}

/// The ledger's rows, in order; unverified, for showing.
///
/// # Errors
/// A database that is missing or damaged, a row that does not parse.
pub fn ledger(state: &Path) -> Result<Vec<LedgerEntry>, Finding> {
    let database = Database::read(state)?;
    rows::verify(state, &database).map(|ledger| ledger.entries)
}

/// A metrics annex; its bytes are checked against its name.
///
/// # Errors
/// A file that is missing, was changed, or does not parse.
pub fn annex(state: &Path, digest: &Digest) -> Result<Annex, Finding> {
    let path = file_of(state, ArtefactKind::Annex, digest);
    let bytes = read(&path)?;
    if seal_trust::sha256(&bytes) != *digest {
        return Err(Finding::new(path, "its bytes are not those its name says"));
    }
    serde_json::from_slice(&bytes)
        .map_err(|error| Finding::new(path, format!("it does not parse: {error}")))
}

/// Every verdict with its envelope, oldest first; unverified, for showing.
///
/// # Errors
/// A database that is missing or damaged, an envelope that does not parse.
pub fn verdicts(state: &Path) -> Result<Vec<(Envelope, Verdict)>, Finding> {
    let database = Database::read(state)?;
    let parsed = database.verdicts.iter().map(|stored| {
        let path = file_of(state, ArtefactKind::Verdict, &stored.payload_digest);
        Ok((envelope(&path, &stored.envelope)?, said::<Verdict>(&path, &stored.envelope)?))
    });
    parsed.collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Finding> {
    std::fs::read(path).map_err(|error| Finding::new(path, format!("it cannot be read: {error}")))
}

/// What an own verdict says; its signature is checked elsewhere.
/// What an envelope says that was verified elsewhere, or is only shown.
fn said<P: Predicate>(path: &Path, bytes: &[u8]) -> Result<P, Finding> {
    let payload = seal_trust::payload_bytes(&envelope(path, bytes)?)
        .map_err(|error| Finding::new(path, error))?;
    let statement: Statement<P> =
        serde_json::from_slice(&payload).map_err(|error| Finding::new(path, error))?;
    Ok(statement.predicate)
}

fn envelope(path: &Path, bytes: &[u8]) -> Result<Envelope, Finding> {
    seal_trust::envelope_from_file_bytes(bytes).map_err(|error| Finding::new(path, error))
}

#[cfg(test)]
mod bundle_tests;
#[cfg(test)]
mod tests;
