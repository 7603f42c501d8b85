//! The edits this teacher wrote, signed, with the raw replies they were read from.
//!
//! **Invariant:** an edit lies under the digest of its content, so a verdict finds the edit it is
//! about or none. Writing the same edit again changes nothing.

use std::path::{Path, PathBuf};

use seal_protocol::{Digest, Envelope};
use seal_service::store::{private_folder, write_atomic};
use seal_trust::{envelope_from_file_bytes, envelope_to_bytes, sha256};
use serde::{Deserialize, Serialize};

use crate::error::TeacherError;

/// What the policy wrote, word for word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reply {
    /// Stage of the run.
    pub(crate) stage: String,
    /// For which context.
    pub(crate) context_digest: Digest,
    /// Which of its proposals.
    pub(crate) proposal: u32,
    /// Why no edit was read from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unparsed: Option<String>,
    /// As text.
    pub(crate) text: String,
    /// As tokens of the policy.
    pub(crate) tokens: Vec<u32>,
}

/// Three folders: `edits`, `replies`, `unparsed`.
#[derive(Clone, Debug)]
pub(crate) struct EditStore {
    edits: PathBuf,
    replies: PathBuf,
    unparsed: PathBuf,
}

impl EditStore {
    /// Opens the folders under the state folder, creates them if needed.
    pub(crate) fn open(state: &Path) -> Result<Self, TeacherError> {
        let folder = |name: &str| {
            let path = state.join(name);
            private_folder(&path).map_err(|source| unwritable(&path, source))?;
            Ok::<_, TeacherError>(path)
        };
        Ok(Self {
            edits: folder("edits")?,
            replies: folder("replies")?,
            unparsed: folder("unparsed")?,
        })
    }

    /// Keeps an edit and, if a policy wrote it, the reply. The reply comes first: an edit that is
    /// there has its reply.
    pub(crate) fn put(
        &self,
        digest: &Digest,
        envelope: &Envelope,
        reply: Option<&Reply>,
    ) -> Result<(), TeacherError> {
        if let Some(reply) = reply {
            put(&named(&self.replies, digest), &serde_json::to_vec(reply)?)?;
        }
        put(&named(&self.edits, digest), &envelope_to_bytes(envelope))
    }

    /// Keeps a reply that yields no edit, for people.
    pub(crate) fn put_unparsed(&self, reply: &Reply) -> Result<(), TeacherError> {
        let bytes = serde_json::to_vec(reply)?;
        put(&named(&self.unparsed, &sha256(&bytes)), &bytes)
    }

    /// The envelope of an edit, still unverified; `None` if it was never written here.
    pub(crate) fn edit(&self, digest: &Digest) -> Result<Option<Envelope>, TeacherError> {
        let path = named(&self.edits, digest);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        match envelope_from_file_bytes(&bytes) {
            Ok(envelope) => Ok(Some(envelope)),
            Err(error) => Err(damaged(&path, &error)),
        }
    }

    /// The reply behind an edit; `None` if no policy wrote it.
    pub(crate) fn reply(&self, digest: &Digest) -> Result<Option<Reply>, TeacherError> {
        let path = named(&self.replies, digest);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| damaged(&path, &error))
    }

    /// The error for a reply that no longer fits its edit.
    pub(crate) fn reply_damaged(&self, digest: &Digest) -> TeacherError {
        damaged(&named(&self.replies, digest), &"it does not yield its edit any more")
    }

    /// The error for an edit that no longer fits its digest.
    pub(crate) fn edit_damaged(&self, digest: &Digest) -> TeacherError {
        damaged(&named(&self.edits, digest), &"its content has another digest")
    }
}

fn named(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(format!("{digest}.json"))
}

/// Writes bytes unless they are there already.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<(), TeacherError> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    write_atomic(path, bytes).map_err(|source| unwritable(path, source))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, TeacherError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(damaged(path, &error)),
    }
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> TeacherError {
    TeacherError::Damaged { path: path.to_owned(), reason: reason.to_string() }
}

pub(crate) fn unwritable(path: &Path, source: std::io::Error) -> TeacherError {
    TeacherError::Write { path: path.to_owned(), source }
}
