//! Files that a user names, and files that such a file names.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::super::SourceFile;

/// Longest file of settings: a task, a config.
pub(super) const SETTINGS_BYTES: u64 = 4 << 20;
/// Longest file of data.
pub(super) const DATA_BYTES: u64 = 256 << 20;

/// Reads files and keeps which.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) read: Vec<SourceFile>,
}

impl Files {
    /// The text of a file that the user named.
    ///
    /// # Errors
    /// A file that is not there, is none, is longer than `most` bytes, or no UTF-8.
    pub(super) fn open(&mut self, path: &Path, most: u64) -> Result<String> {
        let unreadable = || format!("cannot read `{}`; name an existing file", path.display());
        // A pipe or a device would have no end.
        if !fs::metadata(path).with_context(unreadable)?.is_file() {
            bail!("`{}` is no file; name the file itself", path.display());
        }
        let mut bytes = Vec::new();
        let file = File::open(path).with_context(unreadable)?;
        file.take(most + 1).read_to_end(&mut bytes).with_context(unreadable)?;
        if bytes.len() as u64 > most {
            bail!("`{}` is longer than {} MiB; split it", path.display(), most >> 20);
        }
        self.read.push(SourceFile { path: path.to_owned(), sha256: seal_trust::sha256(&bytes) });
        let text = String::from_utf8(bytes)
            .ok()
            .with_context(|| format!("`{}` is no UTF-8 text; convert it first", path.display()))?;
        Ok(text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text))
    }

    /// The path and text of a file that `by` names.
    ///
    /// # Errors
    /// As [`Files::open`]; a name that leads out of the folder of `by`, by itself or by a link.
    pub(super) fn beside(&mut self, by: &Path, name: &str, most: u64) -> Result<(PathBuf, String)> {
        let path = inside(by, name)?;
        let text = self.open(&path, most)?;
        Ok((path, text))
    }
}

/// The file `name` under the folder of `by`, links resolved.
///
/// # Errors
/// A name that leads elsewhere, by itself or by a link, or to nothing.
pub(super) fn inside(by: &Path, name: &str) -> Result<PathBuf> {
    let refused = |why: &str| {
        anyhow::anyhow!(
            "`{}` names the file `{}`, which {why}; put a copy beside it",
            by.display(),
            crate::text::printable(name)
        )
    };
    if name.contains("://") {
        return Err(refused("lies elsewhere: nothing is fetched"));
    }
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    if name.is_empty() || !Path::new(name).components().all(plain) {
        return Err(refused("leads out of its folder"));
    }
    let folder = by.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new(".")))
        .with_context(|| format!("cannot read the folder of `{}`", by.display()))?;
    let path = fs::canonicalize(folder.join(name)).map_err(|_| refused("is not there"))?;
    if !path.starts_with(&folder) {
        return Err(refused("leads out of its folder by a link"));
    }
    Ok(path)
}
