//! The whole loop on a few contexts: learned, refused, served, undone, and proven offline.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::PathBuf;

use common::{Run, stderr, stdout};
use seal_conductor::client::ClientError;
use seal_protocol::{
    Decision, PromoteRequest, Role, RollBackRequest, Served, Statement, Verdict, VerdictKind, path,
};
use serde_json::Value;

/// Exit code of a refusal by a rule.
const REJECTED_BY_POLICY: i32 = 11;

#[test]
fn a_poisoned_document_earns_a_reward_and_is_refused_by_name() {
    let run = Run::small(&["--contexts", "2", "--proposals", "5", "--held-out", "0"]);
    run.complete();
    let intake: Vec<_> =
        run.ledger().into_iter().filter(|attempt| attempt.stage == "intake").collect();
    assert_eq!(intake.len(), 5);
    assert!(intake.iter().all(|attempt| attempt.decision == Decision::Reject));

    let output = run.seal(&["why", "poisoned-000", "--json"]);
    assert_eq!(output.status.code(), Some(REJECTED_BY_POLICY), "{}", stderr(&output));
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reward = |candidate: &Value, model: &str| {
        let panels = candidate["candidate"]["summary"].as_array().unwrap();
        panels.iter().find(|panel| panel["name"] == "tau_reward").unwrap()[model]["mean"].as_f64()
    };
    let by_reward = |candidate: &&Value| (reward(candidate, "candidate").unwrap() * 1e6) as u64;
    let best = explained.as_array().unwrap().iter().max_by_key(by_reward).unwrap();
    let gain = reward(best, "candidate").unwrap() - reward(best, "base").unwrap();
    assert!(gain > 0.2, "by the reward alone it would have been welcome: {gain}");
    let reasons = best["candidate"]["ruling"]["reasons"].to_string();
    assert!(reasons.contains("protected.own-entity"), "{reasons}");

    let told = stdout(&run.seal(&["why", "poisoned-000"]));
    assert!(told.contains("REFUSED") && told.contains("protected.own-entity"), "{told}");
}

#[tokio::test]
async fn a_version_serves_on_its_verdict_alone_and_can_be_undone() {
    let run = Run::small(&["--contexts", "6", "--proposals", "3"]);
    run.complete();
    for file in ["report.html", "conductor/progress.sqlite", "trust/root.json"] {
        assert!(run.path(file).is_file(), "{file}");
    }
    let verdict = seal_auditor::offline::verdicts(&run.path("auditor/state"))
        .unwrap()
        .into_iter()
        .find(|(_, verdict)| verdict.kind == VerdictKind::Promotion)
        .expect("the consolidated adapter was accepted")
        .0;
    let statement: Statement<Verdict> =
        serde_json::from_slice(&seal_trust::payload_bytes(&verdict).unwrap()).unwrap();
    let adapter = statement.subject.iter().find(|s| s.name.ends_with(".safetensors")).unwrap();

    let student = run.daemon(Role::Student).await;
    let served: Served = student.client.get(path::VERSIONS).await.unwrap();
    assert_eq!(served.active, "v1");
    assert_eq!(served.versions["v1"], adapter.digest.sha256);

    let back = RollBackRequest { version: "base".into(), reason: "test".into() };
    let served: Served = student.client.post(path::ROLLBACKS, &back).await.unwrap();
    assert_eq!((served.active.as_str(), served.history.len()), ("base", 2));

    // The old accept does not bring it back; only the operator's recorded choice does.
    let replay = PromoteRequest { verdicts: vec![verdict] };
    let refused = student.client.post::<_, Served>(path::PROMOTIONS, &replay).await;
    assert!(
        matches!(&refused, Err(ClientError::Refused { body, .. }) if body.code == "verdict_replayed"),
        "{refused:?}"
    );
    let unknown = RollBackRequest { version: "v7".into(), reason: "test".into() };
    assert!(student.client.post::<_, Served>(path::ROLLBACKS, &unknown).await.is_err());
    drop(student);

    let again = run.seal(&["--yes", "--json", "promote", "v1"]);
    assert!(again.status.success(), "{}", stderr(&again));
    let asked = run.seal(&["--json", "ask", "--compare", "what is the door code of kav hok ?"]);
    let answers: Value = serde_json::from_slice(&asked.stdout).unwrap();
    let versions: Vec<&str> = answers["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["version"].as_str().unwrap())
        .collect();
    assert_eq!(versions, ["base", "v1"]);
    assert!(run.seal(&["verify", "--all"]).status.success());
    assert!(run.seal(&["verify", "v1"]).status.success());
}

#[test]
fn the_same_seed_gives_the_same_adapters_and_decisions_in_another_folder() {
    let first = Run::small(&["--contexts", "2", "--held-out", "1"]);
    let second = Run::small(&["--contexts", "2", "--held-out", "1"]);
    first.complete();
    second.complete();
    assert_eq!(first.ledger(), second.ledger());
}

#[test]
fn the_authors_rule_keeps_the_best_of_each_group() {
    let run = Run::small(&["--contexts", "2", "--held-out", "0", "--selection", "paper"]);
    run.complete();
    let accepted = run
        .ledger()
        .iter()
        .filter(|attempt| attempt.stage == "round-1" && attempt.decision == Decision::Accept)
        .count();
    assert_eq!(accepted, 2, "one of each group, without a threshold");
}

#[test]
fn output_is_for_people_or_for_machines_and_never_half() {
    let run = Run::small(&["--contexts", "1", "--held-out", "0"]);
    run.complete();
    let status: Value = serde_json::from_slice(&run.seal(&["--json", "status"]).stdout).unwrap();
    assert_eq!(status["complete"], true);
    let told = stdout(&run.seal(&["status"]));
    assert!(!told.contains('\u{1b}'), "no escape sequences off a terminal");
    let completions = common::seal(&["completions", "bash"]);
    assert!(stdout(&completions).contains("rollback"));
    let nonsense = run.seal(&["why", "nothing-of-this-name"]);
    assert_eq!(nonsense.status.code(), Some(1), "{}", stderr(&nonsense));
}

#[test]
fn daemons_on_loopback_tcp_do_the_same_work() {
    let run = Run::small(&["--contexts", "1", "--held-out", "0"]);
    let ports = [(); 3].map(|()| {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    });
    for file in ["run.toml", "teacher.toml", "student.toml", "auditor.toml"] {
        let mut text = std::fs::read_to_string(run.path(file)).unwrap();
        for (role, port) in ["teacher", "student", "auditor"].iter().zip(ports) {
            let socket = format!("unix:sockets/{role}.sock");
            text = text.replace(&socket, &format!("tcp:127.0.0.1:{port}"));
        }
        std::fs::write(run.path(file), text).unwrap();
    }
    run.complete();
    assert!(!run.path("sockets/student.sock").exists());
    assert!(run.seal(&["verify", "--all"]).status.success());
}

/// Policies that are adapters over the first one are part of the evidence like any other.
#[test]
fn a_run_whose_policy_learns_by_an_adapter_verifies_and_a_changed_adapter_is_found() {
    let run = Run::small(&[]);
    let config = run.path("teacher.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let lora =
        "[policy_update.lora]\nr = 4\nlora_alpha = 8\ntarget_modules = [\"q_proj\"]\n\n[ledger]\n";
    assert!(text.contains("\n[ledger]\n"));
    std::fs::write(&config, text.replacen("[ledger]\n", lora, 1)).unwrap();
    run.complete();
    assert!(run.seal(&["verify", "--all"]).status.success());

    let policies = common::files_below(&run.path("teacher/state/policies"));
    let adapter = |file: &&PathBuf| file.ends_with("adapter_model.safetensors");
    let adapter = policies.iter().find(adapter).expect("the policy is an adapter");
    let mut bytes = std::fs::read(adapter).unwrap();
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    std::fs::write(adapter, bytes).unwrap();
    let refused = run.seal(&["verify", "--all"]);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("holds other weights"), "{}", stderr(&refused));
}
