//! One file's bytes into the cache: appended to what is there, checked whole, named last.
//!
//! **Invariant:** contents get their name only after their length and digest were compared; a
//! snapshot links to nothing else.

use std::fs;
use std::io;
use std::path::Path;

use futures_util::StreamExt;
use hf_hub::HFError;
use hf_hub::repository::{HFRepository, RepoTypeModel};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::answer::{Asked, innermost};
use crate::cache::{RepoCache, make_parent, missing};
use crate::error::HubError;
use crate::metadata::Metadata;

/// Told the bytes that came since the last call; less than none when they were thrown away.
pub(crate) type Count<'a> = &'a (dyn Fn(i64) + Sync);

/// A file on its way.
pub(crate) struct Transfer<'a> {
    pub(crate) repo: &'a HFRepository<RepoTypeModel>,
    pub(crate) cache: &'a RepoCache,
    pub(crate) asked: Asked<'a>,
    pub(crate) file: &'a str,
    pub(crate) commit: &'a str,
    pub(crate) metadata: &'a Metadata,
}

/// How a stream ended early.
enum Ended {
    /// More can be had by asking for the rest.
    Early(String),
    /// More came than the file has: the hub did not heed where to begin.
    TooMuch,
    /// It makes no sense to ask again.
    Failed(HubError),
}

impl Transfer<'_> {
    /// Brings the file into the cache, unless it is there, and links it into the snapshot.
    pub(crate) async fn run(&self, count: Count<'_>, waits: &dyn Fn()) -> Result<(), HubError> {
        let etag = &self.metadata.etag;
        if !self.is_there()? {
            let _lock = self.cache.lock(etag, waits).await?;
            // Whoever held the lock may have brought it.
            match self.is_there()? {
                true => count(signed(self.metadata.bytes)),
                false => self.download(count).await?,
            }
        }
        self.cache.link(self.commit, self.file, etag)
    }

    /// True if the contents are in the cache at their full length.
    pub(crate) fn is_there(&self) -> Result<bool, HubError> {
        Ok(length(&self.cache.blob(&self.metadata.etag))? == Some(self.metadata.bytes))
    }

    /// Bytes that an earlier try left.
    pub(crate) fn left_before(&self) -> Result<u64, HubError> {
        Ok(length(&self.cache.partial(&self.metadata.etag))?.unwrap_or(0))
    }

    async fn download(&self, count: Count<'_>) -> Result<(), HubError> {
        let partial = self.cache.partial(&self.metadata.etag);
        make_parent(&partial).map_err(failed(&partial))?;
        let mut began_at = self.left_before()?;
        if began_at > self.metadata.bytes {
            remove(&partial)?;
            began_at = 0;
        }
        loop {
            let whole = self.complete(&partial, count).await?;
            match whole.then(|| self.differs(&partial)).transpose()?.flatten() {
                None if whole => break,
                // The part that was there may have been the bad one: once more from nothing.
                _ if began_at > 0 => {
                    count(-signed(self.left_before()?));
                    remove(&partial)?;
                    began_at = 0;
                }
                problem => {
                    remove(&partial)?;
                    let problem = problem.unwrap_or_else(|| "its length".to_owned());
                    return Err(self.content(problem));
                }
            }
        }
        let blob = self.cache.blob(&self.metadata.etag);
        fs::rename(&partial, &blob).map_err(failed(&blob))
    }

    /// Appends until everything is there, asking for the rest after each break. False if more came
    /// than the file has.
    async fn complete(&self, partial: &Path, count: Count<'_>) -> Result<bool, HubError> {
        let (mut left, of) = (self.asked.settings.retries, self.metadata.bytes);
        loop {
            let at = length(partial)?.unwrap_or(0);
            if at == of && at > 0 {
                return Ok(true);
            }
            let ended = self.append(partial, at, count).await;
            let now = length(partial)?.unwrap_or(0);
            match ended {
                Ok(()) => return Ok(true),
                Err(Ended::TooMuch) => return Ok(false),
                Err(Ended::Failed(error)) => return Err(error),
                // Who makes headway may go on for ever.
                Err(Ended::Early(_)) if now > at => left = self.asked.settings.retries,
                Err(Ended::Early(_)) if left > 0 => left -= 1,
                Err(Ended::Early(reason)) => {
                    let reason = self.asked.settings.shown(&reason);
                    return Err(HubError::BrokenOff {
                        file: self.file.into(),
                        at: now,
                        of,
                        reason,
                    });
                }
            }
        }
    }

    /// Appends what comes of the bytes from `at` on.
    async fn append(&self, partial: &Path, at: u64, count: Count<'_>) -> Result<(), Ended> {
        let of = self.metadata.bytes;
        let local = |source| Ended::Failed(failed(partial)(source));
        let options = File::options().create(true).append(true).open(partial).await;
        let mut out = options.map_err(local)?;
        if of > 0 {
            let mut stream = self.open(at).await?;
            let mut missing = of - at;
            while missing > 0 {
                let chunk = match timeout(self.asked.settings.stall, stream.next()).await {
                    Err(_) => return Err(Ended::Early(self.silence())),
                    Ok(None) => return Err(Ended::Early("the connection was closed".into())),
                    Ok(Some(Err(error))) => return Err(Ended::Early(innermost(&error))),
                    Ok(Some(Ok(chunk))) => chunk,
                };
                missing = missing.checked_sub(chunk.len() as u64).ok_or(Ended::TooMuch)?;
                out.write_all(&chunk).await.map_err(local)?;
                // A write that is only begun would be lost with the next error.
                out.flush().await.map_err(local)?;
                count(signed(chunk.len() as u64));
            }
        }
        out.sync_all().await.map_err(local)
    }

    /// Asks for the bytes from `at` on.
    async fn open(&self, at: u64) -> Result<hf_hub::repository::download::HFByteStream, Ended> {
        let rest = (at > 0).then_some(at..self.metadata.bytes);
        let request = self.repo.download_file_stream().filename(self.file).revision(self.commit);
        let answer = timeout(self.asked.settings.stall, request.maybe_range(rest).send()).await;
        match answer {
            Err(_) => Err(Ended::Early(self.silence())),
            Ok(Ok((_, stream))) => Ok(stream),
            Ok(Err(HFError::Request { source, .. })) if !source.is_connect() => {
                Err(Ended::Early(innermost(&source)))
            }
            Ok(Err(error)) => Err(Ended::Failed(self.asked.of(&error))),
        }
    }

    fn silence(&self) -> String {
        format!("nothing came for {} s", self.asked.settings.stall.as_secs_f32())
    }

    fn differs(&self, partial: &Path) -> Result<Option<String>, HubError> {
        self.metadata.etag.differs(partial).map_err(failed(partial))
    }

    fn content(&self, problem: String) -> HubError {
        let endpoint = self.asked.settings.endpoint.clone();
        HubError::Content { file: self.file.to_owned(), endpoint, problem }
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> HubError {
    move |source| HubError::File { path: path.to_owned(), source }
}

/// Length of a file, if there is one.
fn length(path: &Path) -> Result<Option<u64>, HubError> {
    match fs::metadata(path) {
        Ok(about) => Ok(Some(about.len())),
        Err(error) if missing(&error) => Ok(None),
        Err(source) => Err(failed(path)(source)),
    }
}

fn remove(path: &Path) -> Result<(), HubError> {
    match fs::remove_file(path) {
        Err(error) if !missing(&error) => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
