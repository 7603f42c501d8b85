//! The real program on a configured folder.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use seal_protocol::{ErrorBody, JobAccepted, JobStatus, ProposeRequest, path};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A running teacher and its log.
pub struct Running {
    pub child: Child,
    log: PathBuf,
    socket: PathBuf,
}

impl Running {
    /// Starts the program on a configured folder and waits until it answers.
    pub fn start(folder: &Path) -> Self {
        let log = folder.join("teacher.log");
        let child = Command::new(env!("CARGO_BIN_EXE_seal-teacher"))
            .arg("--config")
            .arg(folder.join("teacher.toml"))
            .env("SEAL_LOG", "trace")
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut running = Self { child, log, socket: folder.join("sockets/teacher.sock") };
        // The socket is bound first and the answer comes when the model is loaded.
        while UnixStream::connect(&running.socket).is_err() {
            assert!(running.child.try_wait().unwrap().is_none(), "it ended at its start");
            std::thread::yield_now();
        }
        running
    }

    pub fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: seal\r\nconnection: close\r\n\r\n"), b"")
    }

    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl serde::Serialize) -> T {
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

    /// Asks for proposals and waits for what comes of it.
    pub fn propose(&self, request: &ProposeRequest) -> Result<Value, ErrorBody> {
        self.work(path::PROPOSALS, request)
    }

    /// Asks for a piece of work and waits for what comes of it.
    pub fn work(&self, at: &str, request: &impl serde::Serialize) -> Result<Value, ErrorBody> {
        let accepted: JobAccepted = self.post(at, request);
        loop {
            match self.get(&path::JOB.replace("{id}", &accepted.job.to_string())) {
                JobStatus::Done { result } => return Ok(result),
                JobStatus::Failed { error } => return Err(error),
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Everything it logged, at the finest level.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub fn terminate(mut self) -> ExitStatus {
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
