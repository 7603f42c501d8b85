//! The policies: the first one, and those that policy updates made.
//!
//! A policy is a model folder of its own (weights with copies of the first policy's config and
//! tokenizer), named by its folder digest: the same function that names base models.
//!
//! **Invariant:** a folder under `policies/` is whole; it is filled under another name and renamed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use seal_model::device::Opened;
use seal_model::fit::Work;
use seal_model::{Decoder, ModelError, folder_digest};
use seal_protocol::Digest;
use seal_service::store::write_atomic;

use crate::edits::unwritable;
use crate::error::TeacherError;

/// Files beside the weights that decide what a policy computes and how it is talked to.
const COMPANIONS: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "generation_config.json",
    "chat_template.jinja",
    "tokenizer_config.json",
    "special_tokens_map.json",
];
/// Where a policy is filled.
const PARTIAL: &str = ".partial";

/// The first policy and the folder of later ones.
pub(crate) struct Policies {
    first_folder: PathBuf,
    first_digest: Digest,
    first: Decoder,
    opened: Opened,
    works: Vec<Work>,
    folder: PathBuf,
    /// The last one that was asked for; sampling comes in many requests on one policy.
    last: Option<(Digest, Decoder)>,
}

impl Policies {
    /// Loads the first policy, if `works` fit on the device, and opens the folder of later ones.
    pub(crate) fn open(
        first_folder: &Path,
        folder: PathBuf,
        opened: Opened,
        works: Vec<Work>,
    ) -> Result<Self, TeacherError> {
        fs::create_dir_all(&folder).map_err(|source| unwritable(&folder, source))?;
        Ok(Self {
            first_folder: first_folder.to_owned(),
            // Before the digest, which reads every weight.
            first: load(first_folder, &opened, &works)?,
            first_digest: Digest::from_bytes(folder_digest(first_folder)?),
            opened,
            works,
            folder,
            last: None,
        })
    }

    /// The policy before any update.
    pub(crate) fn first_digest(&self) -> Digest {
        self.first_digest
    }

    /// A policy by digest. Its folder is hashed anew before it is used.
    pub(crate) fn get(&mut self, digest: Digest) -> Result<Decoder, TeacherError> {
        if digest == self.first_digest {
            return Ok(self.first.clone());
        }
        match &self.last {
            Some((last, decoder)) if *last == digest => Ok(decoder.clone()),
            _ => self.load(digest),
        }
    }

    fn load(&mut self, digest: Digest) -> Result<Decoder, TeacherError> {
        let folder = self.folder.join(digest.to_string());
        if !folder.is_dir() {
            return Err(TeacherError::PolicyUnknown(digest));
        }
        let found = Digest::from_bytes(folder_digest(&folder)?);
        if found != digest {
            let reason = format!("its files have digest {}", found.short());
            return Err(TeacherError::Damaged { path: folder, reason });
        }
        let decoder = load(&folder, &self.opened, &self.works)?;
        self.last = Some((digest, decoder.clone()));
        Ok(decoder)
    }

    /// Stores a policy durably and returns its digest. Storing twice changes nothing.
    pub(crate) fn put(&mut self, policy: &Decoder) -> Result<Digest, TeacherError> {
        let partial = self.folder.join(PARTIAL);
        let failed = |source| unwritable(&partial, source);
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(failed)?;
        }
        self.fill(&partial, policy)?;
        let digest = Digest::from_bytes(folder_digest(&partial)?);
        let folder = self.folder.join(digest.to_string());
        match folder.exists() {
            true => fs::remove_dir_all(&partial).map_err(failed)?,
            false => fs::rename(&partial, &folder).map_err(failed)?,
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        self.last = Some((digest, policy.computing(self.opened.products)));
        Ok(digest)
    }

    fn fill(&self, partial: &Path, policy: &Decoder) -> Result<(), TeacherError> {
        policy.save(partial).map_err(|error| match error {
            ModelError::File { path, source } => unwritable(&path, source),
            other => other.into(),
        })?;
        let failed = |source| unwritable(partial, source);
        for name in COMPANIONS {
            let original = self.first_folder.join(name);
            if original.is_file() {
                let bytes = fs::read(&original).map_err(failed)?;
                write_atomic(&partial.join(name), &bytes).map_err(failed)?;
            }
        }
        for entry in fs::read_dir(partial).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            File::open(path).and_then(|file| file.sync_all()).map_err(failed)?;
        }
        Ok(())
    }
}

/// The policy in `folder`, computing as `opened` says, if `works` fit there.
fn load(folder: &Path, opened: &Opened, works: &[Work]) -> Result<Decoder, TeacherError> {
    Ok(Decoder::load_for(folder, &opened.device, works)?.computing(opened.products))
}
