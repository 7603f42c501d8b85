//! Writing a file so that a crash leaves the old content or the new one, never a part.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Every unfinished file starts like this, so that a start-up can sweep them.
pub(crate) const TEMP_PREFIX: &str = ".tmp-";

/// Writes `bytes` to `path`: temporary file beside it, fsync, rename, fsync of the folder.
///
/// The file is readable by its owner alone. The folder must exist.
///
/// # Errors
/// Any refusal of the system; `path` then still holds what it held before.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let temp = temp_in(&folder);
    let written = write_new(&temp, bytes).and_then(|()| std::fs::rename(&temp, path));
    if written.is_err() {
        // The first error is the one to report; a leftover is swept at the next start.
        let _ = std::fs::remove_file(&temp);
    }
    written.and_then(|()| sync_folder(&folder))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_new(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens a file that did not exist before, for its owner alone.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

/// A name in `folder` that nobody else uses.
pub(crate) fn temp_in(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!("{TEMP_PREFIX}{}-{number}", std::process::id()))
}

/// Removes unfinished files from `folder` and all folders below it. Nobody may be writing there.
pub(crate) fn sweep_below(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sweep_below(&entry.path())?;
        } else if entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Makes the names in `folder`, new and missing ones, survive a power cut.
///
/// # Errors
/// Any refusal of the system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates `folder` and its parents for the owner alone, so that a power cut takes none of their names;
/// existing folders stay as they are.
///
/// # Errors
/// Any refusal of the system.
pub fn private_folder(folder: &Path) -> io::Result<()> {
    let above = folder_of(folder);
    if folder.is_dir() {
        // A crash may have come between making it and this. Where the folder above is closed to us, it was
        // not we who made it.
        return match sync_folder(&above) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        };
    }
    if !above.is_dir() {
        private_folder(&above)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if !folder.is_dir() => return Err(error),
        // Or another process did it meanwhile.
        _ => {}
    }
    sync_folder(&above)
}

fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn content_is_replaced_whole_and_private_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        write_atomic(&path, b"first").unwrap();
        write_atomic(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_unfinished_is_swept_from_every_folder_below_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("requests/old");
        std::fs::create_dir_all(&deep).unwrap();
        for unfinished in [folder.path().join(".tmp-1-0"), deep.join(".tmp-7-12")] {
            std::fs::write(unfinished, b"half").unwrap();
        }
        std::fs::write(deep.join("whole.json"), b"{}").unwrap();
        sweep_below(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 1);
    }

    #[test]
    fn folders_are_made_with_those_above_and_private_and_may_be_there() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("state/deep");
        private_folder(&folder).unwrap();
        private_folder(&folder).unwrap();
        for made in [outer.path().join("state"), folder] {
            assert_eq!(std::fs::metadata(made).unwrap().permissions().mode() & 0o777, 0o700);
        }
        let file = outer.path().join("file");
        std::fs::write(&file, b"").unwrap();
        assert!(private_folder(&file).is_err());
        assert!(private_folder(&file.join("below")).is_err());
    }

    #[test]
    fn a_failed_write_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        std::fs::write(taken.join("inside"), b"").unwrap();
        assert!(write_atomic(&taken, b"bytes").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
