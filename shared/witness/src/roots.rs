//! Which trust root is in force for a role: the newest that it ever accepted, or the one that
//! follows it.
//!
//! A role keeps the trust root it accepted in its own state folder. At its start it looks at the
//! file that its config names and goes from the kept version to that one step by step, each signed
//! by the one before. Versions in between lie beside the file as `root.1.json`, `root.2.json`, ….
//!
//! **Invariant:** a version is kept durably before it is used, and none below the kept one is used.
//! **Invariant:** an expired one is used for nothing but to get to its successor.

use std::path::{Path, PathBuf};

use seal_protocol::{Digest, UnixSeconds};
use seal_service::store::{private_folder, write_atomic};
use seal_trust::{RootChain, TrustRoot, TrustedRoot, VerifyError, sha256};

/// Name of the kept trust root in a role's state folder.
pub const KEPT_FILE: &str = "trust-root.json";

/// Where a role finds its trust root.
#[derive(Clone, Copy, Debug)]
pub struct RootSource<'a> {
    /// The file that the config names: the newest version.
    pub file: &'a Path,
    /// Digest of the first version, as the config pins it; `None`: the file is taken as it is.
    pub pinned: Option<Digest>,
    /// The role's own folder.
    pub state: &'a Path,
}

/// No trust root that this role may go by.
#[derive(Debug, thiserror::Error)]
pub enum RootInForceError {
    /// A file that cannot be read.
    #[error("cannot read the trust root `{}`; set `trust_root` to an existing file", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The state folder does not take it.
    #[error("cannot keep the trust root in `{}`; check disk and owner", path.display())]
    Keep {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Signatures, rules, expiry.
    #[error("the trust root `{}` is not to be trusted: {source}", path.display())]
    Verify {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: VerifyError,
    },
    /// An older version than one that was accepted.
    #[error(
        "the trust root `{}` is version {found}, this role has accepted version {kept} before: \
         somebody took it back; install version {kept} or a later one", path.display()
    )]
    RolledBack {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The accepted one.
        kept: u64,
    },
    /// Two documents under one number.
    #[error(
        "the trust root `{}` is another version {version} than the one this role has accepted: \
         its owners signed two; ask them which holds", path.display()
    )]
    Forked {
        /// Which file.
        path: PathBuf,
        /// The number that both bear.
        version: u64,
    },
    /// A step that is not there.
    #[error(
        "version {version} of the trust root is missing: put it beside the newest as `{}`", path.display()
    )]
    StepMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// Its number.
        version: u64,
    },
    /// The pinned first version is not there.
    #[error(
        "neither `{}` nor an earlier version beside it has the pinned digest {pinned}: this is \
         another trust root", path.display()
    )]
    NotPinned {
        /// The config's file.
        path: PathBuf,
        /// As configured.
        pinned: Digest,
    },
}

/// Where version `version` lies beside the newest file.
pub fn version_file(newest: &Path, version: u64) -> PathBuf {
    let stem = newest.file_stem().unwrap_or_default().to_string_lossy();
    newest.with_file_name(format!("{stem}.{version}.json"))
}

/// The files of earlier versions beside the newest, as far as there are.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn predecessor_files(newest: &TrustedRoot, file: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let paths = (1..newest.root().version).map(|version| version_file(file, version));
    paths.filter(|path| path.exists()).map(std::fs::read).collect()
}

impl RootSource<'_> {
    /// The trust root in force with the earlier versions beside it. The newest is kept before it is
    /// returned. Call it before the process is confined.
    ///
    /// # Errors
    /// See [`RootInForceError`]; then nothing was kept that does not hold.
    pub fn in_force(&self, now: UnixSeconds) -> Result<RootChain, RootInForceError> {
        let offered = read(self.file)?;
        let kept_file = self.state.join(KEPT_FILE);
        let begin = if kept_file.exists() {
            let kept = read(&kept_file)?;
            self.opened(&kept_file, TrustRoot::open_for_update(&kept, sha256(&kept)))?
        } else {
            self.first(&offered, now)?
        };
        let newest = self.walk(begin, &offered)?;
        // Looking at the clock last: expired versions lead to newer ones.
        self.opened(self.file, newest.refuse_expired(now).map_err(VerifyError::from))?;
        let earlier = predecessor_files(&newest, self.file)
            .map_err(|source| RootInForceError::Read { path: self.file.to_owned(), source })?;
        let chain = self.opened(self.file, RootChain::new(newest, &earlier))?;
        self.keep(&kept_file, chain.newest())?;
        Ok(chain)
    }

    /// The version that the config pins.
    fn first(&self, offered: &[u8], now: UnixSeconds) -> Result<TrustedRoot, RootInForceError> {
        let Some(pinned) = self.pinned else {
            return self.opened(self.file, TrustRoot::open(offered, None, now));
        };
        if sha256(offered) == pinned {
            return self.opened(self.file, TrustRoot::open_for_update(offered, pinned));
        }
        for version in 1.. {
            let path = version_file(self.file, version);
            if !path.exists() {
                break;
            }
            let file = read(&path)?;
            if sha256(&file) == pinned {
                return self.opened(&path, TrustRoot::open_for_update(&file, pinned));
            }
        }
        Err(RootInForceError::NotPinned { path: self.file.to_owned(), pinned })
    }

    /// From one version to the offered one, step by step.
    fn walk(&self, begin: TrustedRoot, offered: &[u8]) -> Result<TrustedRoot, RootInForceError> {
        if begin.digest() == sha256(offered) {
            return Ok(begin);
        }
        let path = || self.file.to_owned();
        let found = self.opened(self.file, TrustRoot::version_of(offered))?;
        let kept = begin.root().version;
        if found < kept {
            return Err(RootInForceError::RolledBack { path: path(), found, kept });
        }
        if found == kept {
            return Err(RootInForceError::Forked { path: path(), version: found });
        }
        let mut current = begin;
        for version in kept + 1..found {
            let path = version_file(self.file, version);
            if !path.exists() {
                return Err(RootInForceError::StepMissing { path, version });
            }
            current = self.opened(&path, current.successor(&read(&path)?))?;
        }
        self.opened(self.file, current.successor(offered))
    }

    fn keep(&self, path: &Path, root: &TrustedRoot) -> Result<(), RootInForceError> {
        if std::fs::read(path).is_ok_and(|kept| kept == root.file()) {
            return Ok(());
        }
        let failed = |source| RootInForceError::Keep { path: path.to_owned(), source };
        private_folder(self.state).map_err(failed)?;
        write_atomic(path, root.file()).map_err(failed)
    }

    fn opened<T>(
        &self,
        path: &Path,
        outcome: Result<T, VerifyError>,
    ) -> Result<T, RootInForceError> {
        outcome.map_err(|source| RootInForceError::Verify { path: path.to_owned(), source })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RootInForceError> {
    std::fs::read(path).map_err(|source| RootInForceError::Read { path: path.to_owned(), source })
}
