//! A daemon as its peers and its starter see it: over the socket, by signals, by exit codes.
//!
//! `unsafe` for one call only: sending a signal to a child of ours.
#![allow(unsafe_code, clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ExitCode, ExitStatus};
use std::sync::Arc;

use seal_protocol::{Digest, ErrorBody, JobStatus, Role, path};
use seal_service::confine::{ConfinementPlan, Profile};
use seal_service::daemon::{Built, Context, DaemonSpec, run};
use seal_service::endpoint::Endpoint;
use seal_service::http::{Limits, call_route, get_file_route, job_route, put_file_route};
use seal_service::jobs::{Progress, Worker};
use seal_service::store::ContentStore;
use serde::Deserialize;
use serde_json::{Value, json};

fn main() {
    common::main(
        tests![
            a_daemon_tells_its_health_and_that_it_is_confined,
            a_repeated_request_is_the_same_job,
            bad_requests_get_one_clear_error_and_the_daemon_lives,
            a_panic_in_handler_or_worker_is_an_answer_and_no_end,
            files_come_in_whole_or_not_at_all,
            signals_end_it_with_the_documented_codes,
            a_job_that_was_running_at_a_kill_is_done_after_the_restart,
            a_socket_in_use_is_exit_4_and_named,
            a_failed_start_is_exit_3_and_says_why,
            it_ends_with_its_parent,
        ],
        play,
    );
}

// ---- the daemon under test ----

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[allow(dead_code)]
    text: String,
}

struct Scripted {
    state: PathBuf,
}

impl Worker for Scripted {
    fn run(&mut self, kind: &str, body: &[u8], progress: &Progress) -> Result<Value, ErrorBody> {
        progress.set(1, 2);
        let body: Value = serde_json::from_slice(body).unwrap();
        match body["text"].as_str().unwrap() {
            "panic" => panic!("a secret text"),
            "hold" => hold_until(&self.state.join("go-on")),
            _ => {}
        }
        Ok(json!({ "kind": kind, "echo": body["text"] }))
    }
}

/// Waits for ever, unless the file is there.
fn hold_until(file: &Path) {
    while !file.exists() {
        std::thread::park();
    }
}

fn build(context: &Context) -> anyhow::Result<Built<Scripted>> {
    let state = context.state_folder.clone();
    if state.join("no-model").exists() {
        anyhow::bail!("model folder `base` has no config.json; put the model there");
    }
    let store = Arc::new(ContentStore::new(state.join("files"))?);
    let router = job_route::<Request>("/v1/work", "work", &context.jobs, 4096)
        .merge(call_route::<Request>("/v1/quick", "quick", &context.jobs, |_| None))
        .merge(put_file_route(path::ADAPTER_FILE, store.clone(), 1000))
        .merge(get_file_route(path::ADAPTER_FILE, store))
        .route("/v1/panic", axum::routing::get(panics));
    let base_model_digest = Some(Digest::from_bytes([7; 32]));
    Ok(Built { router, worker: Scripted { state }, base_model_digest })
}

async fn panics() {
    panic!("a secret text");
}

fn spec(folder: &Path) -> DaemonSpec {
    DaemonSpec {
        role: Role::Student,
        version: "0.0.0-test",
        endpoint: Endpoint::Unix(folder.join("run/daemon.sock")),
        tls: None,
        state_folder: folder.join("state"),
        plan: ConfinementPlan {
            read: vec![],
            write: vec![],
            gpu: false,
            connect_ports: vec![],
            profile: Profile::Strict,
            decoy_dir: folder.join("secret"),
            must_not_read: vec![],
            must_not_connect: vec![],
        },
        limits: Limits { json_bytes: 2048, ..Limits::default() },
        exit_with_parent: folder.join("exit-with-parent").exists(),
    }
}

#[allow(clippy::zombie_processes, reason = "a daemon that nobody waits for is the act")]
fn play(act: &str, folder: &Path) {
    match act {
        "daemon" => end(run(spec(folder), build)),
        // Starts a daemon that writes to the same stderr, and ends without a word to it.
        "parent" => {
            let mut daemon = common::child("daemon", folder);
            let daemon = daemon.stderr(std::process::Stdio::inherit()).spawn().unwrap();
            request(folder, "GET", path::HEALTH, b"");
            println!("{}", daemon.id());
        }
        other => panic!("no act `{other}`"),
    }
}

/// `main` of these tests returns nothing, so the code is passed on by hand.
fn end(code: ExitCode) {
    let known = [0, 1, 3, 4, 130].into_iter().find(|known| ExitCode::from(*known) == code);
    std::process::exit(known.unwrap_or(99).into());
}

// ---- its starter ----

struct Daemon {
    folder: Arc<tempfile::TempDir>,
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Daemon {
    fn start() -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()))
    }

    fn start_in(folder: Arc<tempfile::TempDir>) -> Self {
        let mut child = common::child("daemon", folder.path()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut daemon = Self { folder, child, log };
        daemon.read_until("\"message\":\"ready\"");
        daemon
    }

    fn read_until(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "ended before `{part}`");
        }
    }

    fn ask(&self, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        request(self.folder.path(), method, path, body)
    }

    fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(method, path, body.as_bytes());
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn submit(&self, text: &str) -> String {
        let (status, body) = self.json("POST", "/v1/work", &json!({ "text": text }).to_string());
        assert_eq!(status, 202);
        body["job"].as_str().unwrap().to_owned()
    }

    /// Asks again and again until `wanted` holds.
    fn job(&self, id: &str, wanted: fn(&JobStatus) -> bool) -> JobStatus {
        loop {
            let (status, body) = self.ask("GET", &format!("/v1/jobs/{id}"), b"");
            assert_eq!(status, 200);
            let status = serde_json::from_slice(&body).unwrap();
            if wanted(&status) {
                return status;
            }
        }
    }

    fn signal(mut self, signal: i32) -> ExitStatus {
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP exchange; waits for the socket to appear.
fn request(folder: &Path, method: &str, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let socket = folder.join("run/daemon.sock");
    let mut stream = loop {
        match UnixStream::connect(&socket) {
            Ok(stream) => break stream,
            Err(_) => std::thread::yield_now(),
        }
    };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // A daemon that has read enough may answer and close before the end.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
    (status, answer[split + 4..].to_vec())
}

fn settled(status: &JobStatus) -> bool {
    matches!(status, JobStatus::Done { .. } | JobStatus::Failed { .. })
}

fn running(status: &JobStatus) -> bool {
    matches!(status, JobStatus::Running { done: 1, total: 2 })
}

// ---- the tests ----

fn a_daemon_tells_its_health_and_that_it_is_confined() {
    let daemon = Daemon::start();
    let (status, health) = daemon.json("GET", path::HEALTH, "");
    assert_eq!(status, 200);
    assert_eq!(health["role"], "student");
    assert_eq!(health["pid"], daemon.child.id());
    assert_eq!(health["base_model_digest"], "07".repeat(32));
    assert_eq!(health["enforcement"]["level"], "full");
    let (status, report) = daemon.json("GET", path::CONFINEMENT, "");
    assert_eq!(status, 200);
    let probes = report["probes"].as_array().unwrap();
    assert!(probes.len() >= 8 && probes.iter().all(|probe| probe["refused"] == true), "{report}");
}

fn a_repeated_request_is_the_same_job() {
    let daemon = Daemon::start();
    let id = daemon.submit("a");
    assert_eq!(daemon.submit("a"), id);
    assert_ne!(daemon.submit("b"), id);
    let result = json!({ "kind": "work", "echo": "a" });
    assert_eq!(daemon.job(&id, settled), JobStatus::Done { result });
    let (status, quick) = daemon.json("POST", "/v1/quick", r#"{"text":"c"}"#);
    assert_eq!((status, &quick["echo"]), (200, &json!("c")));
}

fn bad_requests_get_one_clear_error_and_the_daemon_lives() {
    let daemon = Daemon::start();
    let long = json!({ "text": "x".repeat(5000) }).to_string();
    let job = format!("/v1/jobs/{}", "0".repeat(64));
    for (method, path, body, status, code) in [
        ("POST", "/v1/work", "{", 400, "bad_request"),
        ("POST", "/v1/work", r#"{"text":1}"#, 400, "bad_request"),
        ("POST", "/v1/work", r#"{"text":"a","more":1}"#, 400, "bad_request"),
        ("POST", "/v1/work", r#"{"text":"a","text":"b"}"#, 400, "bad_request"),
        ("POST", "/v1/work", &"[".repeat(4000), 400, "bad_request"),
        ("POST", "/v1/work", &long, 413, "body_too_large"),
        ("POST", "/v1/quick", &long[..3000], 413, "body_too_large"),
        ("GET", "/v1/jobs/xyz", "", 400, "bad_digest"),
        ("GET", &job, "", 404, "unknown_job"),
        ("GET", "/v2/work", "", 404, "unknown_path"),
        ("DELETE", "/v1/work", "", 405, "other_method"),
    ] {
        let (found, error) = daemon.json(method, path, body);
        assert_eq!(
            (found, error["code"].as_str()),
            (status, Some(code)),
            "{method} {path} {error}"
        );
        assert!(error["message"].as_str().unwrap().ends_with('.'));
    }
    assert_eq!(daemon.ask("GET", path::HEALTH, b"").0, 200);
}

fn a_panic_in_handler_or_worker_is_an_answer_and_no_end() {
    let mut daemon = Daemon::start();
    let (status, error) = daemon.json("GET", "/v1/panic", "");
    assert_eq!((status, error["code"].as_str()), (500, Some("internal")));
    let (status, error) = daemon.json("POST", "/v1/quick", r#"{"text":"panic"}"#);
    assert_eq!((status, error["code"].as_str()), (500, Some("worker_panicked")));
    let id = daemon.submit("panic");
    assert!(matches!(daemon.job(&id, settled), JobStatus::Failed { .. }));
    assert_eq!(daemon.ask("GET", path::HEALTH, b"").0, 200);
    daemon.child.kill().unwrap();
    let mut log = String::new();
    daemon.log.read_to_string(&mut log).unwrap();
    assert!(log.contains("tests/daemon.rs:") && !log.contains("a secret text"), "{log}");
}

fn files_come_in_whole_or_not_at_all() {
    let daemon = Daemon::start();
    let digest = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let name = format!("/v1/adapter-files/{digest}");
    assert_eq!(daemon.ask("GET", &name, b"").0, 404);
    assert_eq!(daemon.ask("PUT", &name, b"other").0, 422);
    assert_eq!(daemon.ask("PUT", &name, &[b'x'; 1001]).0, 413);
    assert_eq!(daemon.ask("GET", &name, b"").0, 404);
    assert_eq!(daemon.ask("PUT", &name, b"hello").0, 204);
    assert_eq!(daemon.ask("PUT", &name, b"hello").0, 204);
    assert_eq!(daemon.ask("GET", &name, b""), (200, b"hello".to_vec()));
    let stored = daemon.folder.path().join("state/files");
    assert_eq!(std::fs::read_dir(&stored).unwrap().count(), 1);
    std::fs::write(stored.join(digest), b"hellO").unwrap();
    assert_eq!(daemon.ask("GET", &name, b"").0, 500);
    assert_eq!(daemon.ask("PUT", "/v1/adapter-files/..%2Fjobs.sqlite", b"hello").0, 400);
}

fn signals_end_it_with_the_documented_codes() {
    assert_eq!(Daemon::start().signal(libc::SIGTERM).code(), Some(0));
    assert_eq!(Daemon::start().signal(libc::SIGINT).code(), Some(130));
    // A job at work does not hold the end up.
    let busy = Daemon::start();
    let id = busy.submit("hold");
    busy.job(&id, running);
    assert_eq!(busy.signal(libc::SIGTERM).code(), Some(0));
}

fn a_job_that_was_running_at_a_kill_is_done_after_the_restart() {
    let first = Daemon::start();
    let folder = first.folder.clone();
    let id = first.submit("hold");
    let behind = first.submit("behind");
    first.job(&id, running);
    first.signal(libc::SIGKILL);
    std::fs::write(folder.path().join("state/go-on"), b"").unwrap();
    let second = Daemon::start_in(folder);
    for job in [id, behind] {
        assert!(matches!(second.job(&job, settled), JobStatus::Done { .. }));
    }
}

fn a_socket_in_use_is_exit_4_and_named() {
    let first = Daemon::start();
    let second = common::child("daemon", first.folder.path()).output().unwrap();
    assert_eq!(second.status.code(), Some(4));
    let log = String::from_utf8(second.stderr).unwrap();
    assert!(log.contains("run/daemon.sock` is in use; stop the process"), "{log}");
    assert_eq!(first.ask("GET", path::HEALTH, b"").0, 200);
}

fn a_failed_start_is_exit_3_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    std::fs::write(folder.path().join("state/no-model"), b"").unwrap();
    let ended = common::child("daemon", folder.path()).output().unwrap();
    assert_eq!(ended.status.code(), Some(3));
    let log = String::from_utf8(ended.stderr).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "ERROR");
    assert_eq!(last["message"], "model folder `base` has no config.json; put the model there");
}

fn it_ends_with_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("exit-with-parent"), b"").unwrap();
    let parent = common::child("parent", folder.path()).output().unwrap();
    // The output is complete only when the daemon, which holds the same stderr, has ended too.
    assert!(parent.status.success());
    let log = String::from_utf8(parent.stderr).unwrap();
    assert!(log.contains("\"message\":\"ready\"") && log.contains("Terminated"), "{log}");
    assert!(UnixStream::connect(folder.path().join("run/daemon.sock")).is_err());
}
