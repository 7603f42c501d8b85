//! The real program: it starts confined, tells so, works over its socket, and ends on SIGTERM.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Command;

use common::running::Running;
use common::{Bench, sampled};
use seal_protocol::{ConfinementReport, Health, Proposals, Role, path};

#[test]
fn the_teacher_runs_confined_proposes_and_stops() {
    let Bench { folder, teacher, .. } = Bench::new();
    drop(teacher);
    let running = Running::start(folder.path());
    let health: Health = running.get(path::HEALTH);
    assert_eq!(health.role, Role::Teacher);
    let report: ConfinementReport = running.get(path::CONFINEMENT);
    assert!(!report.probes.is_empty());

    let result = running.propose(&sampled(&[0, 1], 2)).unwrap();
    let proposals: Proposals = serde_json::from_value(result).unwrap();
    assert_eq!(proposals.edits.len() + proposals.unparsed.len(), 4);
    assert!(running.terminate().success());
}

#[test]
fn a_missing_config_is_one_clear_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_seal-teacher"))
        .args(["--config", "/nowhere/teacher.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/nowhere/teacher.toml"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}
