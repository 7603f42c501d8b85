//! `seal verify --all` finds any one changed byte of what a run folder claims, and names the file.

#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};

use common::{Run, files_below, stderr};

/// Folders and files whose every byte is evidence.
const EVIDENCE: [&str; 11] = [
    "trust/root.json",
    "base/model.safetensors",
    "auditor/state/verdicts",
    "auditor/state/edits",
    "auditor/state/requests",
    "auditor/state/annexes",
    "auditor/state/adapters",
    "student/state/adapter-files",
    "student/state/requests",
    "student/state/serving",
    "teacher/state/edits",
];

#[test]
fn a_single_changed_byte_of_any_evidence_is_found_and_named() {
    let run = Run::small(&[]);
    run.complete();
    assert!(run.seal(&["verify", "--all"]).status.success());

    let files: Vec<PathBuf> = EVIDENCE.iter().flat_map(|part| evidence(&run.path(part))).collect();
    assert!(files.len() > 30, "only {} files", files.len());
    for (number, file) in files.iter().enumerate() {
        let genuine = std::fs::read(file).unwrap();
        // Another place in each file: head, middle, tail and between.
        let place = (number * 7919 + 13) % genuine.len();
        let mut changed = genuine.clone();
        changed[place] ^= 1;
        std::fs::write(file, &changed).unwrap();
        let output = run.seal(&["verify", "--all"]);
        std::fs::write(file, &genuine).unwrap();

        let said = stderr(&output);
        // A model folder has one digest, so it is named as a whole.
        let named =
            if file.starts_with(run.path("base")) { run.path("base") } else { file.clone() };
        let name = named.file_name().unwrap().to_string_lossy();
        assert_eq!(output.status.code(), Some(12), "{} byte {place}: {said}", file.display());
        assert!(said.contains(name.as_ref()), "{} is not named: {said}", file.display());
    }
    assert!(run.seal(&["verify", "--all"]).status.success(), "all was put back");
}

#[test]
fn a_changed_policy_is_found_and_a_changed_ledger_row_is_named_by_its_number() {
    let run = Run::small(&[]);
    run.complete();
    for policy in files_below(&run.path("teacher/state/policies")) {
        if policy.extension().is_some_and(|extension| extension == "safetensors") {
            flip(&policy, 4_000);
            let output = run.seal(&["verify", "--all"]);
            assert_eq!(output.status.code(), Some(12), "{}", stderr(&output));
            assert!(stderr(&output).contains("policies"), "{}", stderr(&output));
            flip(&policy, 4_000);
        }
    }
    let ledger = run.path("auditor/state/ledger.sqlite");
    let rows: i64 = query(&ledger, "SELECT count(*) FROM ledger");
    for row in 0..rows {
        change_row(&ledger, row);
        let output = run.seal(&["verify", "--all"]);
        assert_eq!(output.status.code(), Some(12), "row {row}: {}", stderr(&output));
        assert!(stderr(&output).contains("ledger.sqlite"), "row {row}: {}", stderr(&output));
        change_row(&ledger, row);
    }
    assert!(run.seal(&["verify", "--all"]).status.success(), "all was put back");
}

fn evidence(part: &Path) -> Vec<PathBuf> {
    if part.is_file() { vec![part.to_owned()] } else { files_below(part) }
}

fn flip(file: &Path, place: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[place] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

fn query(ledger: &Path, sql: &str) -> i64 {
    rusqlite::Connection::open(ledger).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Flips a bit in the middle of a row's bytes, past the triggers that stop accidents.
fn change_row(ledger: &Path, index: i64) {
    let db = rusqlite::Connection::open(ledger).unwrap();
    let triggers: Vec<String> = db
        .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for trigger in triggers {
        db.execute_batch(&format!("DROP TRIGGER \"{trigger}\"")).unwrap();
    }
    let mut entry: Vec<u8> =
        db.query_row("SELECT entry FROM ledger WHERE idx = ?1", [index], |row| row.get(0)).unwrap();
    let middle = entry.len() / 2;
    entry[middle] ^= 1;
    db.execute("UPDATE ledger SET entry = ?2 WHERE idx = ?1", rusqlite::params![index, entry])
        .unwrap();
}
