//! Replies that were paid for, kept under the digest of what was asked.
//!
//! **Invariant:** a reply is on disk before it is used, and what is on disk is never asked for again:
//! not by a job that was killed, not by another job, not by another process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use seal_protocol::Digest;
use seal_trust::sha256;
use serde::{Deserialize, Serialize};

use crate::egress::{Durable, Journal, JournalError, Spent};

/// Where the replies lie in the state folder.
const FILE: &str = "backend/replies.jsonl";

/// How a stored answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// With a reply.
    Written,
    /// With a refusal.
    Declined,
    /// With nothing.
    Empty,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaidReply {
    pub(crate) key: Digest,
    pub(crate) ending: Ending,
    /// Word for word.
    pub(crate) text: String,
    /// As the endpoint says: `stop`, `length`, ….
    pub(crate) finish: Option<String>,
    pub(crate) spent: Spent,
    /// The endpoint refused the schema, so it was asked for without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) schema_refused: bool,
}

/// A store that does not open.
#[derive(Debug, thiserror::Error)]
pub enum PaidError {
    /// The system refused.
    #[error("cannot open the paid replies `{}`: {source}; check that its folder is writable", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row that this program would not have written.
    #[error("paid replies `{}`, line {line}: {reason}; restore the file from a copy", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The store.
pub(crate) struct Paid {
    journal: Journal,
    known: HashMap<Digest, PaidReply>,
}

/// Names an order: endpoint, model, prompt and settings are in `url` and `body`.
pub(crate) fn key(url: &str, body: &[u8], seed: u64, proposal: u32) -> Digest {
    let mut bytes = b"seal/paid-reply/v1".to_vec();
    for part in [url.as_bytes(), body] {
        bytes.extend((part.len() as u64).to_le_bytes());
        bytes.extend(part);
    }
    bytes.extend(seed.to_le_bytes());
    bytes.extend(proposal.to_le_bytes());
    sha256(&bytes)
}

impl Paid {
    /// Opens the store under a state folder.
    pub(crate) fn open(state: &Path) -> Result<Self, PaidError> {
        let path = state.join(FILE);
        let (journal, lines) = Journal::open(&path)
            .map_err(|source| PaidError::Open { path: path.clone(), source })?;
        let mut known = HashMap::new();
        for (index, line) in lines.iter().enumerate() {
            let reply: PaidReply = serde_json::from_str(line).map_err(|error| PaidError::Row {
                path: path.clone(),
                line: index + 1,
                reason: error.to_string(),
            })?;
            known.insert(reply.key, reply);
        }
        Ok(Self { journal, known })
    }

    /// The answer to an order, if it was paid for.
    ///
    /// # Errors
    /// An answer could not be kept since the start: then what is known may not be on disk, and what
    /// would be paid for could not be kept either.
    pub(crate) fn get(&self, key: &Digest) -> Result<Option<&PaidReply>, JournalError> {
        self.journal.sound()?;
        Ok(self.known.get(key))
    }

    /// Starts to keep an answer; done when it is durable.
    pub(crate) fn keep(&mut self, reply: PaidReply) -> Durable {
        // Strings and numbers only: it always has a JSON form.
        let text = serde_json::to_string(&reply).unwrap_or_default();
        self.known.insert(reply.key, reply);
        self.journal.append(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_again_by_another_process() {
        let state = tempfile::tempdir().unwrap();
        let key = key("https://h/v1", b"{}", 1, 0);
        let text = "1. a\n2. b".to_owned();
        let (ending, finish, spent) = (Ending::Written, None, Spent::default());
        let reply = PaidReply { key, ending, text, finish, spent, schema_refused: false };
        let mut paid = Paid::open(state.path()).unwrap();
        assert_eq!(paid.get(&key).unwrap(), None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(paid.keep(reply.clone())).unwrap();
        assert_eq!(Paid::open(state.path()).unwrap().get(&key).unwrap(), Some(&reply));
    }

    #[test]
    fn after_an_answer_that_could_not_be_kept_none_is_used_and_none_is_asked_for() {
        let mut paid = Paid { journal: Journal::full(), known: HashMap::new() };
        let key = key("https://h/v1", b"{}", 1, 0);
        assert_eq!(paid.get(&key).unwrap(), None);
        let (ending, finish, spent) = (Ending::Written, None, Spent::default());
        let (text, schema_refused) = ("1. a".to_owned(), false);
        let reply = PaidReply { key, ending, text, finish, spent, schema_refused };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(paid.keep(reply)).unwrap_err();
        let after = paid.get(&key).unwrap_err().to_string();
        assert_eq!(after, error.to_string());
        assert!(after.contains("check free space and permissions"), "{after}");
    }

    #[test]
    fn every_part_of_an_order_changes_its_name() {
        let base = key("https://h/v1", b"{}", 1, 0);
        assert_ne!(base, key("https://i/v1", b"{}", 1, 0));
        assert_ne!(base, key("https://h/v1", b"{ }", 1, 0));
        assert_ne!(base, key("https://h/v1", b"{}", 2, 0));
        assert_ne!(base, key("https://h/v1", b"{}", 1, 1));
        assert_ne!(key("ab", b"c", 1, 0), key("a", b"bc", 1, 0));
    }
}
