//! Trust root files, drafts and public keys on disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use seal_protocol::UnixSeconds;
use seal_service::clock::{Clock, SystemClock};
use seal_trust::{PublicKey, RootDraft, SigningKey, TrustRoot, TrustedRoot, sha256};

use crate::cli::Global;
use crate::run_dir::RunDir;

pub(super) fn now() -> UnixSeconds {
    SystemClock.now()
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// The trust root that a command is about: the one named, else the run folder's.
pub(super) fn root_path(global: &Global, named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None => Ok(RunDir::find(global.run.as_deref())?.trust_root_file()),
    }
}

/// A trust root of one's own disk, expired or not: the caller vouches for the file.
pub(super) fn root(path: &Path) -> Result<TrustedRoot> {
    let file = read(path)?;
    TrustRoot::open_for_update(&file, sha256(&file))
        .with_context(|| format!("`{}` is no trust root", path.display()))
}

/// Where a trust root's next version is drafted.
pub(super) fn next_path(root: &Path) -> PathBuf {
    let stem = root.file_stem().unwrap_or_default().to_string_lossy();
    root.with_file_name(format!("{stem}.next.json"))
}

pub(super) fn draft(path: &Path, previous: Option<&TrustedRoot>) -> Result<RootDraft> {
    let file = read(path)?;
    RootDraft::open(&file, previous)
        .with_context(|| format!("`{}` is no draft that can be signed", path.display()))
}

pub(super) fn public_key(path: &Path) -> Result<PublicKey> {
    let pem = String::from_utf8(read(path)?).unwrap_or_default();
    PublicKey::from_pem(&pem)
        .with_context(|| format!("`{}` holds no public key; it ends in .pub.pem", path.display()))
}

/// Writes a file that was not there.
pub(in crate::commands) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.with_context(|| format!("cannot write `{}`; nothing is overwritten", path.display()))
}

/// A private key for its owner alone and its public half beside it; neither file may exist.
pub(super) fn write_key_pair(private: &Path, public: &Path) -> Result<PublicKey> {
    ensure!(!public.exists(), "`{}` exists and is not overwritten", public.display());
    let key = SigningKey::generate();
    key.write(private)?;
    write_new(public, key.public().to_pem().as_bytes())?;
    Ok(key.public())
}
