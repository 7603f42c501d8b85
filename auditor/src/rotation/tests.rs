use std::path::PathBuf;

use rusqlite::Connection;
use seal_protocol::{Attempt, AuditPurpose, Decision, Digest, Labels, LedgerEvent, Rotation};
use seal_trust::Limits;

use super::RotationError;
use crate::items::{Item, ItemKind, read_rows};
use crate::offline;
use crate::testing::{NOW, Skill, World, attempts, context, rows};
use crate::vault::{Tau, Unrotated, Vault, rotate};

/// A world with room for two attempts on a τ, half of the level kept for later τ.
fn world() -> World {
    let mut world = World::with_limits(Limits { tau_query_budget: 2, ..Limits::default() });
    world.settings.rotation_share = 0.5;
    world
}

fn file(world: &World) -> PathBuf {
    world.folder.path().join("tau.jsonl")
}

fn vault_rows(world: &World) -> Vec<Tau> {
    read_rows(&file(world)).unwrap()
}

fn write(world: &World, rows: &[Tau]) {
    let lines: Vec<String> = rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect();
    std::fs::write(file(world), lines.join("\n")).unwrap();
}

/// Questions on a context that nobody asked before; `sign` tells sets of them apart.
fn fresh(at: usize, sign: &str) -> Tau {
    let items = |split: &str| -> Vec<Item> {
        let item = |number: usize| Item {
            id: format!("{split}{number}"),
            question: format!("{sign} {split}{number} {sign} {sign}s"),
            answer: format!("{sign} {number}"),
            kind: ItemKind::Forward,
            topic: None,
        };
        (0..5).map(item).collect()
    };
    Tau {
        context_digest: context(at),
        context_id: format!("train-{at:03}"),
        reward: items("r"),
        confirmation: items("c"),
        protected: Vec::new(),
        source: None,
        earlier: Vec::new(),
    }
}

/// What the operator does: other questions for some contexts, by the command's own code.
fn rotated(world: &World, new: Vec<Tau>) {
    let rotated = rotate(vault_rows(world), new, Labels::Gold).unwrap();
    write(world, &rotated.rows);
}

fn refused(world: &World) -> RotationError {
    world.try_auditor().err().expect("refused")
}

fn edit(world: &World, at: usize, skill: Skill) -> (Decision, Vec<String>) {
    world.auditor().audit(world.group(AuditPurpose::Edit, at, &[skill])).unwrap();
    attempts(world).pop().unwrap()
}

/// Spends both attempts that there are.
fn spend(world: &World, at: usize) {
    let leaking = Skill { leaks: true, ..Skill::default() };
    for _ in 0..2 {
        assert_eq!(edit(world, at, leaking).0, Decision::Reject);
    }
    assert_eq!(edit(world, at, Skill::default()).1, ["tau.budget-spent"]);
}

fn rotations(world: &World) -> Vec<Rotation> {
    let rotation = |entry: seal_protocol::LedgerEntry| match entry.event {
        LedgerEvent::Rotation(rotation) => Some(rotation),
        _ => None,
    };
    rows(world).into_iter().filter_map(rotation).collect()
}

fn last_attempt(world: &World) -> Attempt {
    let attempt = |entry: seal_protocol::LedgerEntry| match entry.event {
        LedgerEvent::Attempt(attempt) => Some(attempt),
        _ => None,
    };
    rows(world).into_iter().filter_map(attempt).next_back().unwrap()
}

fn last_level(world: &World) -> f64 {
    let digest = last_attempt(world).metrics_annex_digest;
    offline::annex(&world.state(), &digest).unwrap().alpha
}

fn verified(world: &World) {
    offline::verify_state(&world.state(), &world.root.clone().into(), NOW).unwrap();
}

#[test]
fn new_questions_open_a_spent_context_again_with_a_budget_and_a_level_of_their_own() {
    let world = world();
    spend(&world, 0);
    let before = last_attempt(&world).tau[&context(0)];
    rotated(&world, vec![fresh(0, "hue")]);
    let (decision, reasons) = edit(&world, 0, Skill::default());
    assert_eq!((decision, reasons), (Decision::Accept, vec![]));
    let after = last_attempt(&world).tau[&context(0)];
    assert_ne!(before, after);
    let context_digest = context(0);
    assert_eq!(rotations(&world), [Rotation { context_digest, before, after }]);
    // The second τ begins with a quarter of alpha: half was the first one's.
    assert!((last_level(&world) - 0.05 * 0.25 * 0.9).abs() < 1e-12, "{}", last_level(&world));
    verified(&world);

    // No other context's budget moved, and no start adds a row again.
    spend(&world, 1);
    assert_eq!(rotations(&world).len(), 1);
    verified(&world);
}

#[test]
fn old_questions_written_down_again_refill_no_budget() {
    let world = world();
    spend(&world, 0);
    let rows = vault_rows(&world);
    let old = rows[0].clone();
    let change = |change: fn(&mut Item)| {
        let mut new = Tau { earlier: Vec::new(), ..old.clone() };
        new.reward.iter_mut().chain(&mut new.confirmation).for_each(change);
        new
    };
    let turned = Tau { reward: old.reward.iter().rev().cloned().collect(), ..old.clone() };
    let swapped =
        Tau { reward: old.confirmation.clone(), confirmation: old.reward.clone(), ..old.clone() };
    let mut one_new = old.clone();
    one_new.reward[0] = fresh(0, "hue").reward[0].clone();
    let mut one_old = fresh(0, "hue");
    one_old.confirmation[3] = Item { id: "c3".to_owned(), ..old.reward[1].clone() };
    let attacks = [
        change(|item| item.id = format!("x{}", item.id)),
        change(|item| item.question = format!("{}?!", item.question.to_uppercase())),
        change(|item| item.question = format!("now {}", item.question)),
        change(|item| item.answer = format!("the {}", item.answer)),
        turned,
        swapped,
        one_new,
        one_old,
    ];
    for attack in attacks {
        // By the command.
        let refusal = rotate(rows.clone(), vec![attack.clone()], Labels::Gold).unwrap_err();
        assert!(matches!(refusal, Unrotated::Refused { .. }), "{refusal}");
        // By hand, the old questions thrown away.
        let mut by_hand = rows.clone();
        by_hand[0] = attack.clone();
        write(&world, &by_hand);
        assert!(matches!(refused(&world), RotationError::Gone { .. }));
        // By hand, the old questions kept, as the command would have.
        by_hand[0].earlier = vec![old.splits()];
        write(&world, &by_hand);
        let files = crate::vault::VaultFiles {
            tau: file(&world),
            retention: world.folder.path().join("retention.jsonl"),
            refusals: None,
            benign: None,
        };
        let error = Vault::open(&files, [9; 32], Labels::Gold).err().expect("refused").to_string();
        assert!(error.contains("train-000") && error.contains("new questions"), "{error}");
        assert!(!error.contains("of context"), "no text of a question: {error}");
    }
    // By hand, new questions, and others than those that were asked as the earlier ones.
    let mut by_hand = rows.clone();
    by_hand[0] = Tau { earlier: vec![fresh(0, "hue").splits()], ..fresh(0, "rank") };
    write(&world, &by_hand);
    assert!(matches!(refused(&world), RotationError::Gone { .. }));
    write(&world, &rows);
    assert_eq!(edit(&world, 0, Skill::default()).1, ["tau.budget-spent"]);
    assert_eq!(rotations(&world), []);
}

#[test]
fn a_tau_that_comes_back_has_no_more_left_than_when_it_went() {
    let world = world();
    let first = vault_rows(&world)[0].clone();
    spend(&world, 0);
    rotated(&world, vec![fresh(0, "hue")]);
    assert_eq!(edit(&world, 0, Skill { leaks: true, ..Skill::default() }).0, Decision::Reject);
    rotated(&world, vec![first.clone()]);
    assert_eq!(edit(&world, 0, Skill::default()).1, ["tau.budget-spent"]);
    assert_eq!(last_attempt(&world).tau[&context(0)], rotations(&world)[0].before);
    // And the other one goes on where it stood: of two attempts one is left.
    rotated(&world, vec![fresh(0, "hue")]);
    assert_eq!(edit(&world, 0, Skill { leaks: true, ..Skill::default() }).0, Decision::Reject);
    assert!((last_level(&world) - 0.05 * 0.25 * 0.9 * 0.1).abs() < 1e-12);
    assert_eq!(edit(&world, 0, Skill::default()).1, ["tau.budget-spent"]);
    assert_eq!(rotations(&world).len(), 3);
    verified(&world);
}

#[test]
fn without_a_share_of_the_level_no_other_tau_is_taken() {
    let mut world = world();
    world.settings.rotation_share = 0.0;
    assert_eq!(edit(&world, 0, Skill::default()).0, Decision::Accept);
    rotated(&world, vec![fresh(0, "hue")]);
    let error = refused(&world);
    assert!(matches!(error, RotationError::NoLevel(_)), "{error}");
    assert!(error.to_string().contains("rotation_share"), "{error}");
}

#[test]
fn an_attempt_under_way_counts_against_the_tau_that_it_was_asked_of() {
    let world = world();
    let mut auditor = world.auditor();
    rotated(&world, vec![fresh(0, "hue")]);
    auditor.audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()])).unwrap();
    let asked = last_attempt(&world);
    assert_eq!(asked.decision, Decision::Accept);
    drop(auditor);
    drop(world.auditor());
    let rotation = rotations(&world).pop().unwrap();
    assert_eq!(asked.tau[&context(0)], rotation.before);
    // What a verdict binds of the questions is another thing under the other τ.
    assert_eq!(edit(&world, 0, Skill::default()).0, Decision::Accept);
    let verdicts = offline::verdicts(&world.state()).unwrap();
    assert_ne!(verdicts[0].1.tau_commitment, verdicts[1].1.tau_commitment);
    verified(&world);
}

#[test]
fn a_failure_while_rotations_are_recorded_leaves_the_old_tau_of_all_and_the_next_start_records_all()
{
    let world = world();
    for at in 0..3 {
        edit(&world, at, Skill::default());
    }
    let db = Connection::open(world.state().join("ledger.sqlite")).unwrap();
    rotated(&world, vec![fresh(0, "hue"), fresh(2, "hue")]);
    for (table, which) in [("ledger", "NEW.idx = 5"), ("checkpoints", "NEW.size = 6")] {
        let trigger = format!(
            "CREATE TRIGGER stop BEFORE INSERT ON {table} WHEN {which}
             BEGIN SELECT raise(ABORT, 'crash'); END"
        );
        db.execute_batch(&trigger).unwrap();
        assert!(matches!(refused(&world), RotationError::Ledger(_)));
        assert_eq!((rows(&world).len(), rotations(&world)), (4, vec![]), "stopped at {table}");
        db.execute_batch("DROP TRIGGER stop").unwrap();
        verified(&world);
    }
    drop(world.auditor());
    let contexts: Vec<Digest> =
        rotations(&world).iter().map(|rotation| rotation.context_digest).collect();
    assert_eq!(contexts.len(), 2);
    assert!(contexts.contains(&context(0)) && contexts.contains(&context(2)));
    verified(&world);
}

#[test]
fn rows_of_before_that_name_no_tau_verify_and_count_against_every_tau() {
    let world = world();
    spend(&world, 0);
    edit(&world, 1, Skill::default());
    let old = world.as_of_before();
    verified(&old);
    assert!(rows(&old).iter().all(|row| match &row.event {
        LedgerEvent::Attempt(attempt) => attempt.tau.is_empty(),
        _ => true,
    }));
    assert_eq!(edit(&old, 0, Skill::default()).1, ["tau.budget-spent"]);
    // Other questions do not help: nobody knows whether those attempts were asked these.
    rotated(&old, vec![fresh(0, "hue"), fresh(2, "hue")]);
    assert_eq!(edit(&old, 0, Skill::default()).1, ["tau.budget-spent"]);
    assert_eq!(edit(&old, 2, Skill::default()).0, Decision::Accept);
    verified(&old);
}

#[test]
fn a_ledger_that_tells_another_story_of_its_tau_is_refused_by_the_row() {
    let world = world();
    edit(&world, 0, Skill::default());
    rotated(&world, vec![fresh(0, "hue")]);
    edit(&world, 0, Skill { leaks: true, ..Skill::default() });
    verified(&world);
    verified(&world.retold(|_| ()));
    let stories: [fn(&mut LedgerEvent); 4] = [
        // The rotation never happened.
        |event| {
            if let LedgerEvent::Rotation(rotation) = event {
                std::mem::swap(&mut rotation.before, &mut rotation.after);
            }
        },
        // The attempt was asked of another τ.
        |event| {
            if let LedgerEvent::Attempt(attempt) = event {
                attempt.tau.values_mut().for_each(|tau| *tau = Digest::from_bytes([3; 32]));
            }
        },
        // Nobody says what it was asked of, so it counts against every τ.
        |event| {
            if let LedgerEvent::Attempt(attempt) = event
                && attempt.decision == Decision::Accept
            {
                attempt.tau.clear();
            }
        },
        // It was asked on another context's account.
        |event| {
            if let LedgerEvent::Attempt(attempt) = event {
                attempt.tau = [(context(1), context(1))].into();
            }
        },
    ];
    for (number, story) in stories.into_iter().enumerate() {
        // Signed by the ledger's own key: what is left to find is the contradiction.
        let told = world.retold(story);
        let root = told.root.clone().into();
        let found = offline::verify_state(&told.state(), &root, NOW);
        assert!(found.is_err(), "story {number}");
    }
}
