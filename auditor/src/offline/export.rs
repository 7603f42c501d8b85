//! Writing a bundle from an auditor's state folder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use seal_protocol::{Digest, LedgerEvent, LedgerQuestion, Verdict};
use seal_service::store::write_atomic;
use seal_trust::{LedgerProof, RootChain, canonical_json, merkle, payload_digest, sha256};

use super::bundle::{self, BUNDLE_INDEX, BundleIndex, CHECKPOINT, FORMAT, accepted};
use super::database::Database;
use super::rows::{self, LedgerRows};
use super::{Finding, artefacts, envelope, said, show};
use crate::ledger::{ArtefactKind, file_of};

/// No bundle was written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The state does not hold.
    #[error(transparent)]
    State(#[from] Finding),
    /// Rows that are not there.
    #[error("rows {from} to {to} were asked for; the ledger has rows 0 to {rows}")]
    Range {
        /// First row.
        from: u64,
        /// The row after the last.
        to: u64,
        /// Rows there are.
        rows: u64,
    },
    /// The folder does not take it.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Writes rows `range` with all that proves them into `folder`, which must be empty or absent, and
/// returns the digest of its index.
///
/// # Errors
/// A state that does not verify, rows that are not there, a folder that holds something or does not
/// take it.
pub fn export(
    state: &Path,
    roots: &RootChain,
    range: Range<u64>,
    folder: &Path,
) -> Result<Digest, ExportError> {
    let database = Database::read(state)?;
    let ledger = rows::verify(state, &database)?;
    let roots = artefacts::roots(state, &database, roots)?;
    let question = LedgerQuestion::default();
    let note = show(state, &question)?.checkpoint;
    let rows = ledger.entries.len() as u64;
    let Range { start: from, end: to } = range;
    if from > to || to > rows {
        return Err(ExportError::Range { from, to, rows });
    }
    let in_force_row = in_force_row(&ledger, from);
    let mut files = BTreeMap::new();
    files.insert(CHECKPOINT.to_owned(), note.clone().into_bytes());
    for root in roots.versions() {
        files.insert(bundle::root_file(root.root().version), root.file().to_vec());
    }
    for number in in_force_row.into_iter().chain(from..to) {
        add_row(&mut files, &database, &ledger, &note, number)?;
        add_evidence(&mut files, state, &database, &ledger, number)?;
    }
    let index = BundleIndex {
        format: FORMAT.to_owned(),
        from,
        to,
        in_force_row,
        trust_root_version: roots.newest().root().version,
        files: files.iter().map(|(name, bytes)| (name.clone(), sha256(bytes))).collect(),
    };
    write(folder, &files, &index)
}

/// The last row before `from` that says what is in force, unless `from` does itself.
fn in_force_row(ledger: &LedgerRows, from: u64) -> Option<u64> {
    let before = usize::try_from(from).ok()?;
    let mut rows = ledger.entries.get(..before)?.iter().rev();
    rows.find(|row| matches!(row.event, LedgerEvent::Genesis { .. })).map(|row| row.index)
}

fn add_row(
    files: &mut BTreeMap<String, Vec<u8>>,
    database: &Database,
    ledger: &LedgerRows,
    note: &str,
    number: u64,
) -> Result<(), Finding> {
    let missing = || Finding::new(&database.path, format!("row {number} is not there"));
    let place = usize::try_from(number).map_err(|_| missing())?;
    let stored = database.rows.get(place).ok_or_else(missing)?;
    let path = merkle::inclusion_proof(&ledger.leaves, place).ok_or_else(missing)?;
    let proof = LedgerProof { index: number, path, checkpoint: note.to_owned() };
    files.insert(bundle::row_file(number), stored.entry.clone());
    files.insert(bundle::proof_file(number), proof.to_text().into_bytes());
    Ok(())
}

/// The verdict, with its constitution, or the written policy that a row names.
fn add_evidence(
    files: &mut BTreeMap<String, Vec<u8>>,
    state: &Path,
    database: &Database,
    ledger: &LedgerRows,
    number: u64,
) -> Result<(), Finding> {
    let place = usize::try_from(number).unwrap_or(usize::MAX);
    let Some(row) = ledger.entries.get(place) else { return Ok(()) };
    if let Some((_, digest)) = accepted(row) {
        let stored = database.verdicts.iter().find(|stored| sha256(&stored.envelope) == digest);
        let stored = stored
            .ok_or_else(|| Finding::new(database.row_name(place), "its verdict is not there"))?;
        let path = file_of(state, ArtefactKind::Verdict, &stored.payload_digest);
        let name = payload_digest(&envelope(&path, &stored.envelope)?)
            .map_err(|error| Finding::new(&path, error))?;
        files.insert(bundle::verdict_file(&name), stored.envelope.clone());
        if let Some(digest) = said::<Verdict>(&path, &stored.envelope)?.constitution_digest {
            let kept = database.kept(state, ArtefactKind::Constitution, &digest)?;
            files.insert(bundle::constitution_file(&digest), kept.to_vec());
        }
    }
    if let LedgerEvent::Genesis { policy_bundle_digest: Some(digest), .. } = &row.event {
        let kept = database.kept(state, ArtefactKind::Policy, digest)?;
        files.insert(bundle::policy_file(digest), kept.to_vec());
    }
    Ok(())
}

/// The index comes last: without it a folder is no bundle.
fn write(
    folder: &Path,
    files: &BTreeMap<String, Vec<u8>>,
    index: &BundleIndex,
) -> Result<Digest, ExportError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Write { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let occupied = std::fs::read_dir(folder).map_err(failed(folder))?.next().is_some();
    if occupied {
        let source = std::io::Error::other("it is not empty; name another folder");
        return Err(ExportError::Write { path: folder.to_owned(), source });
    }
    for (name, bytes) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        write_atomic(&path, bytes).map_err(failed(&path))?;
    }
    let path = folder.join(BUNDLE_INDEX);
    let bytes = canonical_json(index).map_err(|error| Finding::new(&path, error))?;
    write_atomic(&path, &bytes).map_err(failed(&path))?;
    Ok(sha256(&bytes))
}
