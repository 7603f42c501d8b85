//! A whole round whose edits come from an OpenAI-compatible server that we did not write:
//! `transformers serve`, with the miniature's base as its model. Student and auditor are ours.
//!
//! `SEAL_SERVING_PYTHON` names an interpreter with `transformers[serving]`; without it this test says that it
//! was skipped. tests/peers/serve_transformers.py says how to make one.

#![allow(clippy::unwrap_used)]

#[path = "common/api_teacher.rs"]
mod api_teacher;
mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Run, stderr, stdout};
use seal_endpoint::{EgressRow, read_record};
use seal_protocol::{Attempt, AuditPurpose, Decision};
use toml_edit::{DocumentMut, value};

fn python() -> Option<String> {
    let python = std::env::var("SEAL_SERVING_PYTHON").ok()?;
    let available = "from transformers.utils.import_utils import is_serve_available as can; \
                     raise SystemExit(not can())";
    let tried = Command::new(&python).args(["-c", available]).output();
    tried.is_ok_and(|output| output.status.success()).then_some(python)
}

/// The server under way; ended with the test.
struct Server {
    child: Child,
    url: String,
    model: String,
}

impl Server {
    fn start(python: &str, model: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/serve_transformers.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(model)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (url, model) = line.trim().split_once(' ').expect("the server did not get ready");
        Self { child, url: url.to_owned(), model: model.to_owned() }
    }

    fn host(&self) -> &str {
        self.url.split('/').nth(2).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A signal that it hears, so that the server below it ends too.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Puts the configs of an API teacher into a run of the miniature, with this server as the API.
fn configure(run: &Run, server: &Server) {
    api_teacher::configure(run, (&server.url, server.host()), "", |role, config| {
        if role == "teacher" {
            served_by(config, server);
        }
    });
}

fn served_by(config: &mut DocumentMut, server: &Server) {
    config["writer"] = value("transformers-serve:miniature");
    config["layout"] = value("plain");
    config["sampling"]["max_new_tokens"] = value(150);
    let backend = config["backend"].as_table_mut().unwrap();
    backend["model"] = value(&server.model);
    backend["api"] = value("completions");
    backend["concurrency"] = value(2);
    // One exemplar is what a context of 256 tokens has room for.
    config["exemplars"]["per_prompt"] = value(1);
    config["exemplars"]["max_bytes"] = value(800);
}

#[test]
fn a_server_that_we_did_not_write_is_the_teacher_of_a_whole_round() {
    let Some(python) = python() else {
        println!("skipped: SEAL_SERVING_PYTHON names no interpreter with transformers[serving]");
        return;
    };
    let run = Run::small(&["--contexts", "4", "--proposals", "5"]);
    let base = run.path("base");
    let server = Server::start(&python, &base);
    configure(&run, &server);
    let ended = run.seal(&["--quiet", "run"]);
    assert!(ended.status.success(), "{}", stderr(&ended));
    println!("{}", stdout(&ended));

    let attempts: Vec<Attempt> =
        run.ledger().into_iter().filter(|one| one.purpose == AuditPurpose::Edit).collect();
    let accepted = attempts.iter().filter(|one| one.decision == Decision::Accept).count();
    println!("{} edits judged, {accepted} accepted", attempts.len());
    assert!(attempts.len() >= 16, "of 20 proposals and the intake's, {} came", attempts.len());
    assert!(accepted >= 1, "no edit was accepted");

    nothing_else_left(&run, &server);
    let verified = run.seal(&["verify", "--all"]);
    assert!(verified.status.success(), "{}{}", stdout(&verified), stderr(&verified));
}

/// Every request went to the server that the config names, and was answered.
fn nothing_else_left(run: &Run, server: &Server) {
    let (mut sent, mut well, mut with_exemplar) = (0, 0, 0);
    for row in read_record(&run.path("teacher/state")).unwrap() {
        match row {
            EgressRow::Sent { url, body, .. } => {
                assert_eq!(url, format!("{}/completions", server.url));
                sent += 1;
                with_exemplar += u32::from(body.matches("<edit>").count() > 1);
            }
            EgressRow::Answered { outcome, .. } => well += u32::from(outcome == "ok"),
        }
    }
    println!("{sent} requests, {well} answered well, {with_exemplar} of them with an exemplar");
    assert!(sent >= 20 && well == sent, "{sent} requests, {well} answered well");
    assert!(with_exemplar >= 1, "the policy that learned was never asked");
}
