//! How far a job came, on disk: an own file for each, beside the training files.
//!
//! **Invariant:** what is about to be sent is kept before it is sent, and what came of it before it is used.

use std::path::{Path, PathBuf};

use seal_protocol::Digest;
use seal_service::store::{private_folder, write_atomic};
use serde::{Deserialize, Serialize};

use super::error::NotTuned;

/// What is made at the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thing {
    File,
    Job,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Making {
    /// A request may have left.
    asked: bool,
    /// What the endpoint calls it.
    id: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    file: Making,
    job: Making,
}

/// The progress of one job.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    progress: Progress,
}

impl Kept {
    /// Opens what is kept under `key`, and keeps the training file under its digest.
    pub(super) fn open(
        folder: &Path,
        key: &Digest,
        (sha256, content): (&Digest, &str),
    ) -> Result<Self, NotTuned> {
        private_folder(folder).map_err(|source| failed(folder, source))?;
        let file = folder.join(format!("{sha256}.jsonl"));
        if !std::fs::read(&file).is_ok_and(|there| there == content.as_bytes()) {
            write_atomic(&file, content.as_bytes()).map_err(|source| failed(&file, source))?;
        }
        let path = folder.join(format!("{key}.json"));
        let progress = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| failed(&path, std::io::Error::other(error)))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Progress::default(),
            Err(source) => return Err(failed(&path, source)),
        };
        Ok(Self { path, progress })
    }

    pub(super) fn id(&self, thing: Thing) -> Option<String> {
        self.making(thing).id.clone()
    }

    pub(super) fn was_asked(&self, thing: Thing) -> bool {
        self.making(thing).asked
    }

    /// A request for it is about to leave.
    pub(super) fn asking(&mut self, thing: Thing) -> Result<(), NotTuned> {
        self.change(thing, Making { asked: true, id: None })
    }

    /// It was made.
    pub(super) fn made(&mut self, thing: Thing, id: &str) -> Result<(), NotTuned> {
        self.change(thing, Making { asked: true, id: Some(id.to_owned()) })
    }

    /// It came to nothing: whoever asks again begins anew.
    pub(super) fn forget(&self) -> Result<(), NotTuned> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed(&self.path, error))
            }
            _ => Ok(()),
        }
    }

    fn making(&self, thing: Thing) -> &Making {
        match thing {
            Thing::File => &self.progress.file,
            Thing::Job => &self.progress.job,
        }
    }

    fn change(&mut self, thing: Thing, making: Making) -> Result<(), NotTuned> {
        match thing {
            Thing::File => self.progress.file = making,
            Thing::Job => self.progress.job = making,
        }
        // Strings and flags only: it always has a JSON form.
        let bytes = serde_json::to_vec(&self.progress).unwrap_or_default();
        write_atomic(&self.path, &bytes).map_err(|source| failed(&self.path, source))
    }
}

fn failed(path: &Path, source: std::io::Error) -> NotTuned {
    NotTuned::Storage { path: path.to_owned(), source }
}
