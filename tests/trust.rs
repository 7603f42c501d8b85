//! `seal trust`: a root of several owners on several machines, rotated and revoked, and daemons that
//! follow it forwards only.

#![allow(clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{Run, seal, stderr, stdout};
use seal_protocol::Role;
use seal_service::clock::{Clock, SystemClock};
use seal_trust::TrustRoot;
use serde_json::Value;

/// A folder of one person's own, as a machine.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a key pair here and returns the public half.
    fn key(&self, name: &str) -> PathBuf {
        done(&["trust", "key", text(&self.path(&format!("{name}.pem")))]);
        self.path(&format!("{name}.pub.pem"))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[track_caller]
fn done(arguments: &[&str]) -> Output {
    let output = seal(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    output
}

#[track_caller]
fn refused(arguments: &[&str], wanted: &str) {
    let output = seal(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    assert!(stderr(&output).contains(wanted), "{arguments:?}: {}", stderr(&output));
}

fn shown(file: &Path) -> Value {
    let output = done(&["--json", "trust", "show", text(file)]);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `seal trust sign` on a person's own desk: the draft comes in, is signed, goes out.
fn sign(owner: &Desk, draft: &Path, previous: Option<&Path>) -> String {
    let here = owner.path("to-sign.json");
    std::fs::copy(draft, &here).unwrap();
    let key = owner.path("root.pem");
    let mut arguments = vec!["--yes", "trust", "sign", text(&here), "--key", text(&key)];
    arguments.extend(previous.iter().flat_map(|previous| ["--previous", text(previous)]));
    let said = stdout(&done(&arguments));
    std::fs::copy(&here, draft).unwrap();
    said
}

#[test]
fn two_owners_make_a_root_rotate_a_key_and_revoke_another_each_on_their_own_machine() {
    let (alice, bob, hall) = (Desk::new(), Desk::new(), Desk::new());
    let (a, b) = (alice.key("root"), bob.key("root"));
    let mode = std::fs::metadata(alice.path("root.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    refused(&["trust", "key", text(&alice.path("root.pem"))], "not overwritten");

    let folder = hall.path("system");
    let (a, b) = (format!("root={}", text(&a)), format!("root={}", text(&b)));
    let begin = ["trust", "init", text(&folder), "--threshold", "root=2"];
    done(&[&begin[..], &["--key", &a, "--key", &b]].concat());
    let (root, draft) = (folder.join("trust/root.json"), folder.join("trust/root.draft.json"));
    assert!(!root.exists(), "no owner has signed");
    assert!(!folder.join("keys/root.pem").exists(), "root keys lie with their owners");
    refused(&["trust", "install", text(&draft), "--root", text(&root)], "0 of 2 root keys");
    assert!(sign(&alice, &draft, None).contains("1 of 2"));
    refused(&["trust", "install", text(&draft), "--root", text(&root)], "1 of 2 root keys");
    assert!(sign(&bob, &draft, None).contains("complete"));
    let installed = done(&["trust", "install", text(&draft), "--root", text(&root)]);
    let digest = shown(&root)["digest"].as_str().unwrap().to_owned();
    assert!(stdout(&installed).contains(&digest));

    // The auditor gets a new key; the teacher's is void from now on.
    let new = hall.key("auditor-2");
    done(&["trust", "rotate", "auditor", "--to", text(&new), "--root", text(&root)]);
    let teacher =
        shown(&root)["root"]["roles"]["teacher"]["keyids"][0].as_str().unwrap().to_owned();
    done(&["trust", "revoke", &teacher[..8], "--root", text(&root)]);
    let next = folder.join("trust/root.next.json");
    let draft = shown(&next);
    assert_eq!((&draft["root"]["version"], &draft["complete"]), (&2.into(), &false.into()));
    let carried = hall.path("previous.json");
    std::fs::copy(&root, &carried).unwrap();
    let read = sign(&alice, &next, Some(&carried));
    assert!(read.contains("+ auditor key") && read.contains(&format!("revoked: key {teacher}")));
    refused(
        &["trust", "change", "--expires-in-days", "9", "--root", text(&root)],
        "signed already",
    );
    sign(&bob, &next, Some(&carried));
    done(&["trust", "install", "--root", text(&root)]);
    assert_eq!(shown(&root)["root"]["version"], 2);
    assert_eq!(
        std::fs::read(folder.join("trust/root.1.json")).unwrap(),
        std::fs::read(&carried).unwrap()
    );
    assert!(!next.exists());
}

#[test]
fn a_signer_is_asked_and_sees_what_loosens_the_root() {
    let desk = Desk::new();
    let folder = desk.path("system");
    done(&["trust", "init", text(&folder)]);
    let (root, key) = (folder.join("trust/root.json"), folder.join("keys/root.pem"));
    let next = folder.join("trust/root.next.json");
    let change = ["trust", "change", "--min-enforcement", "off", "--threshold", "auditor=1"];
    let said = stdout(&done(&[&change[..], &["--root", text(&root)]].concat()));
    assert!(said.lines().any(|line| line.starts_with("! weakest confinement")), "{said}");
    let arguments = ["trust", "sign", text(&next), "--key", text(&key), "--previous", text(&root)];
    refused(&arguments, "--yes");
    refused(&["--yes", "trust", "sign", text(&next), "--key", text(&key)], "version 1 beside it");
    let auditor = folder.join("keys/auditor.pem");
    let by_auditor = ["--yes", "trust", "sign", text(&next), "--key", text(&auditor)];
    refused(&[&by_auditor[..], &["--previous", text(&root)]].concat(), "no root key");
}

#[test]
fn what_breaks_a_rule_is_refused_before_anything_is_written() {
    let desk = Desk::new();
    let folder = desk.path("system");
    refused(&["trust", "init", text(&folder), "--alpha", "1.5", "--threshold", "root=2"], "");
    let weak = desk.path("weak.pub.pem");
    let identity = "MCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    std::fs::write(
        &weak,
        format!("-----BEGIN PUBLIC KEY-----\n{identity}\n-----END PUBLIC KEY-----\n"),
    )
    .unwrap();
    let other = desk.path("other");
    let key = format!("auditor={}", text(&weak));
    refused(&["trust", "init", text(&other), "--key", &key], "weak");
    assert!(!other.join("keys/root.pem").exists());
}

/// Starts a daemon that is expected to refuse, and returns what it said.
fn refusal(run: &Run, role: Role) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_seal"))
        .args([role.name(), "--config"])
        .arg(run.path(&format!("{role}.toml")))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    stderr(&output)
}

fn next_version(run: &Run, change: &[&str]) {
    let (root, key) = (run.path("trust/root.json"), run.path("keys/root.pem"));
    let next = run.path("trust/root.next.json");
    done(&[change, &["--root", text(&root)]].concat());
    let sign = ["--yes", "trust", "sign", text(&next), "--key", text(&key)];
    done(&[&sign[..], &["--previous", text(&root)]].concat());
    done(&["trust", "install", "--root", text(&root)]);
}

#[tokio::test]
async fn daemons_follow_the_root_forwards_and_records_outlive_a_rotated_key() {
    let run = Run::small(&[]);
    run.complete();
    let first = std::fs::read(run.path("trust/root.json")).unwrap();

    // A new key for the auditor: its old verdicts stay, its old key no longer starts a daemon.
    done(&["trust", "key", text(&run.path("keys/auditor-2.pem"))]);
    let new = run.path("keys/auditor-2.pub.pem");
    next_version(&run, &["trust", "rotate", "auditor", "--to", text(&new)]);
    let said = refusal(&run, Role::Auditor);
    assert!(said.contains("no auditor key") && said.contains("version 2"), "{said}");
    std::fs::rename(run.path("keys/auditor-2.pem"), run.path("keys/auditor.pem")).unwrap();
    drop(run.daemon(Role::Auditor).await);
    drop(run.daemon(Role::Student).await);
    let output = run.seal(&["verify", "--all"]);
    assert!(output.status.success(), "{}", stderr(&output));

    // Whoever puts the old version back is told, by every role that has seen the new one.
    let second = std::fs::read(run.path("trust/root.json")).unwrap();
    std::fs::write(run.path("trust/root.json"), &first).unwrap();
    for role in [Role::Auditor, Role::Student] {
        let said = refusal(&run, role);
        assert!(said.contains("version 1") && said.contains("accepted version 2"), "{said}");
    }
    std::fs::write(run.path("trust/root.json"), &second).unwrap();

    // Revoked altogether, the old key's verdicts no longer verify.
    let root = TrustRoot::open(&first, None, SystemClock.now()).unwrap();
    let old = root.keys(Role::Auditor)[0].keyid();
    // The rotated key is in no role any more, so it is named by its whole id.
    next_version(&run, &["trust", "revoke", &old]);
    let output = run.seal(&["verify", "--all"]);
    assert_eq!(output.status.code(), Some(12), "{}", stderr(&output));
    assert!(stderr(&output).contains("revoked"), "{}", stderr(&output));
}
