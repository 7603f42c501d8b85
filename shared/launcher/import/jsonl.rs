//! Our own shape: one passage per line, with its questions.
//!
//! ```json
//! {"id": "p1", "title": "Otrar", "context": "…", "questions": [{"question": "…", "answer": "…"}]}
//! ```
//!
//! `source` and `round` may stand in a line, too.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde::Deserialize;

use super::{Passage, Question, Source};

/// One line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default)]
    id: Option<String>,
    title: String,
    #[serde(alias = "text")]
    context: String,
    #[serde(default)]
    questions: Vec<Asked>,
    /// Where it comes from: a supplier, a site.
    #[serde(default)]
    source: Option<String>,
    /// The round that learns from it, from 0 as in the recorded data.
    #[serde(default)]
    round: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(alias = "q")]
    question: String,
    #[serde(alias = "a")]
    answer: String,
}

/// Reads files of passages, one after another.
///
/// # Errors
/// A file that cannot be read; the first line of another shape.
pub(crate) fn read(files: &[PathBuf]) -> Result<Source> {
    let mut source = Source::default();
    for file in files {
        let text = source.read_file(file)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        for (index, line) in lines {
            let row: Row = parse(file, index + 1, line)?;
            source.passages.push(row.passage(index + 1));
        }
    }
    Ok(source)
}

/// One line, or its place and what is wrong.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    file: &Path,
    line: usize,
    text: &str,
) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        anyhow!("{}:{line}:{}: {reason}", file.display(), error.column())
    })
}

impl Row {
    fn passage(self, line: usize) -> Passage {
        let id = self.id.unwrap_or_else(|| format!("line-{line}"));
        let question = |(index, asked): (usize, Asked)| Question {
            place: format!("question {index} of {id}"),
            question: asked.question,
            answer: asked.answer,
        };
        Passage {
            questions: self.questions.into_iter().enumerate().map(question).collect(),
            id,
            title: self.title,
            text: self.context,
            origin: self.source,
            round: self.round.map(|round| round.saturating_add(1)),
        }
    }
}
