//! Full debug logs of a run hold no key, no question of τ and no context (A13).

#![allow(clippy::unwrap_used)]

mod common;

use std::process::{Command, Stdio};

use common::{Run, files_below};
use serde_json::Value;

/// Texts that must not appear, each with what it is.
fn canaries(run: &Run) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files_below(&run.path("keys")) {
        let pem = std::fs::read_to_string(&file).unwrap();
        let body = pem.lines().find(|line| !line.starts_with('-')).unwrap().to_owned();
        // The seed behind the fixed prefix, and its hex, as a careless Debug would print it.
        let secret = &body[22..];
        found.push((format!("{} in base64", file.display()), secret.to_owned()));
    }
    let tau = std::fs::read_to_string(run.path("auditor/tau.jsonl")).unwrap();
    for line in tau.lines() {
        let tau: Value = serde_json::from_str(line).unwrap();
        for split in ["reward", "confirmation", "protected"] {
            let items = tau[split].as_array().unwrap();
            found.extend(items.iter().map(|item| {
                (format!("{} of tau", item["id"]), item["question"].as_str().unwrap().to_owned())
            }));
        }
    }
    let contexts = std::fs::read_to_string(run.path("teacher/contexts.jsonl")).unwrap();
    for line in contexts.lines() {
        let context: Value = serde_json::from_str(line).unwrap();
        found.push((
            format!("context {}", context["id"]),
            context["text"].as_str().unwrap().to_owned(),
        ));
    }
    found
}

#[test]
fn full_debug_logs_of_a_run_hold_no_key_no_question_and_no_context() {
    let run = Run::small(&[]);
    let canaries = canaries(&run);
    assert!(canaries.len() > 30, "only {} canaries", canaries.len());
    let output = Command::new(env!("CARGO_BIN_EXE_seal"))
        .args(["run", "--config"])
        .arg(run.path("run.toml"))
        .env("SEAL_LOG", "trace")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", common::stderr(&output));
    let logs = files_below(&run.path("logs"));
    let mut said: Vec<(String, String)> = logs
        .iter()
        .map(|file| (file.display().to_string(), std::fs::read_to_string(file).unwrap()))
        .collect();
    said.push(("stdout".to_owned(), common::stdout(&output)));
    said.push(("stderr".to_owned(), common::stderr(&output)));
    // Nothing that is linked today writes below INFO; what may write there one day is asked for.
    for role in ["teacher", "student", "auditor"] {
        let own = said.iter().find(|(place, _)| place.ends_with(&format!("{role}.log")));
        let lines = own.map_or(0, |(_, text)| text.matches("\"level\":").count());
        assert!(lines >= 4, "{role} wrote {lines} lines");
    }
    for (place, text) in &said {
        for (what, canary) in &canaries {
            assert!(!text.contains(canary), "{what} stands in {place}");
        }
    }
}
