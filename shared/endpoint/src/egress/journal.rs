//! An append-only file of JSON lines in which a line is on disk before it counts.
//!
//! Many requests wait for the disk at once, and one `fsync` does for all that wait: a thread of its
//! own writes what has gathered, syncs, and tells each.
//!
//! **Invariant:** [`Journal::append`] returns when the line is durable, or fails; after one failure it
//! fails for ever, because what cannot be recorded must not be done.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};

use seal_service::store::{private_folder, sync_folder};
use tokio::sync::oneshot;

/// The file does not take or give lines.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{}` does not take another line: {reason}; check free space and permissions, then start the process again", path.display())]
pub struct JournalError {
    path: PathBuf,
    reason: String,
}

/// Done when a line is on disk.
pub(crate) type Durable = Pin<Box<dyn Future<Output = Result<(), JournalError>> + Send>>;

/// Appends lines. Clones write to the same file.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    to_writer: Sender<Line>,
    failed: Failed,
}

/// Why the file took no line, once that happened.
type Failed = Arc<OnceLock<String>>;

#[derive(Debug)]
struct Line {
    text: String,
    durable: oneshot::Sender<Result<(), String>>,
}

impl Journal {
    /// Opens or creates the file (mode 0600, folder 0700) and returns the lines that are in it. A
    /// last line without its end was never acknowledged and is cut off.
    ///
    /// # Errors
    /// Any refusal of the system.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<String>)> {
        let folder = path.parent().unwrap_or(Path::new(""));
        private_folder(folder)?;
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).read(true).mode(0o600).open(path)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            tracing::warn!("cut an unfinished last line off `{}`", path.display());
            file.set_len(whole as u64)?;
            file.seek(SeekFrom::End(0))?;
        }
        // What is read here counts, whatever came between its writing and its sync; so does the file's name.
        file.sync_all()?;
        sync_folder(folder)?;
        let lines = text[..whole].lines().map(str::to_owned).collect();
        Ok((Self::over(file, path)?, lines))
    }

    fn over(file: File, path: &Path) -> io::Result<Self> {
        let (to_writer, waiting) = channel();
        let failed = Failed::default();
        let told = Arc::clone(&failed);
        let named = std::thread::Builder::new().name("journal".to_owned());
        named.spawn(move || write(file, &waiting, &told))?;
        Ok(Self { path: path.to_owned(), to_writer, failed })
    }

    /// A journal on a disk that is always full.
    #[cfg(test)]
    pub(crate) fn full() -> Self {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        Self::over(full, Path::new("record.jsonl")).unwrap()
    }

    /// Refuses once a line was not taken: what is known since then may not be on disk.
    ///
    /// # Errors
    /// The reason that the first such line was given.
    pub(crate) fn sound(&self) -> Result<(), JournalError> {
        match self.failed.get() {
            None => Ok(()),
            Some(reason) => Err(JournalError { path: self.path.clone(), reason: reason.clone() }),
        }
    }

    /// Takes one line, which holds no line break, in the order of calls; the future is done when it
    /// is durable.
    ///
    /// # Errors
    /// It may not be on disk.
    pub(crate) fn append(&self, text: String) -> Durable {
        debug_assert!(!text.contains('\n'));
        let path = self.path.clone();
        let (durable, told) = oneshot::channel();
        // A writer that is gone drops the line, which ends the wait below.
        let _ = self.to_writer.send(Line { text, durable });
        Box::pin(async move {
            let outcome = told.await.unwrap_or_else(|_| Err("its writer stopped".to_owned()));
            outcome.map_err(|reason| JournalError { path, reason })
        })
    }
}

/// The writer's thread; ends with the last handle, or with the first failure.
fn write(mut file: File, waiting: &Receiver<Line>, told: &OnceLock<String>) {
    while let Ok(first) = waiting.recv() {
        let lines: Vec<Line> = std::iter::once(first).chain(waiting.try_iter()).collect();
        let text: String = lines.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_data());
        let failed = written.is_err();
        let outcome = written.map_err(|error| error.to_string());
        if let Err(reason) = &outcome {
            let _ = told.set(reason.clone());
        }
        for line in lines {
            // Whoever no longer waits does not need to know.
            let _ = line.durable.send(outcome.clone());
        }
        if failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(journal: &Journal, texts: &[&str]) -> Vec<Result<(), JournalError>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let append = |text: &&str| journal.append((*text).to_owned());
        runtime.block_on(async {
            let mut outcomes = Vec::new();
            for text in texts {
                outcomes.push(append(text).await);
            }
            outcomes
        })
    }

    #[test]
    fn lines_come_back_in_their_order_and_an_unfinished_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own/record.jsonl");
        let (journal, before) = Journal::open(&path).unwrap();
        assert!(before.is_empty());
        assert!(append(&journal, &["{\"a\":1}", "{\"b\":2}"]).iter().all(Result::is_ok));
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"c\"").unwrap();
        let (journal, before) = Journal::open(&path).unwrap();
        assert_eq!(before, ["{\"a\":1}", "{\"b\":2}"]);
        append(&journal, &["{\"d\":4}"]);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"b\":2}\n{\"d\":4}\n");
    }

    #[test]
    fn after_a_failure_nothing_is_taken_any_more() {
        let journal = Journal::full();
        journal.sound().unwrap();
        let outcomes = append(&journal, &["{}", "{}"]);
        assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
        let error = outcomes[0].as_ref().unwrap_err().to_string();
        assert!(error.starts_with("`record.jsonl` does not take another line: "), "{error}");
        assert_eq!(journal.sound().unwrap_err().to_string(), error);
    }
}
