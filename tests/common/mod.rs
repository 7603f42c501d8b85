//! A small run folder and the real programs, for the tests that cross process boundaries.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use seal_conductor::client::Client;
use seal_protocol::{Attempt, Digest, Health, LedgerEvent, Role, UnixSeconds, path};
use seal_service::endpoint::Endpoint;
use serde_json::Value;

/// Longest anything in a test may take before the test fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A run folder in a temporary folder.
pub struct Run {
    _temporary: tempfile::TempDir,
    pub folder: PathBuf,
}

impl Run {
    /// `seal init` with a few contexts: seconds, not minutes.
    pub fn small(extra: &[&str]) -> Self {
        let temporary = tempfile::Builder::new().prefix("seal-").tempdir().unwrap();
        let folder = temporary.path().join("run");
        let mut arguments = vec!["init", folder.to_str().unwrap()];
        let defaults = ["--contexts", "3", "--proposals", "2", "--held-out", "2", "--rounds", "1"];
        for pair in defaults.chunks(2).filter(|pair| !extra.contains(&pair[0])) {
            arguments.extend(pair);
        }
        arguments.extend(extra);
        let output = seal(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        Self { _temporary: temporary, folder }
    }

    /// A run folder with the configs of a preset, a base model of bytes that was barely trained, and
    /// these rows as passages.
    pub fn of_preset(preset: &str, rows: &[Value], said: &[&str], shares: &[&str]) -> Self {
        let temporary = tempfile::Builder::new().prefix("seal-").tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name).to_str().unwrap().to_owned();
        let (folder, base, passages) = (path("run"), path("bytes"), path("passages.jsonl"));
        let rows: Vec<String> = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(&passages, rows.concat()).unwrap();
        let preset = format!("{}/{preset}", env!("CARGO_MANIFEST_DIR"));
        let done = |arguments: &[&str]| {
            let output = seal(arguments);
            assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        };
        done(&["miniature", "bytes", "--out", &base, "--steps", "2", &passages]);
        done(&[&["init", &folder, "--from", &preset, "--base-model", &base], said].concat());
        done(&[&["import", "jsonl", &passages, "--into", &folder], shares].concat());
        Self { folder: folder.into(), _temporary: temporary }
    }

    /// A copy that can be harmed.
    pub fn copy(&self) -> Self {
        let temporary = tempfile::Builder::new().prefix("seal-").tempdir().unwrap();
        let folder = temporary.path().join("run");
        let status = Command::new("cp").arg("-a").arg(&self.folder).arg(&folder).status().unwrap();
        assert!(status.success());
        Self { _temporary: temporary, folder }
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.join(relative)
    }

    /// `seal <command> --run <folder> …`, to its end.
    pub fn seal(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["--run", self.folder.to_str().unwrap()];
        all.extend(arguments);
        seal(&all)
    }

    /// `seal run` to its successful end.
    pub fn complete(&self) {
        let output = self.seal(&["--quiet", "run"]);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// `seal run` in the background.
    pub fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_seal"))
            .args(["--quiet", "run", "--config"])
            .arg(self.path("run.toml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// One daemon in the background, ready.
    pub async fn daemon(&self, role: Role) -> Daemon {
        let child = Command::new(env!("CARGO_BIN_EXE_seal"))
            .args([role.name(), "--config"])
            .arg(self.path(&format!("{role}.toml")))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.path(&format!("logs/{role}-test.log"))).unwrap())
            .spawn()
            .unwrap();
        let socket = Endpoint::Unix(self.path(&format!("sockets/{role}.sock")));
        let client = Client::new(&socket);
        let daemon = Daemon { child, client };
        let begun = Instant::now();
        while daemon.client.get::<Health>(path::HEALTH).await.is_err() {
            assert!(begun.elapsed() < PATIENCE, "the {role} does not get ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        daemon
    }

    /// Tasks the conductor has recorded as done.
    pub fn tasks_done(&self) -> usize {
        let file = self.path("conductor/progress.sqlite");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let Ok(connection) = rusqlite::Connection::open_with_flags(file, flags) else { return 0 };
        connection
            .query_row("SELECT count(*) FROM results", [], |row| row.get::<_, i64>(0))
            .map_or(0, |count| usize::try_from(count).unwrap())
    }

    /// Process ids of the daemons of a `seal run` under way.
    pub fn pids(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.path("logs/pids.json")).ok()?).ok()
    }

    /// What the ledger says, without what differs between any two runs: times and signatures.
    pub fn ledger(&self) -> Vec<Attempt> {
        let state = self.path("auditor/state");
        let entries = seal_auditor::offline::ledger(&state).unwrap();
        entries
            .into_iter()
            .filter_map(|entry| match entry.event {
                LedgerEvent::Attempt(attempt) => Some(Attempt {
                    metrics_annex_digest: alike(&state, &attempt.metrics_annex_digest),
                    verdict_envelope_digest: None,
                    // Commitments are under a key that each auditor draws for itself.
                    tau: attempt.tau.into_keys().map(|context| (context, context)).collect(),
                    ..attempt
                }),
                LedgerEvent::Genesis { .. } | LedgerEvent::Rotation(_) => None,
            })
            .collect()
    }
}

/// The digest of an annex as if every request had come at the same time, signed with the same keys.
fn alike(state: &Path, annex: &Digest) -> Digest {
    let mut annex = seal_auditor::offline::annex(state, annex).unwrap();
    for facts in annex.candidates.iter_mut().filter_map(|candidate| candidate.facts.as_mut()) {
        facts.request.at = UnixSeconds(0);
        facts.candidate.edits.iter_mut().for_each(|edit| edit.keyid.clear());
    }
    seal_trust::sha256(&serde_json::to_vec(&annex).unwrap())
}

/// A library for `LD_PRELOAD`, built from a source file of these tests by the compiler that built them.
pub struct Preloaded(tempfile::TempDir);

impl Preloaded {
    pub fn build(source: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("seal-preload-").tempdir().unwrap();
        let beside_cargo = Path::new(env!("CARGO")).with_file_name("rustc");
        let compiler = if beside_cargo.is_file() { beside_cargo } else { "rustc".into() };
        let library = Self(folder);
        let built = Command::new(compiler)
            .args(["--edition", "2024", "--crate-type", "cdylib", "-D", "warnings"])
            .args(["-C", "panic=abort", "-C", "opt-level=1", "-o"])
            .arg(library.path())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", stderr(&built));
        library
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("libpreloaded.so")
    }
}

/// A daemon of a test; killed with it.
pub struct Daemon {
    child: Child,
    pub client: Client,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn seal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seal"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("SEAL_RUN")
        .output()
        .unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every regular file below a folder, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => open.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
