//! The record of what served: read from the database, shown as signed files.
//!
//! **Invariant:** the database decides; the files beside it are written after it and restored from it.

use std::collections::BTreeSet;

use seal_protocol::{Served, ServingChange, Statement};
use seal_service::store::sync_folder;
use seal_trust::{envelope_from_file_bytes, payload_bytes, payload_digest};

use crate::error::StudentError;
use crate::serving::Serving;
use crate::signed_files::SignedFiles;
use crate::state::State;
use crate::student::{Student, unwritable};

/// The state of serving with the changes that led to it.
///
/// # Errors
/// A history that does not read or has a gap.
pub(crate) fn history(state: &State) -> Result<(Serving, Vec<ServingChange>), StudentError> {
    let mut serving = Serving::default();
    let mut changes = Vec::new();
    for bytes in state.changes()? {
        let envelope = envelope_from_file_bytes(&bytes)?;
        let statement: Statement<ServingChange> =
            serde_json::from_slice(&payload_bytes(&envelope)?)?;
        serving.apply(&statement.predicate, payload_digest(&envelope)?)?;
        changes.push(statement.predicate);
    }
    Ok((serving, changes))
}

/// What serves, with its signed history.
///
/// # Errors
/// As [`history`].
pub(crate) fn served(state: &State) -> Result<Served, StudentError> {
    let (serving, _) = history(state)?;
    let envelope = |bytes: Vec<u8>| envelope_from_file_bytes(&bytes);
    let envelopes = state.changes()?.into_iter().map(envelope).collect::<Result<_, _>>()?;
    Ok(Served {
        active: serving.active().to_owned(),
        versions: serving.versions().clone(),
        history: envelopes,
    })
}

impl Student {
    /// What serves, with its signed history.
    ///
    /// # Errors
    /// A history that does not read or has a gap.
    pub fn served(&self) -> Result<Served, StudentError> {
        served(&self.state)
    }

    /// Deletes adapter files that no version uses, where the config says so.
    pub(crate) fn prune(&self) -> Result<(), StudentError> {
        if self.config.keep_candidates {
            return Ok(());
        }
        let mut kept = BTreeSet::new();
        for (version, _) in self.state.version_verdicts()? {
            let files = self.state.version_files(&version)?;
            kept.extend(files.into_iter().map(|file| self.adapters.path(&file.sha256)));
        }
        let folder = self.config.state.join("adapter-files");
        let failed = |source| unwritable(&folder, source);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if !kept.contains(&path) {
                std::fs::remove_file(&path).map_err(failed)?;
            }
        }
        sync_folder(&folder).map_err(failed)
    }

    /// Writes the files that say what serves, where a crash kept them from being written.
    pub(crate) fn restore_serving_files(&self) -> Result<(), StudentError> {
        let changes = SignedFiles::open(&self.config.state.join("serving"))?;
        for (index, bytes) in self.state.changes()?.iter().enumerate() {
            changes.put_bytes(&(index + 1).to_string(), bytes)?;
        }
        let versions = SignedFiles::open(&self.config.state.join("versions"))?;
        for (version, verdict) in self.state.version_verdicts()? {
            versions.put_bytes(&version, &verdict)?;
        }
        Ok(())
    }
}
