//! The policies: the first one, and those that policy updates made.
//!
//! A policy is a model folder of its own (weights with copies of the first policy's config and
//! tokenizer), whatever the first one is, or an adapter over the first policy in PEFT's format;
//! [`crate::policy_name`] says what each is called.
//!
//! **Invariant:** a folder under `policies/` is whole; it is filled under another name and renamed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use seal_model::device::Opened;
use seal_model::fit::Work;
use seal_model::{Adapter, Decoder, ModelError, folder_digest};
use seal_protocol::Digest;
use seal_service::store::{private_folder, sync_folder, write_atomic};

use crate::edits::unwritable;
use crate::error::TeacherError;
use crate::first_policy::FirstPolicy;
use crate::policy_name::{adapter_in, as_base, is_adapter, of_adapter};

/// Where a policy is filled.
const PARTIAL: &str = ".partial";

/// The first policy and the folder of later ones.
pub(crate) struct Policies {
    first_policy: Arc<FirstPolicy>,
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
        first_policy: Arc<FirstPolicy>,
        folder: PathBuf,
        opened: Opened,
        works: Vec<Work>,
    ) -> Result<Self, TeacherError> {
        private_folder(&folder).map_err(|source| unwritable(&folder, source))?;
        Ok(Self {
            // Before the digest, which reads every weight.
            first: first_policy.decoder(&opened, &works)?,
            first_digest: first_policy.digest()?,
            first_policy,
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
        // What was merged for another policy goes first: each copy is as large as the weights it changes.
        self.last = None;
        let decoder = match self.adapter(digest)? {
            Some(adapter) => self.first.merged(&adapter)?,
            None => {
                let found = Digest::from_bytes(folder_digest(&folder)?);
                if found != digest {
                    let reason = format!("its files have digest {}", found.short());
                    return Err(TeacherError::Damaged { path: folder, reason });
                }
                load(&folder, &self.opened, &self.works)?
            }
        };
        self.last = Some((digest, decoder.clone()));
        Ok(decoder)
    }

    /// The adapter that a policy is, hashed anew; `None` for one with weights of its own.
    fn adapter(&self, digest: Digest) -> Result<Option<Adapter>, TeacherError> {
        let folder = self.folder.join(digest.to_string());
        if !is_adapter(&folder) {
            return Ok(None);
        }
        let adapter = adapter_in(&folder, self.first.config(), &self.first_digest)?;
        match of_adapter(&self.first_digest, &adapter)? {
            found if found == digest => Ok(Some(adapter)),
            found => {
                let reason = format!("its adapter makes the policy {}", found.short());
                Err(TeacherError::Damaged { path: folder, reason })
            }
        }
    }

    /// Stores what an adapter makes of a policy that is one itself, or the first, and returns its digest.
    ///
    /// # Errors
    /// A parent with weights of its own, on which no adapter over the first policy can stand.
    pub(crate) fn put_adapter(
        &mut self,
        parent: Digest,
        learned: &Adapter,
    ) -> Result<Digest, TeacherError> {
        let whole = if parent == self.first_digest {
            learned.clone()
        } else {
            let before = self.adapter(parent)?.ok_or_else(|| {
                TeacherError::Config(format!(
                    "the policy {} has weights of its own, and [policy_update.lora] learns adapters \
                     over the first policy; leave the table out, or begin a run with it",
                    parent.short()
                ))
            })?;
            before.stacked(self.first.config(), learned)?
        };
        let digest = of_adapter(&self.first_digest, &whole)?;
        let base = as_base(&self.first_digest);
        self.keep(digest, |partial| Ok(whole.save_peft(partial, base)?))?;
        // As in `load`.
        self.last = None;
        self.last = Some((digest, self.first.merged(&whole)?));
        Ok(digest)
    }

    /// Stores a policy durably and returns its digest. Storing twice changes nothing.
    pub(crate) fn put(&mut self, policy: &Decoder) -> Result<Digest, TeacherError> {
        let partial = self.cleared()?;
        self.fill(&partial, policy)?;
        let digest = Digest::from_bytes(folder_digest(&partial)?);
        self.rename(digest)?;
        self.last = Some((digest, policy.computing(self.opened.products)));
        Ok(digest)
    }

    /// Fills a folder and gives it its name.
    fn keep(
        &self,
        digest: Digest,
        fill: impl FnOnce(&Path) -> Result<(), TeacherError>,
    ) -> Result<(), TeacherError> {
        let partial = self.cleared()?;
        fill(&partial)?;
        sync_files(&partial)?;
        self.rename(digest)
    }

    fn cleared(&self) -> Result<PathBuf, TeacherError> {
        let partial = self.folder.join(PARTIAL);
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|source| unwritable(&partial, source))?;
        }
        Ok(partial)
    }

    fn rename(&self, digest: Digest) -> Result<(), TeacherError> {
        let (partial, folder) = (self.folder.join(PARTIAL), self.folder.join(digest.to_string()));
        let failed = |source| unwritable(&partial, source);
        match folder.exists() {
            true => fs::remove_dir_all(&partial).map_err(failed)?,
            false => fs::rename(&partial, &folder).map_err(failed)?,
        }
        sync_folder(&self.folder).map_err(failed)
    }

    fn fill(&self, partial: &Path, policy: &Decoder) -> Result<(), TeacherError> {
        policy.save(partial).map_err(|error| match error {
            ModelError::File { path, source } => unwritable(&path, source),
            other => other.into(),
        })?;
        let failed = |source| unwritable(partial, source);
        for (name, bytes) in self.first_policy.companions()? {
            write_atomic(&partial.join(name), &bytes).map_err(failed)?;
        }
        sync_files(partial)
    }
}

/// The policy in `folder`, computing as `opened` says, if `works` fit there.
fn load(folder: &Path, opened: &Opened, works: &[Work]) -> Result<Decoder, TeacherError> {
    Ok(Decoder::load_for(folder, &opened.device, works)?.computing(opened.products))
}

/// Makes the files of a folder durable, and their names in it.
fn sync_files(folder: &Path) -> Result<(), TeacherError> {
    let failed = |source| unwritable(folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        File::open(path).and_then(|file| file.sync_all()).map_err(failed)?;
    }
    sync_folder(folder).map_err(failed)
}
