//! The contexts: what the policy writes self-edits about. Their texts leave the teacher only inside
//! an edit.
//!
//! **Invariant:** a context is found by the digest of its text, so no request can smuggle in another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seal_protocol::Digest;
use serde::Deserialize;

/// One row of the contexts file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Its name in the run.
    pub id: String,
    /// What people call it.
    pub title: String,
    /// The passage.
    pub text: String,
}

/// All contexts, by the digest of their text.
#[derive(Debug, Default)]
pub struct Contexts(BTreeMap<Digest, Context>);

/// A contexts file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextsError {
    /// The file is not there or not readable.
    #[error("cannot read contexts file `{}`: {source}; set `contexts` to an existing file", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row of another shape.
    #[error("contexts file `{}`, line {line}: {reason}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

impl Contexts {
    /// Reads a JSON Lines file of `{"id", "title", "text"}` rows.
    ///
    /// # Errors
    /// A file that cannot be read; a row of another shape, with an empty text, or with a text that
    /// an earlier row has.
    pub fn read(path: &Path) -> Result<Self, ContextsError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ContextsError::Read { path: path.to_owned(), source })?;
        let mut contexts = Self::default();
        for (index, row) in text.lines().enumerate() {
            if row.trim().is_empty() {
                continue;
            }
            let line = index + 1;
            let path = path.to_owned();
            contexts.insert_row(row).map_err(|reason| ContextsError::Row { path, line, reason })?;
        }
        Ok(contexts)
    }

    fn insert_row(&mut self, row: &str) -> Result<(), String> {
        let context: Context = serde_json::from_str(row).map_err(|error| error.to_string())?;
        if context.text.trim().is_empty() {
            return Err(format!("context `{}` has an empty text", context.id));
        }
        let digest = seal_trust::sha256(context.text.as_bytes());
        let id = context.id.clone();
        match self.0.insert(digest, context) {
            None => Ok(()),
            Some(earlier) => Err(format!("`{id}` has the same text as `{}`", earlier.id)),
        }
    }

    /// The context whose text has this digest.
    pub fn get(&self, digest: &Digest) -> Option<&Context> {
        self.0.get(digest)
    }

    /// Number of contexts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: &str) -> Result<Contexts, ContextsError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rows).unwrap();
        Contexts::read(file.path())
    }

    #[test]
    fn a_context_is_found_by_the_digest_of_its_text() {
        let contexts =
            read("{\"id\":\"train-000\",\"title\":\"zel tor\",\"text\":\"here is x .\"}\n");
        let contexts = contexts.unwrap();
        let digest = seal_trust::sha256(b"here is x .");
        assert_eq!(contexts.get(&digest).unwrap().id, "train-000");
        assert_eq!(contexts.len(), 1);
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        let good = "{\"id\":\"a\",\"title\":\"\",\"text\":\"x\"}\n";
        for bad in [
            "{\"id\":\"b\",\"title\":\"\",\"text\":\"x\"}",
            "{\"id\":\"b\",\"title\":\"\",\"text\":\" \"}",
            "{\"id\":\"b\",\"text\":\"y\"}",
            "{\"id\":\"b\",\"title\":\"\",\"text\":\"y\",\"extra\":1}",
        ] {
            let error = read(&format!("{good}{bad}\n")).unwrap_err();
            assert!(matches!(error, ContextsError::Row { line: 2, .. }), "{error}");
        }
    }
}
