//! Replay files of the policy update: lines that keep the policy's knowledge and refusals.

use std::path::{Path, PathBuf};

use seal_protocol::Digest;
use serde::{Deserialize, Serialize};

use crate::config::ReplayQuota;

/// A replay file in memory.
#[derive(Clone, Debug)]
pub(crate) struct ReplayLines {
    pub(crate) lines: Vec<String>,
    /// Drawn from it in each step.
    pub(crate) quota: usize,
    pub(crate) recorded: RecordedQuota,
}

/// A replay file as it enters the recipe's digest.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RecordedQuota {
    name: String,
    sha256: Digest,
    lines: usize,
}

/// A replay file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Not there or not readable.
    #[error("cannot read replay file `{}`: {source}; name an existing file in `policy_update.replay`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row of another shape.
    #[error("replay file `{}`, line {line}: {reason}; each line must read {{\"text\": \"…\"}}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Nothing to draw from.
    #[error("replay file `{}` is empty; add lines or set its `lines = 0`", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    text: String,
}

/// Reads one replay file.
pub(crate) fn read(quota: &ReplayQuota) -> Result<ReplayLines, ReplayError> {
    let path = &quota.file;
    let failed = |source| ReplayError::Read { path: path.clone(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let lines = rows(path, &text)?;
    if lines.is_empty() && quota.lines > 0 {
        return Err(ReplayError::Empty { path: path.clone() });
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let recorded = RecordedQuota {
        name: name.unwrap_or_default(),
        sha256: seal_trust::sha256(text.as_bytes()),
        lines: quota.lines,
    };
    Ok(ReplayLines { lines, quota: quota.lines, recorded })
}

fn rows(path: &Path, text: &str) -> Result<Vec<String>, ReplayError> {
    let rows = text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty());
    rows.map(|(index, row)| match serde_json::from_str::<Row>(row) {
        Ok(row) => Ok(row.text),
        Err(error) => Err(ReplayError::Row {
            path: path.to_owned(),
            line: index + 1,
            reason: error.to_string(),
        }),
    })
    .collect()
}
