//! Suites on disk, in the auditor's folder, each with a record that pins it.
//!
//! ```text
//! auditor/suites/NAME-exact.jsonl         questions with gold answers
//! auditor/suites/NAME-exact.import.json   their digest, the sources' digests, how they are judged, what
//!                                         was left out
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use seal_auditor::grading::Grading;
use seal_protocol::Digest;
use serde::Serialize;

use super::super::write::{json_lines, put};
use super::super::{LeftOut, SourceFile};
use super::{Judged, Suites};

const FOLDER: &str = "auditor/suites";

/// `NAME-….import.json`. It names questions by their place alone.
#[derive(Serialize)]
struct Record<'a> {
    version: u32,
    format: &'a str,
    sources: &'a [SourceFile],
    items: usize,
    suite_sha256: Digest,
    /// As `[grading]` of `auditor.toml` takes it.
    grading: Grading,
    left_out: &'a [LeftOut],
}

/// A suite that was written.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    pub(crate) items: usize,
    pub(crate) sha256: Digest,
    pub(crate) grading: Grading,
}

/// Writes every suite under `folder`, a run folder or a new one. All bytes are made before the first
/// file is.
///
/// # Errors
/// Files that are there already and not to be replaced; a disk that refuses.
pub(crate) fn write(
    folder: &Path,
    name: &str,
    format: &str,
    suites: &Suites,
    replace: bool,
) -> Result<Vec<Written>> {
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let mut written = Vec::new();
    for (judged, items) in &suites.items {
        let bytes = json_lines(items)?;
        let record = Record {
            version: 1,
            format,
            sources: &suites.files,
            items: items.len(),
            suite_sha256: seal_trust::sha256(&bytes),
            grading: judged.grading(),
            left_out: &suites.left_out,
        };
        let path = path(folder, name, *judged, "jsonl");
        let (sha256, grading) = (record.suite_sha256, record.grading);
        written.push(Written { path: path.clone(), items: items.len(), sha256, grading });
        files.push((path, bytes));
        let pinned = serde_json::to_vec_pretty(&record)?;
        files.push((self::path(folder, name, *judged, "import.json"), pinned));
    }
    let there = files.iter().map(|(path, _)| path).find(|path| path.exists());
    if let Some(there) = there.filter(|_| !replace) {
        bail!("`{}` exists already; give another --name, or --replace it", there.display());
    }
    for (path, bytes) in &files {
        put(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(written)
}

fn path(folder: &Path, name: &str, judged: Judged, ending: &str) -> PathBuf {
    folder.join(FOLDER).join(format!("{name}-{}.{ending}", judged.name()))
}
