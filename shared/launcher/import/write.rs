//! The files of an import, each in the folder of the role that may read it.
//!
//! ```text
//! teacher/contexts.jsonl        passages, no questions
//! auditor/tau.jsonl             questions with gold answers, split
//! auditor/suites/retention.jsonl
//! auditor/import.json           sources, shares, what was left out
//! conductor/contexts.json       digests and uses, no texts
//! ```

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use seal_protocol::Digest;
use serde::Serialize;

use super::{LeftOut, Parts, Shares, SourceFile};

const CONTEXTS: &str = "teacher/contexts.jsonl";
const TAU: &str = "auditor/tau.jsonl";
const RETENTION: &str = "auditor/suites/retention.jsonl";
const RECORD: &str = "auditor/import.json";
const REFS: &str = "conductor/contexts.json";

/// `auditor/import.json`: how the files beside it came about. It names questions by their place alone.
#[derive(Serialize)]
struct Record<'a> {
    version: u32,
    sources: &'a [SourceFile],
    shares: &'a Shares,
    contexts_sha256: Digest,
    tau_sha256: Digest,
    left_out: &'a [LeftOut],
}

/// Writes an import under `folder`, a run folder or a new one. All bytes are made before the first
/// file is.
///
/// # Errors
/// Files that are there already and not to be replaced; a disk that refuses.
pub(crate) fn write(
    folder: &Path,
    parts: &Parts,
    sources: &[SourceFile],
    shares: &Shares,
    replace: bool,
) -> Result<Vec<PathBuf>> {
    let contexts = json_lines(&parts.contexts)?;
    let tau = json_lines(&parts.tau)?;
    let record = Record {
        version: 1,
        sources,
        shares,
        contexts_sha256: seal_trust::sha256(&contexts),
        tau_sha256: seal_trust::sha256(&tau),
        left_out: &parts.left_out,
    };
    let mut files = vec![
        (TAU, tau),
        (RECORD, serde_json::to_vec_pretty(&record)?),
        (CONTEXTS, contexts),
        (REFS, serde_json::to_vec_pretty(&parts.refs)?),
    ];
    if !parts.retention.is_empty() {
        files.push((RETENTION, json_lines(&parts.retention)?));
    }
    let there = files.iter().map(|(name, _)| folder.join(name)).find(|path| path.exists());
    if let Some(there) = there.filter(|_| !replace) {
        bail!(
            "`{}` exists already; name another folder, or replace it with --replace",
            there.display()
        );
    }
    for (name, bytes) in &files {
        put(&folder.join(name), bytes)
            .with_context(|| format!("cannot write `{}`", folder.join(name).display()))?;
    }
    Ok(files.into_iter().map(|(name, _)| folder.join(name)).collect())
}

pub(crate) fn json_lines<T: Serialize>(rows: &[T]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Whole or not at all, readable by the owner alone, in a folder of the owner.
pub(super) fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let partial = path.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(partial, path)
}
