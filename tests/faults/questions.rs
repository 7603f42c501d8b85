//! The judge's endpoint in these runs: it knows the cases of the constitution and permits everything else.
//!
//! One for all runs, because its address stands in what is judged; a run is told from the others by the
//! API key that lies in its folder.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use toml_edit::{DocumentMut, value};

use super::common::Run;
use super::judged::double::Double;
use super::judged::{folder, material, right};

const KEY: &str = "keys/judge-api-key";

pub(crate) struct Endpoint(Double);

impl Endpoint {
    pub(crate) fn start() -> Self {
        Self(Double::start(|_, body| right(&material(body), || false)))
    }

    /// The judge that asks here, for `seal init`.
    pub(crate) fn judge(&self) -> tempfile::TempDir {
        folder(&self.0)
    }

    /// Every question of a run with how often it came, word for word.
    pub(crate) fn questions(&self, run: &Run) -> BTreeMap<Vec<u8>, usize> {
        let key = format!("Bearer {}", key(run));
        let mut questions = BTreeMap::new();
        for one in self.0.received().into_iter().filter(|one| one.headers["authorization"] == key) {
            *questions.entry(one.body).or_insert(0) += 1;
        }
        questions
    }
}

/// Makes a run's judge ask for one thing at a time, and with a key.
pub(crate) fn one_by_one(run: &Run) {
    let file = run.path("judge.toml");
    let mut config: DocumentMut = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    config["backend"]["concurrency"] = value(1);
    config["backend"]["api_key_file"] = value(KEY);
    std::fs::write(&file, config.to_string()).unwrap();
}

/// Puts a key of its own into a run folder.
pub(crate) fn put_key(run: &Run) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(run.path(KEY));
    file.unwrap().write_all(key(run).as_bytes()).unwrap();
}

/// The name of the temporary folder round it.
fn key(run: &Run) -> &str {
    run.folder.parent().and_then(|folder| folder.file_name()?.to_str()).unwrap()
}
