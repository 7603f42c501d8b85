//! A bundle proves itself, and nothing in it can be taken out or changed unseen.

use std::path::{Path, PathBuf};

use seal_protocol::{Cosignature, Decision, LedgerEvent};
use seal_trust::{RootChain, cosignature, sha256};

use super::tests::{judged_world, world};
use super::*;
use crate::ledger::LedgerDesk;
use crate::policy::{Bundle, Policy};
use crate::testing::{NOW, World, witness_key};

fn exported(world: &World, range: std::ops::Range<u64>) -> (tempfile::TempDir, Digest) {
    let folder = tempfile::tempdir().unwrap();
    let roots: RootChain = world.root.clone().into();
    let index = export(&world.state(), &roots, range, folder.path()).unwrap();
    (folder, index)
}

fn verified(folder: &Path, world: &World) -> Result<BundleSummary, Finding> {
    verify_bundle(folder, Some(world.root.digest()), NOW)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn a_part_of_the_ledger_verifies_from_its_own_files() {
    let world = world();
    let (folder, index) = exported(&world, 0..7);
    let whole = verified(folder.path(), &world).unwrap();
    assert_eq!((whole.from, whole.to, whole.ledger_rows, whole.verdicts), (0, 7, 7, 3));
    assert_eq!((whole.index, whole.witnesses.len()), (index, 0));
    for (range, verdicts) in [(3..7, 2), (6..7, 1), (1..1, 0), (0..1, 0)] {
        let (folder, _) = exported(&world, range.clone());
        let part = verified(folder.path(), &world).unwrap();
        assert_eq!((part.from, part.to, part.verdicts), (range.start, range.end, verdicts));
    }
    let roots: RootChain = world.root.clone().into();
    let beyond = export(&world.state(), &roots, 3..9, folder.path());
    assert!(matches!(beyond, Err(ExportError::Range { rows: 7, .. })));
    let occupied = export(&world.state(), &roots, 0..7, folder.path());
    assert!(matches!(occupied, Err(ExportError::Write { .. })));
}

#[test]
fn any_changed_byte_of_any_file_breaks_it_and_is_named() {
    let world = world();
    let (folder, _) = exported(&world, 2..7);
    let files = files_below(folder.path());
    assert!(files.len() > 12, "{}", files.len());
    for path in files {
        let original = std::fs::read(&path).unwrap();
        for step in 0..9 {
            let mut changed = original.clone();
            changed[step * (original.len() - 1) / 8] ^= 1;
            std::fs::write(&path, changed).unwrap();
            verified(folder.path(), &world).expect_err(&path.display().to_string());
        }
        std::fs::remove_file(&path).unwrap();
        verified(folder.path(), &world).expect_err("a file that is missing");
        std::fs::write(&path, original).unwrap();
    }
    std::fs::write(folder.path().join("rows/99.json"), "{}").unwrap();
    verified(folder.path(), &world).expect_err("a file that nobody listed");
}

/// An attacker that may rewrite the index too, as whoever hands a bundle on can.
fn forged(folder: &Path, change: impl FnOnce(&mut BundleIndex)) {
    let path = folder.join(BUNDLE_INDEX);
    let mut index: BundleIndex = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (name, digest) in &mut index.files {
        if let Ok(bytes) = std::fs::read(folder.join(name)) {
            *digest = sha256(&bytes);
        }
    }
    index.files.retain(|name, _| folder.join(name).exists());
    change(&mut index);
    std::fs::write(path, seal_trust::canonical_json(&index).unwrap()).unwrap();
}

#[test]
fn a_row_that_was_changed_or_left_out_is_found_although_the_index_was_rewritten() {
    let world = world();
    let rewrite = |file: &str, from: &str, to: &str| {
        let (folder, _) = exported(&world, 0..7);
        let path = folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}: {text}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        forged(folder.path(), |_| {});
        verified(folder.path(), &world).expect_err(file)
    };
    rewrite("rows/3.json", "\"reject\"", "\"accept\"");
    rewrite("rows/1.json", "\"accept\"", "\"reject\"");
    rewrite("rows/2.tlog-proof", "index 2", "index 3");
    rewrite("checkpoint.txt", "\n7\n", "\n6\n");

    let (folder, _) = exported(&world, 0..7);
    for file in ["rows/4.json", "rows/4.tlog-proof"] {
        std::fs::remove_file(folder.path().join(file)).unwrap();
    }
    forged(folder.path(), |_| {});
    let finding = verified(folder.path(), &world).unwrap_err();
    assert!(finding.path.ends_with("rows/4.json"), "{finding}");

    // Rows cut off at the end leave an honest, shorter claim; only its digest tells.
    let (folder, printed) = exported(&world, 0..7);
    let verdict = std::fs::read_dir(folder.path().join("verdicts")).unwrap().count();
    assert_eq!(verdict, 3);
    for file in ["rows/6.json", "rows/6.tlog-proof"] {
        std::fs::remove_file(folder.path().join(file)).unwrap();
    }
    forged(folder.path(), |index| index.to = 6);
    let finding = verified(folder.path(), &world).unwrap_err();
    assert!(finding.to_string().contains("no row needs this file"), "{finding}");
    let (shorter, _) = exported(&world, 0..6);
    assert_ne!(verified(shorter.path(), &world).unwrap().index, printed);
}

#[test]
fn a_bundle_under_another_trust_root_than_the_readers_is_refused() {
    let world = world();
    let (folder, _) = exported(&world, 0..7);
    let other = Some(sha256(b"another trust root"));
    assert!(verify_bundle(folder.path(), other, NOW).is_err());
    assert!(verify_bundle(folder.path(), None, NOW).is_ok());
    assert!(verify_bundle(folder.path(), None, world.root.root().expires).is_err());
}

#[test]
fn cosignatures_of_witnesses_travel_in_proofs_and_bundles_and_others_are_not_kept() {
    let world = world();
    drop(world.auditor());
    let desk = LedgerDesk::open(&world.state(), world.root.clone(), world.clock.clone()).unwrap();
    let question = LedgerQuestion::default();
    let note = desk.show(&question).unwrap().checkpoint;
    let stranger = cosignature(&world.keys.student, "student", &note, NOW).unwrap();
    for line in [stranger, "— student AAAA\n".to_owned(), "nonsense".to_owned()] {
        assert!(desk.cosign(&Cosignature { size: 7, line }).is_err());
    }
    let line = cosignature(&witness_key(), "seal.internal/student", &note, NOW).unwrap();
    assert!(desk.cosign(&Cosignature { size: 6, line: line.clone() }).is_err(), "another size");
    let cosigned = desk.cosign(&Cosignature { size: 7, line: line.clone() }).unwrap().checkpoint;
    assert_eq!(desk.cosign(&Cosignature { size: 7, line }).unwrap().checkpoint, cosigned);
    assert_eq!(desk.show(&question).unwrap().checkpoint, cosigned);

    let summary = verify_state(&world.state(), &world.root.clone().into(), NOW).unwrap();
    assert_eq!((summary.cosignatures, summary.verdicts), (1, 3));
    for (envelope, _) in verdicts(&world.state()).unwrap() {
        let digest = seal_trust::payload_digest(&envelope).unwrap();
        let proof = crate::ledger::proof_file(&world.state(), &digest);
        let proof = std::fs::read_to_string(proof).unwrap();
        let proof = seal_trust::LedgerProof::from_text(&proof).unwrap();
        assert_eq!(world.root.witnesses(&proof.checkpoint).unwrap().len(), 1);
    }
    let (folder, _) = exported(&world, 0..7);
    assert_eq!(verified(folder.path(), &world).unwrap().witnesses, ["seal.internal/student"]);
}

#[test]
fn an_earlier_checkpoint_is_shown_with_its_own_rows_and_cosignatures() {
    let world = world();
    let desk = LedgerDesk::open(&world.state(), world.root.clone(), world.clock.clone()).unwrap();
    let verdicts: Vec<Digest> = verdicts(&world.state())
        .unwrap()
        .iter()
        .map(|(envelope, _)| seal_trust::payload_digest(envelope).unwrap())
        .collect();
    let at = |at| LedgerQuestion { verdicts: verdicts.clone(), at, ..LedgerQuestion::default() };
    let last = desk.show(&at(None)).unwrap();
    assert_eq!(desk.show(&at(Some(7))).unwrap(), last);
    let end = last.rows.iter().map(|row| row.index).max().unwrap();
    let earlier = desk.show(&at(Some(end))).unwrap();
    assert_eq!(earlier.rows.len(), last.rows.len() - 1, "the last verdict has no row there yet");

    let line = cosignature(&witness_key(), "seal.internal/student", &earlier.checkpoint, NOW);
    let cosignature = Cosignature { size: end, line: line.unwrap() };
    let cosigned = desk.cosign(&cosignature).unwrap().checkpoint;
    assert_eq!(desk.show(&at(Some(end))).unwrap().checkpoint, cosigned);
    assert_eq!(desk.show(&at(None)).unwrap(), last, "cosigned is only what the witness saw");
    for size in [0, 8, u64::MAX] {
        let refused = desk.show(&at(Some(size))).unwrap_err();
        assert!(matches!(refused, crate::ledger::LedgerError::NoCheckpoint(_)), "{refused}");
    }
}

#[test]
fn readers_are_shown_rows_of_verdicts_alone() {
    let world = world();
    let desk = LedgerDesk::open(&world.state(), world.root.clone(), world.clock.clone()).unwrap();
    let accepted: Vec<Digest> = verdicts(&world.state())
        .unwrap()
        .iter()
        .map(|(envelope, _)| seal_trust::payload_digest(envelope).unwrap())
        .collect();
    // Requests and edits of refused attempts are no verdicts, so their rows stay here.
    let refused = ledger(&world.state()).unwrap().into_iter().filter_map(|row| match row.event {
        LedgerEvent::Attempt(attempt) if attempt.decision != Decision::Accept => {
            Some([attempt.request_digest, attempt.metrics_annex_digest])
        }
        _ => None,
    });
    let others: Vec<Digest> = refused.flatten().collect();
    assert!(!others.is_empty());
    let ask = |verdicts: &[Digest]| {
        desk.show(&LedgerQuestion { verdicts: verdicts.to_vec(), ..LedgerQuestion::default() })
            .unwrap()
            .rows
    };
    assert_eq!(ask(&others), []);
    let shown = ask(&accepted);
    assert_eq!(shown.len(), 3);
    assert!(shown.iter().all(|row| row.entry.contains("\"reasons\":[]")), "{shown:?}");
}

#[test]
fn another_policy_is_tried_on_what_was_measured_and_changes_nothing() {
    let world = world();
    let policy = |rule: &str| {
        let text = format!(
            "package seal\nimport rego.v1\ndefault allow := false\nallow if {{ {rule} }}\nreasons contains \"by-the-board\" if {{ not allow }}\n"
        );
        let tests = "package seal_test\nimport rego.v1\ntest_refuses_nothing if { not data.seal.allow with input as {} }\n";
        let bundle = Bundle::of([("a.rego", text.as_str()), ("a_test.rego", tests)]);
        Policy::new(bundle, std::time::Duration::from_secs(60)).unwrap()
    };
    let before = std::fs::read(world.state().join(crate::ledger::LEDGER_FILE)).unwrap();
    let same = rejudge(&world.state(), None).unwrap();
    assert_eq!((same.attempts, same.evaluations, same.changed.len()), (5, 1, 0));
    let lenient = rejudge(&world.state(), Some(&policy("input.version == 1"))).unwrap();
    assert_eq!(lenient.changed, [], "what the gate refused stays refused");
    let strict = policy("input.request.purpose == \"promotion\"");
    let strict = rejudge(&world.state(), Some(&strict)).unwrap();
    let changed: Vec<_> = strict.changed.iter().map(|one| (one.was, one.would_be)).collect();
    assert_eq!(changed, [(Decision::Accept, Decision::Reject); 2]);
    let reasons = &strict.changed[0].reasons_would_be;
    assert!(reasons.contains(&"policy.by-the-board".to_owned()), "{reasons:?}");
    assert_eq!(std::fs::read(world.state().join(crate::ledger::LEDGER_FILE)).unwrap(), before);
}

#[test]
fn the_constitution_that_a_verdict_names_travels_in_the_bundle() {
    let world = judged_world();
    let (folder, _) = exported(&world, 0..3);
    assert_eq!(verified(folder.path(), &world).unwrap().verdicts, 1);
    let kept = files_below(&folder.path().join("constitutions"));
    let [constitution] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(std::fs::read(constitution).unwrap(), b"a constitution");
    // Another text under the same name, known to the index: the verdict does not name it.
    let other = b"another constitution";
    std::fs::write(constitution, other).unwrap();
    let path = folder.path().join(BUNDLE_INDEX);
    let mut index: BundleIndex = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let name = constitution.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
    index.files.insert(name, sha256(other));
    std::fs::write(&path, seal_trust::canonical_json(&index).unwrap()).unwrap();
    assert_eq!(verified(folder.path(), &world).unwrap_err().path, *constitution);
}
