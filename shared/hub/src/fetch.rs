//! A model on its way from the hub.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use futures_util::{StreamExt, TryStreamExt, stream};
use hf_hub::HFClient;
use hf_hub::repository::{HFRepository, RepoTypeModel};
use tokio::time::timeout;

use crate::answer::Asked;
use crate::cache::RepoCache;
use crate::choice::{self, INDEX};
use crate::error::HubError;
use crate::hub::{Event, Fetched, Watcher};
use crate::metadata::{Inquirer, Metadata};
use crate::name::{RepoName, Revision, is_commit};
use crate::settings::Settings;
use crate::transfer::{Count, Transfer};

/// Files that come at the same time.
const AT_ONCE: usize = 4;
/// `hf-hub` looks for a token itself where it is given none. This one can stand in no header, so
/// none is sent.
const NO_TOKEN: &str = "\n";

/// A model on its way.
pub(crate) struct Fetching<'a> {
    asked: Asked<'a>,
    repo: HFRepository<RepoTypeModel>,
    inquirer: Inquirer,
    cache: RepoCache,
    commit: String,
    /// Names of all files of the repository.
    files: Vec<String>,
    watcher: &'a Watcher<'a>,
    downloaded: AtomicI64,
}

/// A file with what the hub says about it.
struct Wanted {
    file: String,
    metadata: Metadata,
}

impl<'a> Fetching<'a> {
    /// Resolves the revision, once.
    pub(crate) async fn begin(
        settings: &'a Settings,
        name: &'a RepoName,
        revision: &'a Revision,
        watcher: &'a Watcher<'a>,
    ) -> Result<Self, HubError> {
        let asked = Asked { settings, name, revision, file: None };
        let token = settings.token.as_ref().map_or(NO_TOKEN, |token| token.secret());
        let client = HFClient::builder()
            .endpoint(&settings.endpoint)
            .token(token)
            .cache_dir(&settings.cache)
            .user_agent(concat!("seal/", env!("CARGO_PKG_VERSION")))
            .retry_max_attempts(settings.retries)
            .build()
            .map_err(|error| asked.of(&error))?;
        let (owner, bare) = name.parts();
        let repo = client.model(owner, bare);
        let info = timeout(settings.stall, repo.info().revision(revision.as_str()).send()).await;
        let info = info.map_err(|_| asked.timed_out())?.map_err(|error| asked.of(&error))?;
        let commit = info.sha.filter(|commit| is_commit(commit));
        let commit = commit.ok_or_else(|| asked.malformed("no commit"))?;
        let files = info.siblings.into_iter().flatten().map(|sibling| sibling.rfilename).collect();
        (watcher.report)(Event::Resolved(commit.clone()));
        Ok(Self {
            asked,
            repo,
            inquirer: Inquirer::new(settings)?,
            cache: RepoCache::new(&settings.cache, name),
            commit,
            files,
            watcher,
            downloaded: AtomicI64::new(0),
        })
    }

    /// Brings everything that is needed.
    pub(crate) async fn finish(self) -> Result<Fetched, HubError> {
        let name = self.asked.name;
        let folder = self.cache.snapshot(&self.commit);
        let choice = choice::choose(name, &self.files)?;
        // Small files come first: they say whether the others are worth it, and which there are.
        self.bring(&self.ask(choice.small).await?).await?;
        (self.watcher.usable)(&folder)
            .map_err(|reason| HubError::Unusable { name: name.to_string(), reason })?;
        let weights = match choice.weights {
            Some(whole) => vec![whole],
            None => {
                let path = folder.join(INDEX);
                let index = std::fs::read(&path);
                let index = index.map_err(|source| HubError::File { path, source })?;
                choice::shards(name, &index, &self.files)?
            }
        };
        self.bring(&self.ask(weights).await?).await?;
        // Last: whoever finds the revision finds a whole folder.
        self.cache.remember(self.asked.revision, &self.commit)?;
        let downloaded_bytes = u64::try_from(self.downloaded.load(Relaxed)).unwrap_or(0);
        Ok(Fetched { folder, commit: self.commit, downloaded_bytes })
    }

    async fn ask(&self, files: impl IntoIterator<Item = String>) -> Result<Vec<Wanted>, HubError> {
        let ask = |file: String| async move {
            let asked = Asked { file: Some(&file), ..self.asked };
            let metadata = self.inquirer.ask(asked, &self.commit).await?;
            Ok(Wanted { file, metadata })
        };
        stream::iter(files).map(ask).buffered(AT_ONCE).try_collect().await
    }

    async fn bring(&self, wanted: &[Wanted]) -> Result<(), HubError> {
        let bytes = wanted.iter().map(|wanted| wanted.metadata.bytes).sum();
        let mut present = 0;
        for wanted in wanted {
            let transfer = self.transfer(wanted);
            present += match transfer.is_there()? {
                true => wanted.metadata.bytes,
                false => transfer.left_before()?.min(wanted.metadata.bytes),
            };
        }
        self.check_disk(bytes - present)?;
        (self.watcher.report)(Event::Planned { bytes, present });
        let at = AtomicI64::new(i64::try_from(present).unwrap_or(i64::MAX));
        let count = |came: i64| {
            self.downloaded.fetch_add(came.max(0), Relaxed);
            let now = at.fetch_add(came, Relaxed).saturating_add(came);
            (self.watcher.report)(Event::Progress(u64::try_from(now).unwrap_or(0).min(bytes)));
        };
        let transfers = wanted.iter().map(|wanted| self.carry(wanted, &count));
        stream::iter(transfers).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn carry(&self, wanted: &Wanted, count: Count<'_>) -> Result<(), HubError> {
        let waits = || (self.watcher.report)(Event::Waiting(wanted.file.clone()));
        self.transfer(wanted).run(count, &waits).await
    }

    fn transfer<'b>(&'b self, wanted: &'b Wanted) -> Transfer<'b> {
        Transfer {
            repo: &self.repo,
            cache: &self.cache,
            asked: Asked { file: Some(&wanted.file), ..self.asked },
            file: &wanted.file,
            commit: &self.commit,
            metadata: &wanted.metadata,
        }
    }

    /// Refuses what the disk cannot hold before a byte of it comes.
    fn check_disk(&self, needed: u64) -> Result<(), HubError> {
        let cache = &self.asked.settings.cache;
        let failed = |source| HubError::File { path: cache.clone(), source };
        std::fs::create_dir_all(cache).map_err(failed)?;
        // A file system that does not say how much is free may still have it.
        let Ok(stat) = rustix::fs::statvfs(cache.as_path()) else { return Ok(()) };
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match needed > free {
            true => Err(HubError::Disk { cache: cache.clone(), needed, free }),
            false => Ok(()),
        }
    }
}
