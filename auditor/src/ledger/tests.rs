use rusqlite::Connection;
use seal_protocol::{AuditPurpose, UnixSeconds};

use super::*;
use crate::testing::{NOW, ORIGIN, Skill, World, code, context, rows};

fn db(world: &World) -> Connection {
    Connection::open(world.state().join(LEDGER_FILE)).unwrap()
}

fn count(world: &World, table: &str) -> i64 {
    db(world).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn the_first_row_says_what_the_ledger_is_about_and_a_restart_adds_none() {
    let world = World::new();
    drop(world.ledger());
    drop(world.ledger());
    assert_eq!(rows(&world).len(), 1);
    let note = std::fs::read_to_string(world.state().join(CHECKPOINT_FILE)).unwrap();
    assert_eq!(world.root.verify_checkpoint(&note, ORIGIN, NOW).unwrap().size, 1);
}

/// Every table into which a group's transaction writes.
const TABLES: [&str; 5] = ["ledger", "artefacts", "verdicts", "checkpoints", "inbox"];

#[test]
fn a_failure_at_any_step_of_the_commit_leaves_nothing_and_the_next_try_does_it_all() {
    for table in TABLES {
        let world = World::new();
        let mut auditor = world.auditor();
        let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
        let before = TABLES.map(|table| count(&world, table));
        let trigger = format!(
            "CREATE TRIGGER stop BEFORE INSERT ON {table} BEGIN SELECT raise(ABORT, 'crash'); END"
        );
        db(&world).execute_batch(&trigger).unwrap();
        auditor.audit(submission.clone()).unwrap_err();
        assert_eq!(TABLES.map(|table| count(&world, table)), before, "stopped at {table}");
        let verdicts = std::fs::read_dir(world.state().join("verdicts")).unwrap().count();
        assert_eq!(verdicts, 0, "no verdict outside a commit, stopped at {table}");
        db(&world).execute_batch("DROP TRIGGER stop").unwrap();
        assert!(auditor.audit(submission).unwrap().verdict.is_some());
        assert_eq!(rows(&world).len(), 2);
    }
}

#[test]
fn files_that_a_crash_left_out_are_written_at_the_next_start() {
    let world = World::new();
    world.auditor().audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()])).unwrap();
    let folders = ArtefactKind::ALL.map(|kind| world.state().join(kind.folder()));
    let listed = || folders.each_ref().map(|folder| std::fs::read_dir(folder).unwrap().count());
    assert_eq!(listed(), [2, 1, 1, 1, 0, 1, 0, 0]);
    for folder in &folders {
        std::fs::remove_dir_all(folder).unwrap();
    }
    std::fs::write(world.state().join(CHECKPOINT_FILE), "old").unwrap();
    drop(world.ledger());
    assert_eq!(listed(), [2, 1, 1, 1, 0, 1, 0, 0]);
    let note = std::fs::read_to_string(world.state().join(CHECKPOINT_FILE)).unwrap();
    assert_eq!(world.root.verify_checkpoint(&note, ORIGIN, NOW).unwrap().size, 2);
}

#[test]
fn files_that_a_failing_disk_left_out_are_written_before_anything_else_is_recorded() {
    let world = World::new();
    let mut auditor = world.auditor();
    let (annexes, aside) = (world.state().join("annexes"), world.state().join("aside"));
    let group = |at, skills: &[Skill]| world.group(AuditPurpose::Edit, at, skills);
    let first = group(0, &[Skill::default(), Skill { broken: true, ..Skill::default() }]);
    // A folder in whose place a file lies takes no files.
    std::fs::rename(&annexes, &aside).unwrap();
    std::fs::write(&annexes, "").unwrap();
    assert_eq!(code(auditor.audit(first.clone())), "ledger_failed");
    assert_eq!(rows(&world).len(), 3, "the commit stands");
    assert_eq!(code(auditor.audit(group(1, &[Skill::default()]))), "ledger_failed");
    assert_eq!(rows(&world).len(), 3, "and nothing follows it while its files are missing");

    std::fs::remove_file(&annexes).unwrap();
    std::fs::rename(&aside, &annexes).unwrap();
    assert!(auditor.audit(first).unwrap().verdict.is_some());
    assert_eq!(rows(&world).len(), 3, "the stored reply");
    let count = |folder: &str| std::fs::read_dir(world.state().join(folder)).unwrap().count();
    assert_eq!((count("annexes"), count("verdicts")), (1, 2));
    let note = std::fs::read_to_string(world.state().join(CHECKPOINT_FILE)).unwrap();
    assert_eq!(world.root.verify_checkpoint(&note, ORIGIN, NOW).unwrap().size, 3);
}

#[test]
fn a_ledger_whose_rows_were_rewritten_is_not_opened() {
    let changes = [
        "UPDATE ledger SET entry = CAST(replace(CAST(entry AS TEXT), 'accept', 'reject') AS BLOB) WHERE idx = 1",
        "DELETE FROM ledger WHERE idx = 1",
        "DELETE FROM checkpoints",
        "UPDATE checkpoints SET note = replace(note, '2', '1')",
    ];
    for change in changes {
        let world = World::new();
        world.auditor().audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()])).unwrap();
        assert!(db(&world).execute(change, []).unwrap() > 0, "{change}");
        let opened =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(world.ledger())));
        assert!(opened.is_err(), "{change}");
    }
}

#[test]
fn attempts_are_counted_by_group_and_purpose_and_evaluations_are_free() {
    let world = World::new();
    let mut auditor = world.auditor();
    let skills = [Skill::default(), Skill { tau: 1, ..Skill::default() }];
    auditor.audit(world.group(AuditPurpose::Edit, 0, &skills)).unwrap();
    auditor.audit(world.group(AuditPurpose::Evaluation, 0, &skills)).unwrap();
    drop(auditor);
    let (ledger, vault) = (world.ledger(), world.vault());
    let earlier =
        |at, purpose| ledger.used(&context(at), vault.in_force(&context(at)), purpose).earlier;
    assert_eq!(earlier(0, AuditPurpose::Edit), 1);
    assert_eq!(earlier(0, AuditPurpose::Promotion), 0);
    assert_eq!(earlier(0, AuditPurpose::Evaluation), 0);
    assert_eq!(earlier(1, AuditPurpose::Edit), 0);
}

#[test]
fn small_steps_back_of_the_clock_never_turn_time_around_in_the_ledger() {
    let world = World::new();
    let mut ledger = world.ledger();
    let empty = |_: Head| Ok(NewGroup { rows: Vec::new(), verdict: None, artefacts: Vec::new() });
    let row = |head: Head| {
        assert_eq!(head.at, NOW);
        empty(head)
    };
    // No rows means the same size: refused by the checkpoint table, not by the clock.
    let refused = ledger.commit(None, UnixSeconds(NOW.0 - 30), row).unwrap_err();
    assert!(matches!(refused, LedgerError::Sqlite(_)), "{refused}");
    let refused = ledger.commit(None, UnixSeconds(NOW.0 - 61), empty).unwrap_err();
    assert!(matches!(refused, LedgerError::ClockWentBack { .. }), "{refused}");
}
