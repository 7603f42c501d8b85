//! One repository's folder in the cache, in the layout of Python's `huggingface_hub`.
//!
//! ```text
//! models--owner--name/refs/REVISION            the commit it was last
//! models--owner--name/blobs/ETAG               contents; ETAG.incomplete while they come
//! models--owner--name/snapshots/COMMIT/FILE    links to contents
//! .locks/models--owner--name/ETAG.lock         one writer for each content
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::choice;
use crate::content::Etag;
use crate::error::HubError;
use crate::name::{RepoName, Revision, is_commit};

/// A repository's folder.
#[derive(Clone, Debug)]
pub(crate) struct RepoCache {
    cache: PathBuf,
    folder: String,
}

impl RepoCache {
    pub(crate) fn new(cache: &Path, name: &RepoName) -> Self {
        Self { cache: cache.to_owned(), folder: name.folder() }
    }

    fn root(&self) -> PathBuf {
        self.cache.join(&self.folder)
    }

    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root().join("snapshots").join(commit)
    }

    pub(crate) fn blob(&self, etag: &Etag) -> PathBuf {
        self.root().join("blobs").join(etag.as_str())
    }

    /// Where contents grow.
    pub(crate) fn partial(&self, etag: &Etag) -> PathBuf {
        self.root().join("blobs").join(format!("{}.incomplete", etag.as_str()))
    }

    fn reference(&self, revision: &Revision) -> PathBuf {
        self.root().join("refs").join(revision.as_str())
    }

    /// The commit that a revision was when it was last fetched.
    pub(crate) fn commit_of(&self, revision: &Revision) -> Result<Option<String>, HubError> {
        if revision.is_commit() {
            return Ok(Some(revision.as_str().to_owned()));
        }
        let path = self.reference(revision);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|commit| is_commit(commit))),
            Err(error) if missing(&error) => Ok(None),
            Err(source) => Err(HubError::File { path, source }),
        }
    }

    /// Remembers which commit a revision is.
    pub(crate) fn remember(&self, revision: &Revision, commit: &str) -> Result<(), HubError> {
        if revision.is_commit() {
            return Ok(());
        }
        let path = self.reference(revision);
        // Renamed into place: a reader never sees half a commit.
        let beside = path.with_file_name(format!(".{commit}.{}", std::process::id()));
        make_parent(&path)
            .and_then(|()| fs::write(&beside, commit))
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|source| HubError::File { path, source })
    }

    /// Shows contents under a file's name in the snapshot of a commit.
    pub(crate) fn link(&self, commit: &str, file: &str, etag: &Etag) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(file);
        let target = Path::new("../../blobs").join(etag.as_str());
        if fs::read_link(&path).is_ok_and(|found| found == target) {
            return Ok(());
        }
        let made = make_parent(&path).and_then(|()| match fs::remove_file(&path) {
            Err(error) if !missing(&error) => Err(error),
            _ => std::os::unix::fs::symlink(&target, &path),
        });
        made.map_err(|source| HubError::File { path, source })
    }

    /// The first file that a snapshot lacks to be a model folder.
    pub(crate) fn lacks(&self, commit: &str, name: &RepoName) -> Result<Option<String>, HubError> {
        let folder = self.snapshot(commit);
        let failed = |source| HubError::File { path: folder.clone(), source };
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A link whose contents are gone does not count.
            if let Ok(file) = entry.file_name().into_string()
                && entry.path().is_file()
            {
                files.push(file);
            }
        }
        let choice = match choice::choose(name, &files) {
            Ok(choice) => choice,
            Err(HubError::NoConfig { .. }) => return Ok(Some(choice::CONFIG.to_owned())),
            Err(_) => return Ok(Some("model.safetensors".to_owned())),
        };
        if choice.weights.is_some() {
            return Ok(None);
        }
        let index = fs::read(folder.join(choice::INDEX)).map_err(failed)?;
        let named = choice::named(name, &index)?;
        Ok(named.into_iter().find(|shard| !files.contains(shard)))
    }

    /// Waits until nobody else writes these contents. `waits` is told if somebody does.
    pub(crate) async fn lock(&self, etag: &Etag, waits: impl Fn()) -> Result<File, HubError> {
        let name = format!("{}.lock", etag.as_str());
        let path = self.cache.join(".locks").join(&self.folder).join(name);
        let failed = |source| HubError::File { path: path.clone(), source };
        make_parent(&path).map_err(failed)?;
        let options = File::options().write(true).create(true).truncate(false).open(&path);
        let file = options.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::Error(source)) => Err(failed(source)),
            Err(TryLockError::WouldBlock) => {
                waits();
                let waited = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
                waited.map_err(io::Error::other).and_then(|locked| locked).map_err(failed)
            }
        }
    }
}

/// Makes the folder of a file.
pub(crate) fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

/// True if there is nothing of that name.
pub(crate) fn missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn name() -> RepoName {
        "org/m".parse().unwrap()
    }

    #[test]
    fn a_revision_is_the_commit_it_was_remembered_as() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(folder.path(), &name());
        for revision in ["main", "refs/pr/1"] {
            let revision: Revision = revision.parse().unwrap();
            assert_eq!(cache.commit_of(&revision).unwrap(), None);
            cache.remember(&revision, COMMIT).unwrap();
            assert_eq!(cache.commit_of(&revision).unwrap().as_deref(), Some(COMMIT));
        }
        let main = folder.path().join("models--org--m/refs/main");
        assert_eq!(fs::read_to_string(&main).unwrap(), COMMIT);
        fs::write(main, "../../elsewhere").unwrap();
        assert_eq!(cache.commit_of(&Revision::default()).unwrap(), None, "no commit");
    }

    #[test]
    fn a_snapshot_is_whole_once_every_shard_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepoCache::new(folder.path(), &name());
        let put = |file: &str, text: &str| {
            let etag = Etag::new(&format!("etag-{file}")).unwrap();
            make_parent(&cache.blob(&etag)).unwrap();
            fs::write(cache.blob(&etag), text).unwrap();
            cache.link(COMMIT, file, &etag).unwrap();
            cache.link(COMMIT, file, &etag).unwrap();
        };
        let lacks = || cache.lacks(COMMIT, &name()).unwrap();
        put("tokenizer.json", "{}");
        assert_eq!(lacks().as_deref(), Some("config.json"));
        put("config.json", "{}");
        assert_eq!(lacks().as_deref(), Some("model.safetensors"));
        put(choice::INDEX, r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#);
        put("a.safetensors", "");
        assert_eq!(lacks().as_deref(), Some("b.safetensors"));
        put("b.safetensors", "");
        assert_eq!(lacks(), None);
        fs::remove_file(cache.blob(&Etag::new("etag-a.safetensors").unwrap())).unwrap();
        assert_eq!(lacks().as_deref(), Some("a.safetensors"), "a link into nothing");
    }
}
