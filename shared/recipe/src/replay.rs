//! Replay: lines of what the model must keep, mixed into every update.
//!
//! **Invariant:** a draw is fixed by seed, quotas and file contents; no line comes twice in one draw
//! while its file still has others.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use seal_protocol::Digest;
use seal_trust::derive_seed;
use serde::{Deserialize, Serialize};

/// One entry of a `replay` list in the config.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayQuota {
    /// A JSON Lines file of `{"text": …}` rows.
    pub file: PathBuf,
    /// Lines drawn from it for one update, or for one step of the M-step.
    pub lines: usize,
}

/// A replay file in memory with the number of lines to draw from it.
#[derive(Clone, Debug)]
pub struct ReplaySource {
    /// File name, for errors and the recipe.
    pub name: String,
    /// Digest of the file's bytes; part of what fixes an adapter.
    pub sha256: Digest,
    /// Its lines.
    pub lines: Vec<String>,
    /// How many of them one draw takes.
    pub quota: usize,
}

/// A replay file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file is not there or not readable.
    #[error("cannot read replay file `{}`: {source}; name an existing file under `replay`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row is no `{"text": …}`.
    #[error("replay file `{}`, line {line}: {reason}; each line must read {{\"text\": \"…\"}}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// A quota asks for lines of an empty file.
    #[error("replay file `{}` is empty but its quota asks for {quota} lines; add lines or set `lines = 0`", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
        /// Lines asked for.
        quota: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    text: String,
}

/// A quota as it enters the recipe's digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolvedQuota {
    name: String,
    sha256: Digest,
    lines: usize,
}

/// Reads every file of a `replay` list.
///
/// # Errors
/// A file that is missing, malformed, or empty while lines are asked of it.
pub fn read_all(folder: &Path, quotas: &[ReplayQuota]) -> Result<Vec<ReplaySource>, ReplayError> {
    quotas.iter().map(|quota| read_source(&folder.join(&quota.file), quota.lines)).collect()
}

fn read_source(path: &Path, quota: usize) -> Result<ReplaySource, ReplayError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ReplayError::Read { path: path.to_owned(), source })?;
    let lines = parse_lines(path, &text)?;
    if lines.is_empty() && quota > 0 {
        return Err(ReplayError::Empty { path: path.to_owned(), quota });
    }
    Ok(ReplaySource {
        name: file_name(path),
        sha256: seal_trust::sha256(text.as_bytes()),
        lines,
        quota,
    })
}

fn parse_lines(path: &Path, text: &str) -> Result<Vec<String>, ReplayError> {
    let rows = text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty());
    rows.map(|(index, row)| {
        serde_json::from_str::<Row>(row).map(|row| row.text).map_err(|error| ReplayError::Row {
            path: path.to_owned(),
            line: index + 1,
            reason: error.to_string(),
        })
    })
    .collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Seed of the replay draw that belongs to the seed of an adapter.
pub fn replay_seed(seed: u64) -> u64 {
    derive_seed(&[b"seal/replay-seed/v1", &seed.to_le_bytes()])
}

/// Draws every source's quota, sources in their order.
pub fn draw(sources: &[ReplaySource], seed: u64) -> Vec<&str> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    sources.iter().flat_map(|source| draw_from(&source.lines, source.quota, &mut rng)).collect()
}

/// A quota beyond the file's length takes the whole file again and again, each time in a new order.
fn draw_from<'a>(lines: &'a [String], quota: usize, rng: &mut ChaCha8Rng) -> Vec<&'a str> {
    let mut drawn = Vec::with_capacity(quota);
    while drawn.len() < quota && !lines.is_empty() {
        let mut order: Vec<&str> = lines.iter().map(String::as_str).collect();
        let wanted = (quota - drawn.len()).min(order.len());
        let (head, _) = order.partial_shuffle(rng, wanted);
        drawn.extend_from_slice(head);
    }
    drawn
}

/// Every source as it enters the digest of a recipe.
pub fn resolved(sources: &[ReplaySource]) -> Vec<ResolvedQuota> {
    let one = |source: &ReplaySource| ResolvedQuota {
        name: source.name.clone(),
        sha256: source.sha256,
        lines: source.quota,
    };
    sources.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn source(count: usize, quota: usize) -> ReplaySource {
        ReplaySource {
            name: "world.jsonl".to_owned(),
            sha256: Digest::from_bytes([0; 32]),
            lines: (0..count).map(|number| format!("line {number}")).collect(),
            quota,
        }
    }

    #[test]
    fn a_draw_is_fixed_by_its_seed_and_has_no_line_twice() {
        let sources = [source(50, 18), source(9, 6)];
        let drawn = draw(&sources, 3);
        assert_eq!(drawn, draw(&sources, 3));
        assert_ne!(drawn, draw(&sources, 4));
        assert_eq!(drawn.len(), 24);
        assert_eq!(drawn[..18].iter().collect::<BTreeSet<_>>().len(), 18);
    }

    #[test]
    fn a_quota_beyond_the_file_repeats_it_evenly() {
        let sources = [source(3, 7)];
        let drawn = draw(&sources, 1);
        assert_eq!(drawn.len(), 7);
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn a_bad_row_is_named_by_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("world.jsonl");
        std::fs::write(&path, "{\"text\":\"a .\"}\n{\"txt\":\"b .\"}\n").unwrap();
        let quota = ReplayQuota { file: "world.jsonl".into(), lines: 1 };
        let error = read_all(folder.path(), std::slice::from_ref(&quota)).unwrap_err();
        assert!(matches!(error, ReplayError::Row { line: 2, .. }), "{error}");
        std::fs::write(&path, "").unwrap();
        let error = read_all(folder.path(), &[quota]).unwrap_err();
        assert!(matches!(error, ReplayError::Empty { .. }), "{error}");
    }
}
