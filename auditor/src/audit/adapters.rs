//! Adapter bytes: hashed here, whatever the student says, and loaded from the bytes that were hashed.

use std::path::{Path, PathBuf};

use seal_protocol::{AdapterFile, Candidate, Digest, Subject};
use seal_service::store::{ContentStore, StoreError, sync_folder};

use super::AuditError;
use crate::gate::{Stage, StageRecord};
use crate::measure::Measurer;

/// Uploaded files, and a folder in which one adapter at a time is laid out for loading.
pub(super) struct Adapters {
    pub(super) uploads: ContentStore,
    pub(super) bench: PathBuf,
}

impl Adapters {
    /// The adapter if its bytes are what the candidate says and form an adapter of this base.
    pub(super) fn load<M: Measurer>(
        &self,
        measurer: &mut M,
        candidate: &Candidate,
    ) -> Result<(StageRecord, Option<M::Adapter>), AuditError> {
        clear(&self.bench)?;
        let mut reasons = Vec::new();
        for file in &candidate.files {
            reasons.extend(self.lay_out(file)?.map(str::to_owned));
        }
        let loaded = if reasons.is_empty() { self.read(measurer, &mut reasons) } else { None };
        clear(&self.bench)?;
        reasons.dedup();
        Ok((StageRecord::of(Stage::Bytes, reasons), loaded))
    }

    /// An adapter that was accepted before, from the files that its verdict names.
    pub(super) fn load_accepted<M: Measurer>(
        &self,
        measurer: &mut M,
        files: &[Subject],
    ) -> Result<M::Adapter, AuditError> {
        clear(&self.bench)?;
        for file in files {
            let bytes =
                self.uploads.get(&file.digest.sha256).map_err(|_| AuditError::AcceptedGone)?;
            std::fs::write(self.bench.join(&file.name), bytes)?;
        }
        let loaded = measurer.load(&self.bench);
        clear(&self.bench)?;
        loaded.map_err(|error| {
            tracing::warn!(error, "the version accepted last does not load");
            AuditError::AcceptedGone
        })
    }

    fn read<M: Measurer>(&self, measurer: &mut M, reasons: &mut Vec<String>) -> Option<M::Adapter> {
        let refused = |error: String| {
            tracing::warn!(error, "an adapter does not load");
            reasons.push("bytes.adapter-format".to_owned());
        };
        measurer.load(&self.bench).map_err(refused).ok()
    }

    /// Copies one file to the bench; the rule it breaks, if it does.
    fn lay_out(&self, file: &AdapterFile) -> Result<Option<&'static str>, AuditError> {
        let bytes = match self.uploads.get(&file.sha256) {
            Ok(bytes) => bytes,
            Err(StoreError::Missing { .. }) => return Err(AuditError::FileMissing(file.sha256)),
            Err(StoreError::Damaged { .. }) => return Ok(Some("bytes.digest")),
            Err(StoreError::Unreadable { source, .. }) => return Err(source.into()),
        };
        if bytes.len() as u64 != file.size_bytes {
            return Ok(Some("bytes.size"));
        }
        std::fs::write(self.bench.join(&file.name), bytes)?;
        Ok(None)
    }

    /// Removes tensors that are done with. Configs stay: candidates share them.
    pub(super) fn forget(&self, tensors: &Digest) {
        // It only takes space; what was decided does not depend on it. Nobody asks for it again, so a
        // disk that fails once is asked twice.
        let path = self.uploads.path(tensors);
        if let Err(error) = removed(&path).or_else(|_| removed(&path)) {
            let file = path.display();
            tracing::warn!(%file, "a file that is done with stays; look at the disk: {error}");
        }
    }
}

/// Removes a file for good; one that is gone already is as good.
fn removed(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => path.parent().map_or(Ok(()), sync_folder),
    }
}

fn clear(bench: &Path) -> Result<(), AuditError> {
    if bench.exists() {
        std::fs::remove_dir_all(bench)?;
    }
    Ok(std::fs::create_dir_all(bench)?)
}
