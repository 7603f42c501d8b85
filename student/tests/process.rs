//! The real program: it starts confined, tells so, works over its socket, and ends on SIGTERM.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use common::{Bench, edit, signed_edit};
use seal_protocol::{
    Answers, AskRequest, AuditPurpose, ConfinementReport, Health, InnerUpdateRequest, InnerUpdated,
    JobAccepted, JobStatus, Role, Served, path,
};
use serde::de::DeserializeOwned;

struct Running {
    child: Child,
    socket: PathBuf,
}

impl Running {
    /// Starts the program on a configured folder and waits until it answers.
    fn start(folder: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_seal-student"))
            .arg("--config")
            .arg(folder.join("student.toml"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Self { child, socket: folder.join("sockets/student.sock") };
        // The socket is bound first and the answer comes when the model is loaded.
        while UnixStream::connect(&running.socket).is_err() {
            assert!(running.child.try_wait().unwrap().is_none(), "it ended at its start");
            std::thread::yield_now();
        }
        running
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: seal\r\nconnection: close\r\n\r\n"), b"")
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> T {
        let body = serde_json::to_vec(body).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: seal\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.send(&head, &body)
    }

    fn send<T: DeserializeOwned>(&self, head: &str, body: &[u8]) -> T {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {head}\n{body}"))
    }

    fn terminate(mut self) -> ExitStatus {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_student_runs_confined_trains_answers_and_stops() {
    let Bench { folder, student, .. } = Bench::new();
    drop(student);
    let running = Running::start(folder.path());
    let health: Health = running.get(path::HEALTH);
    assert_eq!(health.role, Role::Student);
    let report: ConfinementReport = running.get(path::CONFINEMENT);
    assert!(!report.probes.is_empty());

    let request = InnerUpdateRequest {
        stage: "round-1".to_owned(),
        purpose: AuditPurpose::Edit,
        edits: vec![signed_edit(&edit("a", 0, &["ada cruz founded zel tor ."]))],
        seed: 7,
        together: false,
    };
    let accepted: JobAccepted = running.post(path::INNER_UPDATES, &request);
    let result = loop {
        match running.get(&path::JOB.replace("{id}", &accepted.job.to_string())) {
            JobStatus::Done { result } => break result,
            JobStatus::Failed { error } => panic!("{error:?}"),
            _ => std::thread::yield_now(),
        }
    };
    let updated: InnerUpdated = serde_json::from_value(result).unwrap();
    assert_eq!(updated.requests.len(), 1);

    let question = AskRequest {
        question: "who founded zel tor ?".to_owned(),
        versions: vec![],
        max_new_tokens: 3,
    };
    let answers: Answers = running.post(path::ANSWERS, &question);
    assert_eq!(answers.answers[0].version, "base");
    let served: Served = running.get(path::VERSIONS);
    assert_eq!(served.active, "base");
    assert!(running.terminate().success());
}

#[test]
fn a_missing_config_is_one_clear_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_seal-student"))
        .args(["--config", "/nowhere/student.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/nowhere/student.toml"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
