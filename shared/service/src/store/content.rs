//! A folder of files named by the digest of their bytes.
//!
//! **Invariant:** a file under a name holds the bytes of that name; [`ContentStore::get`] checks it
//! again on every read, so a flipped bit on disk is found and never served.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use seal_protocol::Digest;

use super::atomic::{TEMP_PREFIX, create_new, private_folder, sync_folder, temp_in};
use crate::hash::{Hasher, sha256};

/// A content-addressed folder: files `<hex>` or `<hex>.<extension>`.
#[derive(Clone, Debug)]
pub struct ContentStore {
    folder: PathBuf,
    extension: Option<&'static str>,
}

/// Why a file did not come back.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing is stored under this digest.
    #[error("no file with digest {digest} in `{}`", folder.display())]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
        /// What was asked for.
        digest: Digest,
    },
    /// The bytes are not those that were stored.
    #[error("`{}` is damaged: its content has digest {found}; restore it from a copy or delete it and produce it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Digest of what it holds now.
        found: Digest,
    },
    /// The system refused.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl ContentStore {
    /// Opens `folder`, creates it if needed (mode 0700) and sweeps files left by a crash.
    ///
    /// # Errors
    /// Any refusal of the system.
    pub fn new(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        private_folder(&folder)?;
        sweep(&folder)?;
        Ok(Self { folder, extension: None })
    }

    /// The same folder with names that end in `.extension`.
    #[must_use]
    pub fn with_extension(self, extension: &'static str) -> Self {
        Self { extension: Some(extension), ..self }
    }

    /// Stores `bytes` durably and returns their digest. Storing twice changes nothing.
    ///
    /// # Errors
    /// Any refusal of the system; nothing half-written stays under the name.
    pub fn put(&self, bytes: &[u8]) -> io::Result<Digest> {
        let digest = sha256(bytes);
        let mut incoming = self.incoming()?;
        incoming.write(bytes)?;
        incoming.keep()?;
        Ok(digest)
    }

    /// The bytes stored under `digest`, hashed anew.
    ///
    /// # Errors
    /// Missing, damaged, or unreadable.
    pub fn get(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.path(digest);
        let bytes = std::fs::read(&path).map_err(|source| self.unread(digest, source))?;
        match sha256(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(StoreError::Damaged { path, found }),
        }
    }

    /// Whether a file of that name is there. Its content is not looked at.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Where the bytes of `digest` lie, stored or not.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        match self.extension {
            Some(extension) => self.folder.join(format!("{digest}.{extension}")),
            None => self.folder.join(digest.to_string()),
        }
    }

    /// Starts a file whose digest is known only at its end.
    pub(crate) fn incoming(&self) -> io::Result<Incoming> {
        let temp = temp_in(&self.folder);
        let file = create_new(&temp)?;
        Ok(Incoming { store: self.clone(), file, temp, hasher: Hasher::default() })
    }

    fn unread(&self, digest: &Digest, source: io::Error) -> StoreError {
        match source.kind() {
            io::ErrorKind::NotFound => {
                StoreError::Missing { folder: self.folder.clone(), digest: *digest }
            }
            _ => StoreError::Unreadable { path: self.path(digest), source },
        }
    }
}

/// A file on its way into the store. Dropped without [`Incoming::keep`], it is gone.
pub(crate) struct Incoming {
    store: ContentStore,
    file: File,
    temp: PathBuf,
    hasher: Hasher,
}

impl Incoming {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }

    /// Makes the file durable under its digest, or drops it if `expected` is another one.
    pub(crate) fn keep_if(mut self, expected: &Digest) -> io::Result<Result<(), Digest>> {
        let found = std::mem::take(&mut self.hasher).finish();
        if found != *expected {
            return Ok(Err(found));
        }
        self.store_as(&found).map(Ok)
    }

    fn keep(mut self) -> io::Result<()> {
        let digest = std::mem::take(&mut self.hasher).finish();
        self.store_as(&digest)
    }

    fn store_as(&self, digest: &Digest) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.temp, self.store.path(digest))?;
        sync_folder(&self.store.folder)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // After a rename there is nothing under this name any more.
        let _ = std::fs::remove_file(&self.temp);
    }
}

fn sweep(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_comes_back_under_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::new(folder.path()).unwrap().with_extension("json");
        let digest = store.put(b"bytes").unwrap();
        assert_eq!(store.put(b"bytes").unwrap(), digest);
        assert_eq!(store.get(&digest).unwrap(), b"bytes");
        assert!(store.path(&digest).ends_with(format!("{digest}.json")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_flipped_byte_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::new(folder.path()).unwrap();
        let digest = store.put(b"bytes").unwrap();
        std::fs::write(store.path(&digest), b"bytez").unwrap();
        let error = store.get(&digest).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(&digest.to_string()));
    }

    #[test]
    fn a_missing_file_and_a_wrong_digest_are_told_apart_from_damage() {
        let folder = tempfile::tempdir().unwrap();
        let store = ContentStore::new(folder.path()).unwrap();
        let other = sha256(b"other");
        assert!(matches!(store.get(&other), Err(StoreError::Missing { .. })));
        let mut incoming = store.incoming().unwrap();
        incoming.write(b"bytes").unwrap();
        assert_eq!(incoming.keep_if(&other).unwrap(), Err(sha256(b"bytes")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_crash_in_the_middle_of_a_write_is_swept_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(".tmp-1-0"), b"half").unwrap();
        ContentStore::new(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
