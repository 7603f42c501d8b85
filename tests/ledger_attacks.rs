//! What the operator of the auditor's ledger may try, and a thief of the auditor's key, over the real
//! sockets (A7, A8).

#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{Daemon, Run, stderr, stdout};
use seal_conductor::client::ClientError;
use seal_conductor::ledger::show;
use seal_protocol::{
    Cosignature, Envelope, LedgerHead, LedgerSeen, PolicyUpdateRequest, PolicyUpdated, Role,
    Statement, Verdict, VerdictKind, path,
};
use seal_trust::{SigningKey, payload_bytes, sign_statement};
use seal_witness::testing::FakeLedger;

const ORIGIN: &str = "seal.internal/auditor";

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused { body, .. } | ClientError::JobFailed { body, .. }) => body.code,
        other => panic!("not a refusal: {other:?}"),
    }
}

async fn known(reader: &Daemon) -> Vec<LedgerHead> {
    reader.client.get(path::LEDGER_HEADS).await.unwrap()
}

#[tokio::test]
async fn a_restored_backup_and_a_fork_are_refused_until_the_operator_acknowledges() {
    let run = Run::small(&[]);
    // The backup: a ledger of one row.
    drop(run.daemon(Role::Auditor).await);
    copy(&run.path("auditor/state"), &run.path("backup"));
    run.complete();
    let student = run.daemon(Role::Student).await;
    let remembered = known(&student).await;
    assert!(remembered[0].size > 1, "{remembered:?}");

    copy(&run.path("backup"), &run.path("auditor/state"));
    let auditor = run.daemon(Role::Auditor).await;
    let shown = show(&[&auditor.client], &[&student.client], &[]).await;
    assert_eq!(refusal(shown), "ledger_rolled_back");

    // With the ledger's own key, histories of every length and with any proof.
    let key = SigningKey::read(&run.path("keys/ledger.pem")).unwrap();
    let mut fork = FakeLedger::new(key, ORIGIN);
    for size in 1..=remembered[0].size + 3 {
        fork.append(&any_envelope(size));
        let forged = fork.show(&remembered, &[]);
        let outcome = student.client.post::<_, LedgerSeen>(path::LEDGER_HEADS, &forged).await;
        let expected = match size.cmp(&remembered[0].size) {
            std::cmp::Ordering::Less => "ledger_rolled_back",
            std::cmp::Ordering::Equal => "ledger_forked",
            std::cmp::Ordering::Greater => "ledger_proof_fails",
        };
        assert_eq!(refusal(outcome), expected, "size {size}");
    }
    assert_eq!(known(&student).await, remembered, "nothing of it was remembered");

    let output = run.seal(&["ledger", "acknowledge", "student", "--reason", "disk lost"]);
    assert!(!output.status.success(), "without a terminal it must be confirmed");
    let output = run.seal(&["--yes", "ledger", "acknowledge", "student", "--reason", "disk lost"]);
    assert!(output.status.success(), "{}", stderr(&output));
    show(&[&auditor.client], &[&student.client], &[]).await.unwrap();
    assert_eq!(known(&student).await[0].size, 1);
    let heads = run.seal(&["ledger", "heads"]);
    assert!(stdout(&heads).contains("student  remembers"), "{}", stdout(&heads));
}

fn any_envelope(number: u64) -> Envelope {
    Envelope { payload: String::new(), payload_type: number.to_string(), signatures: Vec::new() }
}

fn statement(envelope: &Envelope) -> Statement<Verdict> {
    serde_json::from_slice(&payload_bytes(envelope).unwrap()).unwrap()
}

#[tokio::test]
async fn a_verdict_signed_with_a_stolen_key_has_no_effect_outside_the_ledger() {
    let run = Run::small(&[]);
    run.complete();
    let stolen = SigningKey::read(&run.path("keys/auditor.pem")).unwrap();
    let genuine = common::files_below(&run.path("auditor/state/verdicts"))
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .map(|file| serde_json::from_slice::<Envelope>(&std::fs::read(file).unwrap()).unwrap())
        .find(|envelope| statement(envelope).predicate.kind == VerdictKind::Edit)
        .expect("the run accepted an edit");
    let mut forged = statement(&genuine);
    forged.predicate.sequence += 1000;
    let forged = sign_statement(&stolen, &forged).unwrap();

    let (teacher, auditor) = (run.daemon(Role::Teacher).await, run.daemon(Role::Auditor).await);
    // The thief may carry whatever the auditor shows; the row is not there.
    let verdicts = vec![forged];
    show(&[&auditor.client], &[&teacher.client], &verdicts).await.unwrap();
    let request = PolicyUpdateRequest {
        stage: "theft".to_owned(),
        parent_policy_digest: None,
        verdicts,
        seed: 0,
    };
    let job = teacher.client.submit(path::POLICY_UPDATES, &request).await.unwrap();
    let waited =
        teacher.client.wait_job::<PolicyUpdated>(&job, Duration::from_secs(120), |_, _| {});
    assert_eq!(refusal(waited.await), "verdict_not_in_ledger");
}

#[tokio::test]
async fn every_checkpoint_that_a_run_ends_with_is_cosigned_by_teacher_and_student() {
    let run = Run::small(&[]);
    run.complete();
    let output = run.seal(&["--json", "ledger", "heads"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let note = shown["checkpoint"].as_str().unwrap();
    for name in ["— seal.internal/auditor ", "— seal.internal/teacher ", "— seal.internal/student "]
    {
        assert_eq!(note.matches(name).count(), 1, "{name}: {note}");
    }
    let proofs = common::files_below(&run.path("auditor/state/verdicts"));
    let proofs: Vec<_> = proofs
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "tlog-proof"))
        .collect();
    assert!(!proofs.is_empty());
    for proof in proofs {
        let text = std::fs::read_to_string(proof).unwrap();
        assert!(
            text.contains("— seal.internal/teacher ") && text.contains("— seal.internal/student ")
        );
    }
    // Nobody adds a line in a witness's name.
    let auditor = run.daemon(Role::Auditor).await;
    let line = "— seal.internal/teacher AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".to_owned();
    let forged = Cosignature { size: 1, line };
    let outcome = auditor.client.post::<_, serde_json::Value>(path::COSIGNATURES, &forged).await;
    assert_eq!(refusal(outcome), "cosignature_refused");
}

#[test]
fn a_part_of_the_ledger_is_handed_on_and_verified_without_the_run_folder() {
    let run = Run::small(&[]);
    run.complete();
    let elsewhere = tempfile::tempdir().unwrap();
    let bundle = elsewhere.path().join("bundle");
    let output = run.seal(&["--json", "audit", "export", bundle.to_str().unwrap(), "--from", "1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    drop(run);
    let root = told["trust_root_digest"].as_str().unwrap();
    let verify = |arguments: &[&str]| {
        common::seal(&[&["--json", "verify", bundle.to_str().unwrap()], arguments].concat())
    };
    let output = verify(&["--trust-root-sha256", root]);
    assert!(output.status.success(), "{}", stderr(&output));
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["index"], told["index_digest"]);
    assert_eq!(shown["witnesses"].as_array().unwrap().len(), 2);
    assert_eq!(verify(&["--trust-root-sha256", &"0".repeat(64)]).status.code(), Some(12));
    std::fs::remove_file(bundle.join("rows/2.json")).unwrap();
    let output = verify(&[]);
    assert_eq!(output.status.code(), Some(12));
    assert!(stderr(&output).contains("rows/2.json"), "{}", stderr(&output));
}

#[test]
fn another_policy_is_tried_on_a_finished_run() {
    let run = Run::small(&[]);
    run.complete();
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/policies");
    let policy = policies.join("change-control");
    let output = run.seal(&["--json", "audit", "rejudge", "--policy", policy.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let rejudged: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let recorded = run.ledger().into_iter();
    let evaluations = recorded
        .filter(|attempt| attempt.purpose == seal_protocol::AuditPurpose::Evaluation)
        .count();
    assert_eq!(rejudged["evaluations"], evaluations);
    let none = run.seal(&["--json", "audit", "rejudge"]);
    let none: serde_json::Value = serde_json::from_slice(&none.stdout).unwrap();
    assert_eq!(none["changed"].as_array().unwrap().len(), 0);
}
