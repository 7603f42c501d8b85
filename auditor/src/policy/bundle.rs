//! A policy bundle: the Rego files of one folder, tests included, under one digest.
//!
//! The digest is over the canonical JSON of all names and texts, and that JSON is also the form in
//! which a bundle is kept beside the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seal_protocol::Digest;
use seal_trust::{CanonicalError, canonical_json, sha256};
use serde::{Deserialize, Serialize};

/// Longest bundle, in bytes over all its files.
const MAX_BYTES: u64 = 1 << 20;
/// Most files.
const MAX_FILES: usize = 64;
/// The one file of a bundle that is no Rego: limits and lists that the rules read as `data`.
pub(super) const DATA_FILE: &str = "data.json";

/// Files by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    files: BTreeMap<String, String>,
}

/// A folder that is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not readable.
    #[error("cannot read `{}`: {source}; name an existing folder under `[policy] bundle`", path.display())]
    Read {
        /// Folder or file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something that stock `opa` would load and this program would not.
    #[error(
        "`{}` does not belong into a policy bundle: it holds `*.rego` files and at most a `data.json`, \
         and no folders", path.display()
    )]
    Stranger {
        /// Which.
        path: PathBuf,
    },
    /// No rules.
    #[error("`{}` holds no `.rego` file", path.display())]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// Too much.
    #[error("`{}` is larger than {MAX_FILES} files of {MAX_BYTES} bytes together", path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
    },
    /// A kept bundle whose bytes are not what its name says.
    #[error("not a kept policy bundle: {0}")]
    Kept(String),
}

impl Bundle {
    /// Reads a folder.
    ///
    /// # Errors
    /// A folder that cannot be read, is empty or too large, or holds what does not belong there.
    pub fn read(folder: &Path) -> Result<Self, BundleError> {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| BundleError::Read { path, source }
        };
        let (mut files, mut total) = (BTreeMap::new(), 0);
        for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
            let path = entry.map_err(unreadable(folder))?.path();
            let Some(name) = rego_or_data(&path)? else { continue };
            total += path.metadata().map_err(unreadable(&path))?.len();
            if total > MAX_BYTES || files.len() == MAX_FILES {
                return Err(BundleError::TooLarge { path: folder.to_owned() });
            }
            files.insert(name, std::fs::read_to_string(&path).map_err(unreadable(&path))?);
        }
        if !files.keys().any(|name| is_rego(name)) {
            return Err(BundleError::Empty { path: folder.to_owned() });
        }
        Ok(Self { files })
    }

    /// Files given as texts.
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        Self { files: files.into_iter().map(owned).collect() }
    }

    /// The form that is kept and digested.
    ///
    /// # Errors
    /// None that strings can cause.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical_json(self)
    }

    /// Reads the kept form, which must have the digest it is named by.
    ///
    /// # Errors
    /// Other bytes than those that were kept.
    pub fn from_bytes(bytes: &[u8], digest: Digest) -> Result<Self, BundleError> {
        if sha256(bytes) != digest {
            return Err(BundleError::Kept("its bytes are not those its name says".to_owned()));
        }
        serde_json::from_slice(bytes).map_err(|error| BundleError::Kept(error.to_string()))
    }

    /// SHA-256 of the kept form.
    ///
    /// # Errors
    /// None that strings can cause.
    pub fn digest(&self) -> Result<Digest, CanonicalError> {
        self.to_bytes().map(|bytes| sha256(&bytes))
    }

    pub(super) fn rego(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(|(name, _)| is_rego(name));
        files.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub(super) fn data(&self) -> Option<&str> {
        self.files.get(DATA_FILE).map(String::as_str)
    }
}

fn is_rego(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rego")
}

/// The name of a file that belongs to a bundle; `None` for a file that nobody would load.
fn rego_or_data(path: &Path) -> Result<Option<String>, BundleError> {
    let stranger = || BundleError::Stranger { path: path.to_owned() };
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(stranger)?;
    if path.is_dir() {
        return Err(stranger());
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("rego") => Ok(Some(name.to_owned())),
        Some("json") if name == DATA_FILE => Ok(Some(name.to_owned())),
        Some("json" | "yaml" | "yml") => Err(stranger()),
        _ => Ok(None),
    }
}
