//! The real program with an API as its backend: what it can reach, what it sends, what a kill costs,
//! and that offline is offline.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../shared/endpoint/tests/double/mod.rs"]
mod double;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::running::Running;
use common::{CONTEXTS, content, free, remote_config, stage};
use double::{Act, Double};
use seal_endpoint::{EgressRow, read_record};
use seal_protocol::{ConfinementReport, EnforcementLevel, Proposals, path};

const KEY: &str = "sk-canary-0123456789";

fn api(double: &Double, offline: bool) -> String {
    remote_config(&format!(
        "[backend]\nkind = \"openai\"\nbase_url = \"{}\"\nmodel = \"m\"\n\
         api_key_file = \"keys/api-key\"\nconcurrency = 4\n\n[egress]\noffline = {offline}\n\
         allow_hosts = [\"{}\"]\nallow_loopback = true\n",
        double.base_url(),
        double.host()
    ))
}

fn folder(config: &str) -> tempfile::TempDir {
    let folder = stage(config);
    let key = folder.path().join("keys/api-key");
    seal_service::store::write_atomic(&key, KEY.as_bytes()).unwrap();
    folder
}

fn sent(folder: &Path) -> Vec<String> {
    let rows = read_record(&folder.join("teacher/state")).unwrap();
    let body = |row| match row {
        EgressRow::Sent { body, .. } => Some(body),
        EgressRow::Answered { .. } => None,
    };
    rows.into_iter().filter_map(body).collect()
}

#[test]
fn it_reaches_its_endpoint_and_nothing_else_and_tells_nobody_its_key() {
    let double = Double::start(|number, _| match number {
        1 => Act::Raw("application/json", "{\"choices\": \"unreadable-canary".to_owned()),
        2 => Act::Status(500, vec![], "server-canary".to_owned()),
        _ => Act::Reply("1. kim is here.\n2. zel is tor.".to_owned()),
    });
    let folder = folder(&api(&double, false));
    let running = Running::start(folder.path());
    let report: ConfinementReport = running.get(path::CONFINEMENT);
    assert_eq!(report.enforcement.level, EnforcementLevel::Full);
    for probe in &report.probes {
        println!("{} -> {}", probe.attempt, probe.outcome);
        assert!(probe.refused, "{probe:?}");
    }
    let tried = |what: &str| report.probes.iter().any(|probe| probe.attempt.contains(what));
    assert!(tried("connect `tcp:127.0.0.1:1`") && tried("keys/api-key") && tried("UDP socket"));

    let result = running.propose(&free(&[0, 1], 3)).unwrap();
    let proposals: Proposals = serde_json::from_value(result).unwrap();
    assert_eq!((proposals.edits.len(), proposals.unparsed.len()), (6, 0));
    let edit = content(&proposals.edits[0]);
    assert_eq!(edit.origin.prompt_family, "implications/v1");
    let mut arrived: Vec<Vec<u8>> = double.received().into_iter().map(|one| one.body).collect();
    let mut recorded: Vec<Vec<u8>> =
        sent(folder.path()).into_iter().map(String::into_bytes).collect();
    arrived.sort();
    recorded.sort();
    assert_eq!(arrived, recorded);
    assert!(double.received().iter().all(|one| one.headers["authorization"].ends_with(KEY)));

    let log = running.log();
    assert!(log.contains("wrong_content_type") || log.contains("malformed"), "faults are logged");
    for canary in [KEY, CONTEXTS[1], "zel is tor", "unreadable-canary", "server-canary"] {
        assert!(!log.contains(canary), "the log holds `{canary}`");
    }
    assert!(running.terminate().success());
}

#[test]
fn a_kill_in_the_middle_of_a_batch_pays_for_no_stored_reply_again() {
    let killed = Arc::new(AtomicBool::new(false));
    let seen = killed.clone();
    let double = Double::start(move |number, _| match number < 12 || seen.load(Ordering::SeqCst) {
        true => Act::Reply(format!("1. reply {number}.\n2. more.")),
        false => Act::Silence,
    });
    let folder = folder(&api(&double, false));
    let request = free(&[0, 1, 2], 10);
    let mut running = Running::start(folder.path());
    let _: seal_protocol::JobAccepted = running.post(path::PROPOSALS, &request);
    let stored = folder.path().join("teacher/state/backend/replies.jsonl");
    // Twelve were answered; the next ones wait.
    while std::fs::read_to_string(&stored).unwrap_or_default().lines().count() < 12
        || double.received().len() < 16
    {
        std::thread::yield_now();
    }
    running.child.kill().unwrap();
    drop(running);
    killed.store(true, Ordering::SeqCst);

    let running = Running::start(folder.path());
    let result = running.propose(&request).unwrap();
    let proposals: Proposals = serde_json::from_value(result).unwrap();
    assert_eq!(proposals.edits.len(), 30);
    let mut times: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for one in double.received() {
        *times.entry(one.body).or_default() += 1;
    }
    assert_eq!(times.len(), 30);
    assert_eq!(times.values().filter(|&&count| count > 1).count(), 4, "those under way");
    assert_eq!(sent(folder.path()).len(), 34);
}

#[test]
fn offline_can_make_no_socket_and_refuses_before_one_is_asked_for() {
    let double = Double::always(Act::Reply("1. a.\n2. b.".to_owned()));
    let folder = folder(&api(&double, true));
    let running = Running::start(folder.path());
    let report: ConfinementReport = running.get(path::CONFINEMENT);
    let tcp = report.probes.iter().find(|probe| probe.attempt == "make a TCP socket").unwrap();
    assert_eq!((tcp.refused, tcp.outcome.as_str()), (true, "EPERM"));
    let error = running.propose(&free(&[0], 1)).unwrap_err();
    assert_eq!(error.code, "offline");
    assert!(double.received().is_empty());
}

#[test]
fn a_host_that_is_not_listed_keeps_the_program_from_starting() {
    let double = Double::always(Act::Silence);
    let config = api(&double, false).replace(&double.host(), "127.0.0.1:1");
    let config = config.replace("http://127.0.0.1:1/", "http://127.0.0.1:2/");
    let folder = folder(&config);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_seal-teacher"))
        .arg("--config")
        .arg(folder.path().join("teacher.toml"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("host `127.0.0.1:2` is not in `allow_hosts` under [egress]"), "{text}");
}
