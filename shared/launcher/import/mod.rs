//! Text with questions, split by who may read it: contexts for the teacher, τ for the auditor.
//!
//! **Invariant:** no question and no answer is written outside the auditor's folder, and a question
//! that stands word for word in a context is no question of τ.
//! **Invariant:** the same sources, seed and shares give the same bytes.
//! **Invariant:** what is left out is named, by place and reason, never by its text.

mod folder;
mod jsonl;
mod part;
mod quotes;
pub(crate) mod run_folder;
mod squad;
pub(crate) mod suites;
mod write;

use std::path::PathBuf;

use seal_protocol::Digest;
use serde::Serialize;

pub(crate) use self::folder::read as read_folder;
pub(crate) use self::jsonl::read as read_jsonl;
pub(crate) use self::part::{Parts, Shares, part};
pub(crate) use self::squad::read as read_squad;
pub(crate) use self::write::{json_lines, write};

/// One passage with its questions, as a source has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passage {
    /// Its name in the source.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) text: String,
    pub(crate) questions: Vec<Question>,
    /// Where it comes from, where the source says so: for the auditor's quota.
    pub(crate) origin: Option<String>,
    /// The round that learns from it, from 1, where the source says so.
    pub(crate) round: Option<u32>,
}

/// One question with its gold answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Where it stands in the source.
    pub(crate) place: String,
    pub(crate) question: String,
    pub(crate) answer: String,
}

/// What a source holds.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) passages: Vec<Passage>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) files: Vec<SourceFile>,
}

/// A file that was read.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) sha256: Digest,
}

/// Something that was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    /// Where it stands.
    pub(crate) place: String,
    /// Why.
    pub(crate) reason: String,
}

impl Source {
    /// Reads a file as text and records its digest.
    ///
    /// # Errors
    /// A file that is not there or no UTF-8.
    fn read_file(&mut self, path: &std::path::Path) -> anyhow::Result<String> {
        use anyhow::Context;
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read `{}`; name an existing file", path.display()))?;
        self.files.push(SourceFile { path: path.to_owned(), sha256: seal_trust::sha256(&bytes) });
        String::from_utf8(bytes)
            .ok()
            .with_context(|| format!("`{}` is no UTF-8 text; convert it first", path.display()))
    }

    fn leave_out(&mut self, place: impl Into<String>, reason: impl Into<String>) {
        self.left_out.push(LeftOut { place: place.into(), reason: reason.into() });
    }
}

#[cfg(test)]
mod tests;
