//! A role's own private key, held against the trust root.

use std::path::{Path, PathBuf};

use seal_protocol::Role;
use seal_trust::{KeyError, SigningKey, TrustedRoot};

/// A key that a role cannot speak with.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// Not readable, exposed, or no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A stranger's, or another role's.
    #[error(
        "the key `{}` is no {role} key of the trust root (version {version}): use the key that was \
         made with it, or `seal trust rotate {role}`", path.display()
    )]
    NotOfRole {
        /// The file.
        path: PathBuf,
        /// The role it is needed for.
        role: Role,
        /// Of the trust root.
        version: u64,
    },
    /// Nobody would believe what it signs.
    #[error(
        "the key `{}` is revoked: make a new one and `seal trust rotate {role}`", path.display()
    )]
    Revoked {
        /// The file.
        path: PathBuf,
        /// Its role.
        role: Role,
    },
}

/// Reads a role's private key.
///
/// # Errors
/// A file that is missing, exposed or no key; a key of no or another role; a revoked one.
pub fn own_key(root: &TrustedRoot, role: Role, path: &Path) -> Result<SigningKey, OwnKeyError> {
    let key = SigningKey::read(path)?;
    let path = || path.to_owned();
    if root.role_of(&key.public()) != Some(role) {
        return Err(OwnKeyError::NotOfRole { path: path(), role, version: root.root().version });
    }
    match root.revoked_from(&key.public()) {
        Some(_) => Err(OwnKeyError::Revoked { path: path(), role }),
        None => Ok(key),
    }
}
