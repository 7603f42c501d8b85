//! From a name to a folder: in the cache, or through it.

use std::path::{Path, PathBuf};

use crate::cache::RepoCache;
use crate::error::HubError;
use crate::fetch::Fetching;
use crate::name::{RepoName, Revision};
use crate::settings::Settings;

/// A hub and the cache before it.
#[derive(Clone, Debug)]
pub struct Hub {
    settings: Settings,
}

/// A model folder in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The snapshot.
    pub folder: PathBuf,
    /// The commit that the revision was resolved to.
    pub commit: String,
    /// Bytes that came over the network.
    pub downloaded_bytes: u64,
}

/// What happens on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The revision is this commit.
    Resolved(String),
    /// So many bytes are wanted, of which so many are in the cache already. Told for the small
    /// files, then for the weights.
    Planned {
        /// In all.
        bytes: u64,
        /// Already there.
        present: u64,
    },
    /// So many bytes are there now.
    Progress(u64),
    /// Another process brings this file; this one waits for it.
    Waiting(String),
}

/// Who follows a fetch.
pub struct Watcher<'a> {
    /// Told about every [`Event`].
    pub report: &'a (dyn Fn(Event) + Sync),
    /// Asked before weights come whether the folder, which has everything else, will be of use; says
    /// why not.
    pub usable: &'a (dyn Fn(&Path) -> Result<(), String> + Sync),
}

impl Watcher<'_> {
    /// Follows nothing and takes any model.
    pub const NONE: Watcher<'static> = Watcher { report: &|_| (), usable: &|_| Ok(()) };
}

impl Hub {
    /// A hub by its settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// A model of the cache. Nothing is asked.
    ///
    /// # Errors
    /// A model that is not there, or not whole.
    pub fn find(&self, name: &RepoName, revision: &Revision) -> Result<Fetched, HubError> {
        let cache = RepoCache::new(&self.settings.cache, name);
        let commit = cache.commit_of(revision)?.filter(|commit| cache.snapshot(commit).is_dir());
        let Some(commit) = commit else { return Err(self.absent(name, revision, &cache)) };
        let folder = cache.snapshot(&commit);
        match cache.lacks(&commit, name)? {
            None => Ok(Fetched { folder, commit, downloaded_bytes: 0 }),
            Some(missing) => Err(HubError::Incomplete { name: name.to_string(), folder, missing }),
        }
    }

    fn absent(&self, name: &RepoName, revision: &Revision, cache: &RepoCache) -> HubError {
        let (name, revision) = (name.to_string(), revision.to_string());
        let (at, folder) = (self.settings.cache.clone(), cache.folder().to_owned());
        match self.settings.offline.clone() {
            Some(by) => HubError::Offline { name, revision, by, cache: at, folder },
            None => HubError::NotCached { name, revision, cache: at },
        }
    }

    /// Brings a model into the cache; offline, finds it there. A commit that is there is not asked
    /// for again.
    ///
    /// # Errors
    /// See [`HubError`]; what came so far is kept.
    pub async fn fetch(
        &self,
        name: &RepoName,
        revision: &Revision,
        watcher: &Watcher<'_>,
    ) -> Result<Fetched, HubError> {
        let here = || self.find(name, revision);
        if self.settings.offline.is_some() {
            return here();
        }
        if revision.is_commit()
            && let Ok(found) = here()
        {
            (watcher.report)(Event::Resolved(found.commit.clone()));
            return Ok(found);
        }
        Fetching::begin(&self.settings, name, revision, watcher).await?.finish().await
    }
}
