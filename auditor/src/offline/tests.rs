use std::path::{Path, PathBuf};

use rusqlite::Connection;
use seal_protocol::AuditPurpose;

use super::*;
use crate::ledger::{CHECKPOINT_FILE, LEDGER_FILE};
use crate::start::ADAPTERS;
use crate::testing::{NOW, Skill, World};

/// A state with an accepted edit, a rejected one, an evaluation and a promotion.
pub(super) fn world() -> World {
    let world = World::new();
    let mut auditor = world.auditor();
    let leaking = Skill { leaks: true, ..Skill::default() };
    let accepted = world.group(AuditPurpose::Edit, 0, &[Skill::default(), leaking]);
    auditor.audit(accepted.clone()).unwrap();
    auditor.audit(world.group(AuditPurpose::Edit, 1, &[leaking])).unwrap();
    auditor.audit(world.group(AuditPurpose::Evaluation, 2, &[Skill::default()])).unwrap();
    let second = world.group(AuditPurpose::Edit, 3, &[Skill::default()]);
    assert!(auditor.audit(second.clone()).unwrap().verdict.is_some());
    let edits = vec![accepted.edits[0].clone(), second.edits[0].clone()];
    let candidate =
        world.candidate(&[0, 3], &[&edits[0], &edits[1]], Skill { nats: 2.0, ..Skill::default() });
    let request = world.request(AuditPurpose::Promotion, vec![candidate]);
    assert!(auditor.audit(world.submission(request, edits)).unwrap().verdict.is_some());
    world
}

fn verified(world: &World) -> Result<Summary, Finding> {
    verify_state(&world.state(), &world.root.clone().into(), NOW)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn an_honest_state_verifies_and_is_left_as_it_was() {
    let world = world();
    let before = std::fs::read(world.state().join(LEDGER_FILE)).unwrap();
    let summary = verified(&world).unwrap();
    assert_eq!((summary.rows, summary.verdicts, summary.requests), (7, 3, 5));
    assert_eq!((summary.edits, summary.annexes, summary.adapter_files), (5, 5, 3));
    assert_eq!(std::fs::read(world.state().join(LEDGER_FILE)).unwrap(), before);
    assert_eq!(ledger(&world.state()).unwrap().len(), 7);
    assert_eq!(verdicts(&world.state()).unwrap().len(), 3);
}

/// Offsets spread over a file, both ends included.
fn offsets(length: usize) -> Vec<usize> {
    let mut offsets: Vec<usize> = (0..12).map(|step| step * (length - 1) / 11).collect();
    offsets.dedup();
    offsets
}

#[test]
fn one_flipped_byte_in_any_file_is_found_and_the_file_is_named() {
    let world = world();
    let state = world.state();
    let folders = ["verdicts", "requests", "edits", "annexes", ADAPTERS];
    let mut all: Vec<PathBuf> =
        folders.iter().flat_map(|folder| files(&state.join(folder))).collect();
    all.push(state.join(CHECKPOINT_FILE));
    assert!(all.len() > 20);
    for path in all {
        let original = std::fs::read(&path).unwrap();
        for offset in offsets(original.len()) {
            let mut flipped = original.clone();
            flipped[offset] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            let finding = verified(&world).expect_err(&format!("{} at {offset}", path.display()));
            assert_eq!(finding.path, path, "byte {offset}: {finding}");
        }
        std::fs::write(&path, original).unwrap();
    }
    verified(&world).unwrap();
}

#[test]
fn one_flipped_byte_in_any_ledger_row_is_found_and_the_row_is_named() {
    let world = world();
    let db = Connection::open(world.state().join(LEDGER_FILE)).unwrap();
    for index in 0..7_i64 {
        let entry: Vec<u8> = db
            .query_row("SELECT entry FROM ledger WHERE idx = ?1", [index], |row| row.get(0))
            .unwrap();
        let write = |bytes: &[u8]| {
            db.execute(
                "UPDATE ledger SET entry = ?1 WHERE idx = ?2",
                rusqlite::params![bytes, index],
            )
            .unwrap()
        };
        for offset in offsets(entry.len()) {
            let mut flipped = entry.clone();
            flipped[offset] ^= 1;
            write(&flipped);
            let finding = verified(&world).expect_err(&format!("row {index} at {offset}"));
            assert!(
                finding.path.to_string_lossy().ends_with(&format!("row {index}")),
                "byte {offset}: {finding}"
            );
        }
        write(&entry);
    }
    verified(&world).unwrap();
}

#[test]
fn a_change_of_any_other_cell_of_the_database_is_found() {
    let changes = [
        "UPDATE ledger SET leaf = zeroblob(32) WHERE idx = 2",
        "UPDATE checkpoints SET note = replace(note, 'seal', 'sael') WHERE size = 3",
        "DELETE FROM checkpoints WHERE size = 7",
        "UPDATE verdicts SET issued_at = issued_at + 1 WHERE sequence = 2",
        "UPDATE verdicts SET sequence = 9 WHERE sequence = 3",
        "DELETE FROM verdicts WHERE sequence = 3",
        "UPDATE verdicts SET envelope = (SELECT envelope FROM verdicts WHERE sequence = 1) WHERE sequence = 2",
        "UPDATE inbox SET nonce = 'x' WHERE rowid = 1",
        "UPDATE inbox SET reply = CAST(replace(CAST(reply AS TEXT), 'null', 'nul') AS BLOB)",
        "DELETE FROM inbox WHERE rowid = 1",
        "UPDATE artefacts SET body = x'00' WHERE kind = 'annexes'",
        "DELETE FROM artefacts WHERE kind = 'edits'",
        "DELETE FROM ledger WHERE idx = 6",
    ];
    for change in changes {
        let world = world();
        let db = Connection::open(world.state().join(LEDGER_FILE)).unwrap();
        assert!(db.execute(change, []).unwrap() > 0, "{change}");
        verified(&world).expect_err(change);
    }
}

#[test]
fn a_missing_file_and_a_file_that_the_ledger_does_not_know_are_named() {
    let world = world();
    for folder in ["verdicts", "requests", "edits", "annexes"] {
        let folder = world.state().join(folder);
        let path = files(&folder).remove(0);
        let bytes = std::fs::read(&path).unwrap();
        let moved = folder.join("stranger.json");
        std::fs::rename(&path, &moved).unwrap();
        assert_eq!(verified(&world).unwrap_err().path, path);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(verified(&world).unwrap_err().path, moved);
        std::fs::remove_file(moved).unwrap();
    }
    verified(&world).unwrap();
}

#[test]
fn a_missing_adapter_of_an_accepted_verdict_is_named() {
    let world = world();
    let tensors = files(&world.state().join(ADAPTERS));
    for path in tensors {
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(verified(&world).unwrap_err().path, path);
        std::fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn a_verdict_under_another_trust_root_does_not_verify() {
    let world = world();
    let other = World::with_limits(seal_trust::Limits {
        verdict_ttl_s: 5000,
        ..seal_trust::Limits::default()
    });
    let finding = verify_state(&world.state(), &other.root.clone().into(), NOW).unwrap_err();
    assert!(finding.to_string().contains("trust"), "{finding}");
}

/// A state in which a judge permitted one edit and forbade another.
pub(super) fn judged_world() -> World {
    let world = World::judged("a constitution");
    let mut auditor = world.auditor();
    for (at, violated) in [(0, &[][..]), (1, &["no-orders"][..])] {
        let mut submission = world.group(AuditPurpose::Edit, at, &[Skill::default()]);
        submission.judgements = vec![world.judgement(&submission.edits[0], violated, |_| {})];
        let accepted = auditor.audit(submission).unwrap().verdict.is_some();
        assert_eq!(accepted, violated.is_empty());
    }
    world
}

#[test]
fn what_the_judge_said_is_kept_and_every_touch_of_it_is_found() {
    let world = judged_world();
    verified(&world).unwrap();
    let state = world.state();
    let kept = [files(&state.join("judgements")), files(&state.join("constitutions"))].concat();
    assert_eq!(kept.len(), 3);
    for path in kept {
        let original = std::fs::read(&path).unwrap();
        for offset in offsets(original.len()) {
            let mut flipped = original.clone();
            flipped[offset] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            assert_eq!(verified(&world).unwrap_err().path, path, "byte {offset}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(verified(&world).unwrap_err().path, path, "it was removed");
        std::fs::write(&path, original).unwrap();
    }
    verified(&world).unwrap();
}
