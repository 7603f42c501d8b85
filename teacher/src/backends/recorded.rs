//! Replies that were written before, from a JSON Lines file: one row per context and proposal.
//!
//! A row has `text`, `k` (which proposal, from 0; left out: 0) and either `id` (the context's name in
//! the contexts file) or `context_digest`. Further fields are of no concern here, so the recorded runs
//! of the original system are such files as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seal_protocol::{Digest, ReplySchema};
use seal_trust::sha256;
use serde::Deserialize;
use serde_json::Value;

use super::{Backend, Order, Outcome, Sampling, Written};
use crate::error::TeacherError;
use crate::teacher::Report;

/// `[backend]` of `teacher.toml` with `kind = "recorded"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedConfig {
    /// The file.
    pub file: PathBuf,
    /// Use only rows whose fields have these values, where a file holds several runs.
    #[serde(default)]
    pub only: BTreeMap<String, Value>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordedError {
    /// Not there or not readable.
    #[error("cannot read recorded edits `{}`: {source}; set `file` under [backend] to an existing file", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A row of another shape.
    #[error("recorded edits `{}`, line {line}: {reason}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, with the mend.
        reason: String,
    },
}

/// What names a context in a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Id(String),
    Digest(Digest),
}

/// A context and the number of a proposal for it.
type Place = (Name, u32);

#[derive(Deserialize)]
struct Row {
    id: Option<String>,
    context_digest: Option<Digest>,
    #[serde(default)]
    k: u32,
    text: String,
}

/// The replies, by context and proposal.
#[derive(Debug)]
pub(crate) struct Recorded {
    replies: BTreeMap<Place, String>,
    digest: Digest,
    schema: Option<ReplySchema>,
}

impl Recorded {
    /// Reads the file.
    ///
    /// # Errors
    /// A file that cannot be read, a row of another shape, two rows for one proposal.
    pub(crate) fn read(config: &RecordedConfig) -> Result<Self, RecordedError> {
        let path: &Path = &config.file;
        let failed = |source| RecordedError::Read { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut replies = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let bad =
                |reason| RecordedError::Row { path: path.to_owned(), line: index + 1, reason };
            if let Some((name, text)) = read_row(line, &config.only).map_err(bad)?
                && replies.insert(name, text).is_some()
            {
                let mend = "set `only` under [backend], e.g. `only = { cond = \"base\" }`";
                return Err(bad(format!("an earlier row has the same context and `k`; {mend}")));
            }
        }
        Ok(Self { replies, digest: sha256(text.as_bytes()), schema: None })
    }

    /// For a prompt family with a schema, which nobody knew when the replies were written.
    pub(crate) fn of_schema(self, has_schema: bool) -> Self {
        Self { schema: has_schema.then_some(ReplySchema::Unsent), ..self }
    }

    fn find(&self, order: &Order) -> Option<&String> {
        let names = [Name::Digest(order.context_digest), Name::Id(order.context_id.clone())];
        names.into_iter().find_map(|name| self.replies.get(&(name, order.proposal)))
    }
}

/// The row's place and text; `None` for a row that is not wanted.
fn read_row(line: &str, only: &BTreeMap<String, Value>) -> Result<Option<(Place, String)>, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if only.iter().any(|(field, wanted)| value.get(field) != Some(wanted)) {
        return Ok(None);
    }
    let row: Row = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let name = match (row.context_digest, row.id) {
        (Some(digest), _) => Name::Digest(digest),
        (None, Some(id)) => Name::Id(id),
        (None, None) => return Err("it has neither `id` nor `context_digest`".to_owned()),
    };
    Ok(Some(((name, row.k), row.text)))
}

impl Backend for Recorded {
    fn first_policy(&self) -> Digest {
        self.digest
    }

    fn write(
        &mut self,
        orders: &[Order],
        _: &Sampling,
        report: Report<'_>,
    ) -> Result<Vec<Outcome>, TeacherError> {
        let outcome = |order: &Order| match self.find(order) {
            Some(text) => Outcome::Written(Written {
                text: text.clone(),
                tokens: Vec::new(),
                prompt_digest: order.prompt_digest,
                schema: self.schema,
            }),
            None => Outcome::Missed(format!(
                "not_recorded: the file has no row for `{}` with k = {}",
                order.context_id, order.proposal
            )),
        };
        let outcomes: Vec<Outcome> = orders.iter().map(outcome).collect();
        report(outcomes.len() as u64, outcomes.len() as u64);
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::Prompt;
    use seal_protocol::Micro;

    fn read(rows: &str, only: &[(&str, &str)]) -> Result<Recorded, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), rows).unwrap();
        let only = only.iter().map(|(field, value)| ((*field).to_owned(), (*value).into()));
        let config = RecordedConfig { file: file.path().to_owned(), only: only.collect() };
        Recorded::read(&config).map_err(|error| error.to_string())
    }

    fn reply(recorded: &mut Recorded, context_id: &str, proposal: u32) -> Result<String, String> {
        let context_digest = sha256(context_id.as_bytes());
        let prompt = Prompt::Words(seal_endpoint::Prompt::Text(String::new()));
        let context_id = context_id.to_owned();
        let prompt_digest = prompt.digest();
        let order = Order { prompt, prompt_digest, context_digest, context_id, proposal, seed: 0 };
        let sampling =
            Sampling { policy: recorded.first_policy(), model: None, temperature: Micro(0) };
        match recorded.write(&[order], &sampling, &mut |_, _| {}).unwrap().pop().unwrap() {
            Outcome::Written(written) => Ok(written.text),
            Outcome::Missed(reason) => Err(reason),
        }
    }

    #[test]
    fn a_reply_is_found_by_name_or_digest_and_number() {
        let digest = sha256(b"b");
        let rows = format!(
            "{{\"id\":\"a\",\"k\":1,\"text\":\"one\",\"round\":0}}\n\
             {{\"context_digest\":\"{digest}\",\"text\":\"zero\"}}\n"
        );
        let mut recorded = read(&rows, &[]).unwrap();
        assert_eq!(reply(&mut recorded, "a", 1).unwrap(), "one");
        assert_eq!(reply(&mut recorded, "b", 0).unwrap(), "zero");
        let missed = reply(&mut recorded, "a", 0).unwrap_err();
        assert_eq!(missed, "not_recorded: the file has no row for `a` with k = 0");
    }

    #[test]
    fn of_several_runs_one_is_chosen() {
        let rows = "{\"cond\":\"x\",\"id\":\"a\",\"text\":\"1\"}\n\
                    {\"cond\":\"y\",\"id\":\"a\",\"text\":\"2\"}\n";
        assert!(read(rows, &[]).unwrap_err().contains("line 2: an earlier row has the same"));
        let mut second = read(rows, &[("cond", "y")]).unwrap();
        assert_eq!(reply(&mut second, "a", 0).unwrap(), "2");
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        for bad in ["{", "{\"text\":\"x\"}", "{\"id\":\"a\"}", "{\"id\":\"a\",\"text\":7}"] {
            let rows = format!("{{\"id\":\"b\",\"text\":\"x\"}}\n\n{bad}\n");
            assert!(read(&rows, &[]).unwrap_err().contains(", line 3: "), "{bad}");
        }
    }

    /// The recorded runs, where they are at hand.
    #[test]
    fn the_recorded_runs_of_the_original_are_such_files() {
        let folder = std::env::var_os("SEAL_REFERENCE_DATA").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/seal"),
            PathBuf::from,
        );
        let file = folder.join("self_edits_train.jsonl");
        if !file.is_file() {
            println!("skipped: no recorded runs at `{}`", folder.display());
            return;
        }
        let only = BTreeMap::from([("round".to_owned(), 0.into())]);
        let mut recorded = Recorded::read(&RecordedConfig { file, only }).unwrap();
        assert_eq!(recorded.replies.len(), 250);
        assert!(reply(&mut recorded, "r0-49", 4).is_ok());
        assert!(reply(&mut recorded, "r1-00", 0).is_err());
    }
}
