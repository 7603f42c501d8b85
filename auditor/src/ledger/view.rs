//! The files beside the database: what an offline reader verifies.
//!
//! They follow the commit. A crash in between leaves the database ahead; the next start writes what
//! is missing.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use seal_protocol::Digest;
use seal_service::store::write_atomic;
use seal_trust::LedgerProof;

use super::ArtefactKind;

/// Name of the last checkpoint's file.
pub const CHECKPOINT_FILE: &str = "checkpoint.txt";
/// Name of the database.
pub const LEDGER_FILE: &str = "ledger.sqlite";

/// Path of an artefact inside the state.
pub fn file_of(state: &Path, kind: ArtefactKind, digest: &Digest) -> PathBuf {
    state.join(kind.folder()).join(format!("{digest}.json"))
}

/// Path of the portable proof beside a verdict.
pub fn proof_file(state: &Path, verdict: &Digest) -> PathBuf {
    state.join(ArtefactKind::Verdict.folder()).join(format!("{verdict}.tlog-proof"))
}

/// Writes a verdict's proof, or a better one in its place.
pub(super) fn write_proof(state: &Path, verdict: &Digest, proof: &LedgerProof) -> io::Result<()> {
    write_atomic(&proof_file(state, verdict), proof.to_text().as_bytes())
}

/// Writes one artefact.
pub(super) fn write(
    state: &Path,
    kind: ArtefactKind,
    digest: &Digest,
    body: &[u8],
) -> io::Result<()> {
    let path = file_of(state, kind, digest);
    if path.exists() { Ok(()) } else { write_atomic(&path, body) }
}

/// Writes the last checkpoint.
pub(super) fn write_checkpoint(state: &Path, note: &str) -> io::Result<()> {
    write_atomic(&state.join(CHECKPOINT_FILE), note.as_bytes())
}

/// Creates the folders.
pub(super) fn folders(state: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let create =
        |folder: PathBuf| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    ArtefactKind::ALL.into_iter().try_for_each(|kind| create(state.join(kind.folder())))
}

/// Writes every file that the database holds and the folder does not.
pub(super) fn catch_up(state: &Path, db: &Connection) -> Result<(), super::LedgerError> {
    let mut query = db.prepare(
        "SELECT kind, digest, body FROM artefacts
         UNION ALL SELECT 'verdicts', payload_digest, envelope FROM verdicts",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (folder, digest): (String, String) = (row.get(0)?, row.get(1)?);
        let path = state.join(folder).join(format!("{digest}.json"));
        if !path.exists() {
            write_atomic(&path, row.get_ref(2)?.as_blob().unwrap_or_default())?;
        }
    }
    Ok(())
}
