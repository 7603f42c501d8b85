//! The presets for text of one's own run as they stand: made by `seal init --from`, filled by `seal
//! import`, carried out, verified. The student is a model of bytes that knows nothing, so what is shown is
//! that every part of a preset is taken up, not that anything is learned.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Run, stderr};
use seal_protocol::{Digest, Envelope, PolicyUpdate, Statement};
use seal_trust::{envelope_from_file_bytes, payload_bytes};
use serde_json::{Value, json};

/// Passages with three questions each.
fn passages() -> Vec<Value> {
    let about = |place: &str, year: u32, trade: &str, builder: &str| {
        let context = format!(
            "{place} is a town on the river. It was founded in {year} by {builder}. Its people live by {trade}."
        );
        let ask =
            |question: String, answer: &str| json!({ "question": question, "answer": answer });
        let questions = [
            ask(format!("When was {place} founded?"), &year.to_string()),
            ask(format!("Who founded {place}?"), builder),
            ask(format!("What do the people of {place} live by?"), trade),
        ];
        json!({ "id": place, "title": place, "context": context, "questions": questions })
    };
    vec![
        about("Ostrava Mill", 1423, "weaving", "two brothers"),
        about("Lower Kern", 1611, "salt", "a widow"),
        about("Tarn Bridge", 1789, "ferries", "the guild"),
        about("Heath End", 1532, "bees", "a monk"),
    ]
}

#[test]
fn the_papers_preset_runs_as_it_stands() {
    let run = Run::of_preset(
        "configs/paper",
        &passages(),
        &["--proposals", "2", "--seed", "7"],
        &["--held-out", "1", "--retention", "1"],
    );
    let settings = std::fs::read_to_string(run.path("run.toml")).unwrap();
    assert!(settings.contains("proposals_per_context = 2") && settings.contains("seed = 7"));
    assert!(settings.contains("deviation:"), "comments stay: {settings}");
    // A model of bytes rambles to the end of what it may write.
    let teacher = std::fs::read_to_string(run.path("teacher.toml")).unwrap();
    assert!(teacher.contains("max_new_tokens = 8192"), "{teacher}");
    let shorter = teacher.replace("max_new_tokens = 8192", "max_new_tokens = 48");
    std::fs::write(run.path("teacher.toml"), shorter).unwrap();

    run.complete();

    let verified = run.seal(&["verify", "--all"]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    // Two rounds of one passage: the authors' rule accepts one edit of each, and the policy learns from it.
    let updates = updates(&run);
    assert_eq!(updates.iter().map(|update| update.edit_digests.len()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(updates[1].parent_policy_digest, updates[0].policy_digest);
    let adapters: Vec<Digest> = updates.iter().map(|update| update.policy_digest).collect();
    assert_ne!(adapters[0], adapters[1]);
}

#[test]
fn a_round_for_which_nothing_was_imported_is_refused_before_anything_starts() {
    let run = Run::of_preset(
        "configs/paper",
        &passages(),
        &["--rounds", "3"],
        &["--rounds", "2", "--held-out", "1", "--retention", "1"],
    );
    let refused = run.seal(&["run"]);
    assert_eq!(refused.status.code(), Some(3));
    let told = stderr(&refused);
    assert!(told.contains("`rounds` is 3") && told.contains("round 3"), "{told}");
    assert!(told.contains("run.toml") && told.contains("--replace"), "{told}");
    assert!(!run.path("logs/teacher.log").exists(), "a daemon was started");
    let unverified = run.seal(&["verify", "--all"]);
    assert_eq!(unverified.status.code(), Some(3));
    assert!(stderr(&unverified).contains("`seal run`"), "{}", stderr(&unverified));
    assert!(stderr(&run.seal(&["status"])).contains("next: seal run"));
}

/// Policy updates, first to last.
fn updates(run: &Run) -> Vec<PolicyUpdate> {
    let folder = run.path("teacher/state/policy-updates");
    let files = common::files_below(&folder);
    let read = |file: &std::path::PathBuf| -> PolicyUpdate {
        let envelope: Envelope = envelope_from_file_bytes(&std::fs::read(file).unwrap()).unwrap();
        let statement: Statement<PolicyUpdate> =
            serde_json::from_slice(&payload_bytes(&envelope).unwrap()).unwrap();
        statement.predicate
    };
    let mut updates: Vec<PolicyUpdate> = files.iter().map(read).collect();
    let first = |one: &PolicyUpdate, all: &[PolicyUpdate]| {
        !all.iter().any(|other| other.policy_digest == one.parent_policy_digest)
    };
    let all = updates.clone();
    updates.sort_by_key(|one| !first(one, &all));
    updates
}
