//! Inner updates: the same request yields the same bytes, alone or among others, before or after a
//! restart; an edit that cannot be trained on stops no other.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, content, edit, key, signed_edit, signed_edit_by};
use seal_protocol::{AuditPurpose, AuditRequest, InnerUpdateRequest, Nano, Role};
use seal_trust::digest_of;

const LINES: [&str; 2] = ["ada cruz founded zel tor .", "q who founded zel tor ? a ada cruz ."];

#[test]
fn the_same_request_yields_the_same_digests_in_another_process_and_after_a_restart() {
    let edits =
        [0, 1].map(|proposal| signed_edit(&edit("c", proposal, &LINES[..1 + proposal as usize])));
    let bench = Bench::new();
    let first = bench.train(AuditPurpose::Edit, &edits);
    assert_eq!(Bench::new().train(AuditPurpose::Edit, &edits), first);
    let bench = bench.reopen();
    assert_eq!(bench.train(AuditPurpose::Edit, &edits), first);
}

#[test]
fn a_candidate_trained_among_others_equals_the_one_trained_alone() {
    let of = |context: &str| signed_edit(&edit(context, 0, &LINES));
    let many: Vec<_> = ["a", "b", "c", "d", "e"].map(of).into();
    let together = Bench::new().train(AuditPurpose::Evaluation, &many);
    assert_eq!(together.len(), 5);
    let alone = Bench::new().train(AuditPurpose::Evaluation, &many[3..4]);
    assert_eq!(alone[0].1.candidates, together[3].1.candidates);
}

#[test]
fn candidates_of_one_context_share_their_seed_and_others_do_not() {
    let edits = [("a", 1, 0), ("b", 1, 0), ("a", 2, 1)]
        .map(|(context, lines, proposal)| signed_edit(&edit(context, proposal, &LINES[..lines])));
    let requests = Bench::new().train(AuditPurpose::Edit, &edits);
    let (a, b) = (&requests[0].1.candidates, &requests[1].1.candidates);
    assert_eq!((a.len(), b.len()), (2, 1));
    assert_eq!(a[0].seed, a[1].seed);
    assert_ne!(a[0].seed, b[0].seed);
    assert_ne!(a[0].adapter_digest(), a[1].adapter_digest());
    assert_ne!(requests[0].1.nonce, requests[1].1.nonce);
}

#[test]
fn a_duplicate_line_changes_nothing() {
    let once = signed_edit(&edit("c", 0, &LINES[..1]));
    let twice = signed_edit(&edit("c", 0, &[LINES[0], LINES[0]]));
    let bench = Bench::new();
    let adapter =
        |envelope| bench.train(AuditPurpose::Edit, &[envelope])[0].1.candidates[0].adapter_digest();
    assert_eq!(adapter(once), adapter(twice));
}

#[test]
fn an_edit_that_cannot_be_trained_on_is_named_and_stops_no_other() {
    let bench = Bench::new();
    let unknown = edit("a", 0, &["atlantis founded zel ."]);
    let long = edit("b", 0, &[&"zel ".repeat(300)]);
    let mut backwards = edit("c", 0, &LINES);
    backwards.directives.learning_rate_nano = Some(Nano(-1));
    let good = edit("d", 0, &LINES);
    let request = InnerUpdateRequest {
        stage: "round-1".to_owned(),
        purpose: AuditPurpose::Edit,
        edits: [&unknown, &long, &backwards, &good].map(signed_edit).to_vec(),
        seed: 7,
        together: false,
    };
    let updated = bench.student.inner_update(&request, &mut |_, _| {}).unwrap();
    assert_eq!(updated.requests.len(), 1);
    let reasons: Vec<&str> =
        updated.refused.iter().map(|refused| refused.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].contains("tokenizer"), "{}", reasons[0]);
    assert!(reasons[1].contains("max_sequence_tokens"), "{}", reasons[1]);
    assert!(reasons[2].contains("learning_rate"), "{}", reasons[2]);
}

#[test]
fn an_edit_whose_training_diverges_is_named_and_stops_no_other() {
    // The recipe's own rate is beyond all sense; the good edit asks for another.
    let mut good = edit("a", 1, &LINES);
    good.directives.learning_rate_nano = Some(Nano(1_000_000));
    let edits = [edit("a", 0, &LINES), good, edit("b", 0, &LINES)];
    let wild = || Bench::new().reopen_with(|config| config.inner_update.learning_rate = 1e30);
    let bench = wild();
    let request = InnerUpdateRequest {
        stage: "round-1".to_owned(),
        purpose: AuditPurpose::Edit,
        edits: edits.iter().map(signed_edit).collect(),
        seed: 7,
        together: false,
    };
    let updated = bench.student.inner_update(&request, &mut |_, _| {}).unwrap();
    let named: Vec<_> = updated.refused.iter().map(|refused| refused.edit_digest).collect();
    assert_eq!(named, [&edits[0], &edits[2]].map(|edit| digest_of(edit).unwrap()));
    assert!(updated.refused.iter().all(|refused| refused.reason.contains("diverged")));
    let [request] = &updated.requests[..] else { panic!("context b has no candidate left") };
    let alone = wild().train(AuditPurpose::Edit, &[signed_edit(&edits[1])]);
    assert_eq!(content(request).candidates, alone[0].1.candidates);
}

#[test]
fn what_saves_memory_changes_no_adapter() {
    let edits = [0, 1].map(|proposal| signed_edit(&edit("c", proposal, &LINES)));
    let plain = Bench::new().train(AuditPurpose::Edit, &edits);
    let frugal = Bench::new().reopen_with(|config| {
        config.gradient_checkpointing = true;
        config.save_steps = 1;
        config.candidates_per_batch = 1;
    });
    assert_eq!(frugal.train(AuditPurpose::Edit, &edits), plain);
    let unfinished = std::fs::read_dir(frugal.config.state.join("unfinished")).unwrap();
    assert_eq!(unfinished.count(), 0);
}

#[test]
fn options_of_the_recipe_reach_the_adapter_and_its_file() {
    let edits = [signed_edit(&edit("c", 0, &LINES))];
    let plain = Bench::new().train(AuditPurpose::Edit, &edits);
    let bench = Bench::new().reopen_with(|config| {
        config.inner_update.use_rslora = true;
        config.inner_update.lora_dropout = 0.1;
    });
    let changed = bench.train(AuditPurpose::Edit, &edits);
    let of = |trained: &[(_, AuditRequest)]| trained[0].1.candidates[0].clone();
    assert_ne!(of(&changed).adapter_digest(), of(&plain).adapter_digest());
    assert_ne!(of(&changed).recipe_digest, of(&plain).recipe_digest);
    let file = bench.adapter_file(&of(&changed).files[0].sha256);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("\"use_rslora\": true"), "{text}");
    assert!(text.contains("\"lora_dropout\": 0.1"), "{text}");
}

#[test]
fn an_edit_that_no_teacher_signed_is_not_trained_on() {
    let bench = Bench::new();
    let forged = signed_edit_by(&key(Role::Student), &edit("c", 0, &LINES));
    let request = InnerUpdateRequest {
        stage: "round-1".to_owned(),
        purpose: AuditPurpose::Edit,
        edits: vec![signed_edit(&edit("c", 1, &LINES)), forged],
        seed: 7,
        together: false,
    };
    let refusal = bench.student.inner_update(&request, &mut |_, _| {}).unwrap_err();
    assert_eq!(refusal.code(), "signer_wrong_role");
    let none = InnerUpdateRequest { edits: vec![], ..request };
    let refusal = bench.student.inner_update(&none, &mut |_, _| {}).unwrap_err();
    assert_eq!(refusal.code(), "nothing_to_do");
}

#[test]
fn progress_ends_at_the_number_of_candidates() {
    let edits: Vec<_> =
        ["a", "b", "c", "d"].map(|context| signed_edit(&edit(context, 0, &LINES))).into();
    let request = InnerUpdateRequest {
        stage: "round-1".to_owned(),
        purpose: AuditPurpose::Edit,
        edits,
        seed: 7,
        together: false,
    };
    let mut seen = Vec::new();
    let bench = Bench::new();
    bench.student.inner_update(&request, &mut |done, total| seen.push((done, total))).unwrap();
    assert_eq!(seen.last(), Some(&(4, 4)));
    assert!(seen.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{seen:?}");
}
