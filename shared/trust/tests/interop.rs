//! A stranger's tools verify our verdicts: OpenSSL, securesystemslib, and the lines of
//! `docs/VERIFYING.md` as they stand there.
//!
//! The ledger's checkpoint and proofs are judged by the Go project's own log code, which comes with
//! its toolchain.
//!
//! A tool that is not on this machine is told on the output as skipped. `SEAL_PYTHON` names the
//! Python that has securesystemslib; the default is `python3`.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::*;
use seal_protocol::{Digest, Envelope, Subject, Verdict};
use seal_trust::{
    LedgerProof, NoteAlgorithm, SigningKey, cosign, envelope_to_bytes, merkle, sha256,
    sign_checkpoint, sign_statement, vkey,
};
use serde_json::{Value, json};
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

const ORIGIN: &str = "seal.internal/ledger";
const WITNESS: &str = "seal.internal/student";

fn leaves(size: usize) -> Vec<Digest> {
    (0..size).map(|row| merkle::leaf_hash(format!("row {row}").as_bytes())).collect()
}

fn base64_of(hashes: &[Digest]) -> Vec<String> {
    hashes.iter().map(|hash| STANDARD.encode(hash.as_bytes())).collect()
}

/// A ledger that grew from `old` to `size` rows, as the Go program reads it.
fn ledger_case(old: usize, size: usize) -> Value {
    let (rows, key) = (leaves(size), keys().ledger);
    let note = |size: usize| {
        sign_checkpoint(&key, ORIGIN, size as u64, merkle::root(&rows[..size])).unwrap()
    };
    let new = cosign(&key_of_witness(), WITNESS, &note(size), NOW).unwrap();
    let proof = |index: usize| {
        let path = merkle::inclusion_proof(&rows, index).unwrap();
        let proof = LedgerProof { index: index as u64, path, checkpoint: new.clone() };
        json!({ "text": proof.to_text(), "entry": format!("row {index}") })
    };
    json!({
        "vkey": vkey(ORIGIN, NoteAlgorithm::Log, &key.public()).unwrap(),
        "old": note(old),
        "new": new,
        "consistency": base64_of(&merkle::consistency_proof(&rows, old).unwrap()),
        "proofs": (0..size).map(proof).collect::<Vec<_>>(),
        "witnesses": [vkey(WITNESS, NoteAlgorithm::Cosignature, &key_of_witness().public()).unwrap()],
    })
}

fn key_of_witness() -> SigningKey {
    key(51)
}

/// The Go program, built once over the packages in the toolchain's source tree.
struct GoLog(TempDir);

impl GoLog {
    fn build() -> Option<Self> {
        if !present("go", &["version"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let root = Command::new("go").args(["env", "GOROOT"]).output().unwrap();
        let root = PathBuf::from(String::from_utf8(root.stdout).unwrap().trim());
        let sources = root.join("src/cmd/vendor/golang.org/x");
        if !sources.join("mod/sumdb/tlog").is_dir() {
            println!("skipped: `{}` does not hold the log packages", sources.display());
            return None;
        }
        std::fs::create_dir_all(folder.path().join("src/golang.org")).unwrap();
        std::os::unix::fs::symlink(sources, folder.path().join("src/golang.org/x")).unwrap();
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(folder.path().join("check"))
            .arg(repository().join("tests/interop/check_ledger.go"))
            .envs([("GO111MODULE", "off"), ("GOFLAGS", "")])
            .env("GOPATH", folder.path())
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(Self(folder))
    }

    fn accepts(&self, case: &Value) -> bool {
        let file = self.0.path().join("case.json");
        std::fs::write(&file, case.to_string()).unwrap();
        Command::new(self.0.path().join("check")).arg(file).output().unwrap().status.success()
    }
}

#[test]
fn gos_own_log_code_accepts_checkpoints_inclusion_and_consistency_and_refuses_forgeries() {
    let Some(go) = GoLog::build() else { return };
    for (old, size) in [(1, 1), (1, 2), (3, 7), (8, 8), (600, 1000)] {
        assert!(go.accepts(&ledger_case(old, size)), "{old} to {size}");
    }
    let forged = |change: fn(&mut Value)| {
        let mut case = ledger_case(3, 7);
        change(&mut case);
        go.accepts(&case)
    };
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert!(!forged(|case| case["proofs"][2]["entry"] = "row 3".into()), "another row");
    assert!(!forged(|case| {
        let text = case["proofs"][2]["text"].as_str().unwrap().replacen("index 2", "index 3", 1);
        case["proofs"][2]["text"] = text.into();
    }));
    assert!(!forged(|case| case["consistency"] = json!([])), "no proof of growth");
    assert!(!forged(|case| case["old"] = case["new"].clone()), "a ledger that became shorter");
    let fork = sign_checkpoint(&keys().ledger, ORIGIN, 3, sha256(b"another history")).unwrap();
    let mut case = ledger_case(3, 7);
    case["old"] = fork.into();
    assert!(!go.accepts(&case), "a forked history");
    let mut case = ledger_case(3, 7);
    case["new"] = text(&case["new"]).replacen("\n7\n", "\n8\n", 1).into();
    assert!(!go.accepts(&case), "another size than was signed");
    let mut case = ledger_case(3, 7);
    case["witnesses"] =
        json!([vkey(WITNESS, NoteAlgorithm::Cosignature, &key(52).public()).unwrap()]);
    assert!(!go.accepts(&case), "another witness");
}
