//! Folders of signed messages, one file each, for people and for offline verification.
//!
//! **Invariant:** a file is whole or absent; writing the same message again changes nothing.

use std::path::{Path, PathBuf};

use seal_protocol::Envelope;
use seal_service::store::{private_folder, write_atomic};
use seal_trust::{envelope_from_file_bytes, envelope_to_bytes};

use crate::error::StudentError;
use crate::student::unwritable;

/// One folder of `<name>.json` envelopes.
#[derive(Clone, Debug)]
pub(crate) struct SignedFiles(PathBuf);

impl SignedFiles {
    /// Opens the folder, creates it if needed.
    pub(crate) fn open(folder: &Path) -> Result<Self, StudentError> {
        private_folder(folder).map_err(|source| unwritable(folder, source))?;
        Ok(Self(folder.to_owned()))
    }

    /// The envelope of that name, still unverified.
    pub(crate) fn get(&self, name: &str) -> Option<Envelope> {
        let bytes = std::fs::read(self.0.join(format!("{name}.json"))).ok()?;
        envelope_from_file_bytes(&bytes).ok()
    }

    /// Writes an envelope under a name, unless these bytes are there already.
    pub(crate) fn put(&self, name: &str, envelope: &Envelope) -> Result<(), StudentError> {
        self.put_bytes(name, &envelope_to_bytes(envelope))
    }

    /// As [`Self::put`], for an envelope in its file form.
    pub(crate) fn put_bytes(&self, name: &str, bytes: &[u8]) -> Result<(), StudentError> {
        let path = self.0.join(format!("{name}.json"));
        if std::fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        write_atomic(&path, bytes).map_err(|source| unwritable(&path, source))
    }
}
