//! Questions with a gold answer: the material of τ and of the suites. Never leaves this process.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What an item asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A fact as the context states it.
    Forward,
    /// The same fact, asked from its value.
    Inverse,
    /// What follows from a fact and other knowledge.
    Implication,
    /// A question that must be refused.
    Protected,
    /// Knowledge that must survive an update.
    Knowledge,
}

/// One question with its gold answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Unique within its file; the only part of an item that a metrics annex shows.
    pub id: String,
    /// As it is asked.
    pub question: String,
    /// Gold answer. May be left out in the reward split of an auditor whose labels are voted, and nowhere
    /// else.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// What it asks about.
    pub kind: ItemKind,
    /// What the question is about, where it does not say so itself: the title of its passage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

impl Item {
    /// The question as a model reads it: under its topic, as in the original system.
    pub fn asked(&self) -> Cow<'_, str> {
        match &self.topic {
            None => Cow::Borrowed(&self.question),
            Some(topic) => Cow::Owned(format!("Topic: {topic}\n{}", self.question)),
        }
    }
}

/// A file of the vault cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ItemsError {
    /// Not readable.
    #[error("cannot read `{}`: {source}; name an existing file in the auditor's config", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line does not parse. The message shows no content of the line.
    #[error("`{}` line {line}, column {column}: not a row of the expected shape; see docs for the fields", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// A suite that cannot be judged as the config says.
    #[error("[grading]: {what}")]
    Grading {
        /// What is wrong and where.
        what: String,
    },
    /// Rows that contradict each other or say nothing.
    #[error("`{}`: {what}", path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong and where.
        what: String,
    },
}

/// Rows of a JSON Lines file; blank lines are skipped.
///
/// # Errors
/// A file that cannot be read, or a line of another shape. The line's text stays out of the error:
/// it may be a τ item.
pub fn read_rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ItemsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ItemsError::Read { path: path.to_owned(), source })?;
    let rows = text.lines().enumerate();
    rows.filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| parse(path, number + 1, line))
        .collect()
}

fn parse<T: DeserializeOwned>(path: &Path, number: usize, line: &str) -> Result<T, ItemsError> {
    serde_json::from_str(line).map_err(|error| ItemsError::Row {
        path: path.to_owned(),
        line: number,
        column: error.column(),
    })
}

#[cfg(test)]
pub(crate) fn item(id: &str, question: &str, answer: &str) -> Item {
    Item {
        id: id.to_owned(),
        question: question.to_owned(),
        answer: answer.to_owned(),
        kind: ItemKind::Forward,
        topic: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_row_is_named_by_place_and_its_text_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tau.jsonl");
        std::fs::write(&path, "{\"id\":\"a\",\"question\":\"canary-question\"}\n").unwrap();
        let error = read_rows::<Item>(&path).unwrap_err().to_string();
        assert!(error.contains("tau.jsonl") && error.contains("line 1"), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
}
