//! Where the data of a run go, as JSON Lines.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{RunData, RunDataError};
use crate::items::ReplayLine;

/// Where the files of a run go.
#[derive(Clone, Debug)]
pub struct RunLayout {
    /// The teacher's contexts.
    pub contexts: PathBuf,
    /// The auditor's τ vault.
    pub tau: PathBuf,
    /// The auditor's suites: `retention.jsonl` and `refusals.jsonl` are written into it.
    pub suites: PathBuf,
    /// Folders that get `world.jsonl` and `refusals.jsonl`: the student's and the teacher's.
    pub replay: Vec<PathBuf>,
}

impl RunLayout {
    /// `teacher/`, `student/` and `auditor/` under one folder.
    pub fn under(dir: &Path) -> Self {
        Self {
            contexts: dir.join("teacher/contexts.jsonl"),
            tau: dir.join("auditor/tau.jsonl"),
            suites: dir.join("auditor/suites"),
            replay: vec![dir.join("student/replay"), dir.join("teacher/replay")],
        }
    }
}

impl RunData {
    /// Writes every file of the layout.
    ///
    /// # Errors
    /// The first file that could not be written.
    pub fn write(&self, layout: &RunLayout) -> Result<(), RunDataError> {
        write_lines(&layout.contexts, &self.context_records())?;
        write_lines(&layout.tau, &self.tau_records())?;
        write_lines(&layout.suites.join("retention.jsonl"), &self.retention)?;
        write_lines(&layout.suites.join("refusals.jsonl"), &self.refusals)?;
        for dir in &layout.replay {
            write_lines(&dir.join("world.jsonl"), &replay(&self.replay_world))?;
            write_lines(&dir.join("refusals.jsonl"), &replay(&self.replay_refusals))?;
        }
        Ok(())
    }
}

fn replay(lines: &[String]) -> Vec<ReplayLine> {
    lines.iter().map(|text| ReplayLine { text: text.clone() }).collect()
}

fn write_lines<T: Serialize>(path: &Path, records: &[T]) -> Result<(), RunDataError> {
    let failed = |source| RunDataError::Write { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    std::fs::write(path, json_lines(records).map_err(|error| failed(error.into()))?).map_err(failed)
}

pub(super) fn json_lines<T: Serialize>(records: &[T]) -> serde_json::Result<String> {
    let mut text = String::new();
    for record in records {
        text.push_str(&serde_json::to_string(record)?);
        text.push('\n');
    }
    Ok(text)
}
