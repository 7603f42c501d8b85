//! A stranger's tools verify our verdicts: OpenSSL, securesystemslib, and the lines of
//! `docs/VERIFYING.md` as they stand there.
//!
//! A tool that is not on this machine is told on the output as skipped. `SEAL_PYTHON` names the
//! Python that has securesystemslib; the default is `python3`.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::*;
use seal_protocol::{Envelope, Subject, Verdict};
use seal_trust::{SigningKey, envelope_to_bytes, sha256, sign_statement};
use tempfile::TempDir;

/// A folder with a verdict, the auditor's public key and the adapter, as a stranger gets them.
fn handed_over(envelope: &Envelope) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    file("verdict.json", &envelope_to_bytes(envelope));
    file("auditor.pub.pem", keys().auditor.public().to_pem().as_bytes());
    file("adapter_config.json", b"{}");
    file("adapter_model.safetensors", b"tensors");
    folder
}

fn genuine() -> Envelope {
    let files = [("adapter_config.json", &b"{}"[..]), ("adapter_model.safetensors", b"tensors")];
    let mut statement = statement(verdict());
    statement.subject = files.map(|(name, bytes)| Subject::new(name, sha256(bytes))).to_vec();
    sign_statement(&keys().auditor, &statement).unwrap()
}

/// Forgeries that every verifier must refuse.
fn forged() -> [Envelope; 3] {
    let other_payload =
        Envelope { payload: signed(Verdict { sequence: 8, ..verdict() }).payload, ..genuine() };
    let other_type = Envelope { payload_type: "application/json".into(), ..genuine() };
    let mut other_key = sign_statement(&keys().stranger, &statement(verdict())).unwrap();
    other_key.signatures[0].keyid = keys().auditor.public().keyid();
    [other_payload, other_type, other_key]
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn present(program: &str, arguments: &[&str]) -> bool {
    let present =
        Command::new(program).args(arguments).output().is_ok_and(|run| run.status.success());
    if !present {
        println!("skipped: `{program} {}` does not run here", arguments.join(" "));
    }
    present
}

fn python() -> String {
    std::env::var("SEAL_PYTHON").unwrap_or_else(|_| "python3".into())
}

fn run_script(folder: &TempDir, verifier: &str) -> Output {
    Command::new(python())
        .arg(repository().join("tests/interop/verify_verdict.py"))
        .args(["verdict.json", "auditor.pub.pem", verifier])
        .current_dir(folder.path())
        .output()
        .unwrap()
}

#[track_caller]
fn judges_like_us(verifier: &str) {
    let run = run_script(&handed_over(&genuine()), verifier);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    for forged in forged() {
        let run = run_script(&handed_over(&forged), verifier);
        assert_eq!(run.status.code(), Some(1), "{run:?}");
    }
}

#[test]
fn stock_openssl_verifies_a_verdict_and_refuses_forgeries() {
    if present("openssl", &["version"]) && present(&python(), &["--version"]) {
        judges_like_us("openssl");
    }
}

#[test]
fn securesystemslib_verifies_a_verdict_and_refuses_forgeries() {
    if present(&python(), &["-c", "import securesystemslib, cryptography"]) {
        judges_like_us("securesystemslib");
    }
}

/// The first block of shell lines in the document.
fn documented_lines() -> String {
    let text = std::fs::read_to_string(repository().join("docs/VERIFYING.md")).unwrap();
    let (_, rest) = text.split_once("```sh\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_documented_lines_verify_a_verdict_and_the_adapter_beside_it() {
    let lines = documented_lines();
    assert_eq!(lines.lines().count(), 10, "ten lines are promised");
    let tools = present("openssl", &["version"]) && present("jq", &["--version"]);
    if !tools || !present("sh", &["-c", "command -v base64 sha256sum"]) {
        return;
    }
    let run = |folder: &TempDir| {
        Command::new("sh").args(["-c", &lines]).current_dir(folder.path()).output().unwrap()
    };
    let honest = run(&handed_over(&genuine()));
    assert!(honest.status.success(), "{honest:?}");
    for forged in forged() {
        assert!(!run(&handed_over(&forged)).status.success());
    }
    let swapped = handed_over(&genuine());
    std::fs::write(swapped.path().join("adapter_model.safetensors"), "others").unwrap();
    assert!(!run(&swapped).status.success(), "an adapter swapped after the audit");
}

#[test]
fn openssl_reads_our_private_key_files() {
    if !present("openssl", &["version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::generate();
    key.write(&folder.path().join("a.key")).unwrap();
    let arguments = ["pkey", "-in", "a.key", "-pubout"];
    let run = Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap();
    assert_eq!(String::from_utf8(run.stdout).unwrap(), key.public().to_pem());
}

#[test]
fn our_reader_takes_private_keys_that_openssl_made() {
    if !present("openssl", &["version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "umask 077 && openssl genpkey -algorithm ed25519 -out b.key && openssl pkey -in b.key -pubout";
    let run = Command::new("sh").args(["-c", script]).current_dir(folder.path()).output().unwrap();
    let key = SigningKey::read(&folder.path().join("b.key")).unwrap();
    assert_eq!(key.public().to_pem(), String::from_utf8(run.stdout).unwrap());
}
