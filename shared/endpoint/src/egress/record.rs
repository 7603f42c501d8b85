//! What left this machine: one row before each request, with its exact bytes, and one after it.
//!
//! Each row names the digest of the row before it, so a changed or missing row shows.
//!
//! **Invariant:** a request whose row is not on disk is not sent. The key is in no row.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use seal_protocol::Digest;
use seal_service::clock::Clock;
use seal_trust::sha256;

use super::journal::{Durable, Journal, JournalError};
use super::row::{EgressRow, Purpose, Spent};

/// Where the record lies in the state folder.
const FILE: &str = "egress/record.jsonl";
/// What stands in a row for the key.
pub(crate) const WITHHELD: &str = "[withheld]";

/// A record that cannot be read or trusted.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error("cannot open the egress record `{}`: {source}; check that its folder is writable", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row was changed, or one is missing before it.
    #[error("egress record `{}`, line {line}: {reason}; keep the file as evidence and restore it from a copy", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The record, open for more.
#[derive(Clone)]
pub(crate) struct EgressRecord {
    journal: Journal,
    head: Arc<Mutex<Head>>,
    clock: Arc<dyn Clock>,
}

struct Head {
    requests: u64,
    previous: Digest,
}

/// A request as it will leave, without the key.
#[derive(Clone, Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: &'static str,
    pub(crate) detail: String,
    pub(crate) spent: Spent,
    pub(crate) measured: bool,
}

impl EgressRecord {
    /// Opens the record under a state folder and returns its rows.
    pub(crate) fn open(
        state: &Path,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<EgressRow>), RecordError> {
        let path = state.join(FILE);
        let opened = Journal::open(&path);
        let (journal, lines) =
            opened.map_err(|source| RecordError::Open { path: path.clone(), source })?;
        let (rows, head) = checked(&path, &lines)?;
        Ok((Self { journal, head: Arc::new(Mutex::new(head)), clock }, rows))
    }

    /// Records a request that is about to leave and returns its number.
    pub(crate) async fn sent(
        &self,
        request: RequestHead,
        body: String,
        purpose: Purpose,
        reserved: Spent,
    ) -> Result<u64, JournalError> {
        let time = self.clock.now();
        let mut given = 0;
        let durable = self.append(|head| {
            head.requests += 1;
            given = head.requests;
            EgressRow::Sent {
                number: head.requests,
                time,
                method: request.method,
                url: request.url,
                headers: request.headers,
                body_sha256: sha256(body.as_bytes()),
                body_bytes: body.len() as u64,
                body,
                purpose,
                reserved,
                previous: head.previous,
            }
        });
        durable.await.map(|()| given)
    }

    /// Records how a request ended.
    pub(crate) async fn answered(&self, number: u64, ended: Ended) -> Result<(), JournalError> {
        let time = self.clock.now();
        let Ended { outcome, detail, spent, measured } = ended;
        let outcome = outcome.to_owned();
        self.append(|head| EgressRow::Answered {
            number,
            time,
            outcome,
            detail,
            spent,
            measured,
            previous: head.previous,
        })
        .await
    }

    /// The lock spans digest and queue, so rows lie in the file in the order of their digests.
    fn append(&self, row: impl FnOnce(&mut Head) -> EgressRow) -> Durable {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let row = row(&mut head);
        // Strings and numbers only: it always has a JSON form.
        let text = serde_json::to_string(&row).unwrap_or_default();
        head.previous = sha256(text.as_bytes());
        self.journal.append(text)
    }
}

/// Reads the record under a state folder and checks its chain. Empty where nothing left.
///
/// # Errors
/// A file that cannot be read, a changed or missing row.
pub fn read_record(state: &Path) -> Result<Vec<EgressRow>, RecordError> {
    let path = state.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RecordError::Open { path, source }),
    };
    // A line that is being written just now is not there yet.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let lines: Vec<String> = text[..whole].lines().map(str::to_owned).collect();
    Ok(checked(&path, &lines)?.0)
}

fn checked(path: &Path, lines: &[String]) -> Result<(Vec<EgressRow>, Head), RecordError> {
    let mut head = Head { requests: 0, previous: Digest::from_bytes([0; 32]) };
    let mut rows = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        let bad =
            |reason: String| RecordError::Row { path: path.to_owned(), line: index + 1, reason };
        let row: EgressRow = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        head.check(&row).map_err(|reason| bad(reason.to_owned()))?;
        head.previous = sha256(line.as_bytes());
        rows.push(row);
    }
    Ok((rows, head))
}

impl Head {
    fn check(&mut self, row: &EgressRow) -> Result<(), &'static str> {
        let (EgressRow::Sent { previous, .. } | EgressRow::Answered { previous, .. }) = row;
        if *previous != self.previous {
            return Err("the row before it is not the one it was written after");
        }
        let EgressRow::Sent { number, body, body_sha256, .. } = row else { return Ok(()) };
        self.requests += 1;
        match (*number == self.requests, sha256(body.as_bytes()) == *body_sha256) {
            (false, _) => Err("its number is not the next one"),
            (_, false) => Err("its body has another digest"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal_protocol::UnixSeconds;
    use seal_service::clock::FixedClock;

    fn record(state: &Path) -> (EgressRecord, Vec<EgressRow>) {
        EgressRecord::open(state, Arc::new(FixedClock::at(UnixSeconds(7)))).unwrap()
    }

    fn send(record: &EgressRecord, body: &str) -> u64 {
        let url = "https://api.example.org/v1/chat/completions".to_owned();
        let head = RequestHead { method: "POST".to_owned(), url, headers: BTreeMap::new() };
        let context_digest = sha256(b"context");
        let purpose = Purpose { context_digest, proposal: 0, attempt: 1 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sent = record.sent(head, body.to_owned(), purpose, Spent::default());
        let number = runtime.block_on(sent).unwrap();
        let (detail, spent) = (String::new(), Spent::default());
        let ended = Ended { outcome: "ok", detail, spent, measured: true };
        runtime.block_on(record.answered(number, ended)).unwrap();
        number
    }

    #[test]
    fn rows_go_on_where_they_ended_and_keep_every_byte() {
        let state = tempfile::tempdir().unwrap();
        let body = "{\"text\":\"line\\nquote \\\" \u{e9}\"}";
        assert_eq!(send(&record(state.path()).0, body), 1);
        let (again, rows) = record(state.path());
        assert_eq!(rows.len(), 2);
        assert_eq!(send(&again, "{}"), 2);
        let rows = read_record(state.path()).unwrap();
        let EgressRow::Sent { body: kept, body_bytes, .. } = &rows[0] else { panic!("{rows:?}") };
        assert_eq!((kept.as_str(), *body_bytes), (body, body.len() as u64));
    }

    #[test]
    fn a_changed_and_a_missing_row_show() {
        let state = tempfile::tempdir().unwrap();
        let (open, _) = record(state.path());
        send(&open, "{\"secret\":1}");
        send(&open, "{\"secret\":2}");
        let path = state.path().join(FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        for (changed, line) in [
            (text.replacen("secret\\\":1", "secret\\\":3", 1), 1),
            (text.lines().skip(1).map(|line| format!("{line}\n")).collect(), 1),
            (text.replacen("\"outcome\":\"ok\"", "\"outcome\":\"no\"", 1), 3),
        ] {
            assert_ne!(changed, text);
            std::fs::write(&path, changed).unwrap();
            let error = read_record(state.path()).unwrap_err().to_string();
            assert!(error.contains(&format!(", line {line}: ")), "{error}");
        }
    }
}
