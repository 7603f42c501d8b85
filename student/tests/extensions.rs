//! A sequence learns accepted edits alone, one on top of the other, and what nobody judged is measured
//! and nothing else.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, content, edit, key, signed, signed_edit, verdict};
use seal_model::{Adapter, ModelFolder};
use seal_protocol::{
    AuditPurpose, AuditRequest, Candidate, Envelope, ExtendRequest, InnerUpdateRequest,
    InnerUpdated, Role, Statement, VerdictKind,
};
use seal_trust::{digest_of, sign_statement};

const LINES: [&str; 2] = ["ada cruz founded zel tor .", "q who founded zel tor ? a ada cruz ."];

/// One edit on each of some contexts, and the auditor's accept of each.
fn accepted(bench: &Bench, contexts: &[&str]) -> (Vec<Envelope>, Vec<Envelope>) {
    let edits: Vec<Envelope> =
        contexts.iter().map(|context| signed_edit(&edit(context, 0, &LINES))).collect();
    let requests = bench.train(AuditPurpose::Edit, &edits);
    let verdicts = requests.iter().zip(1..).map(|((envelope, request), sequence)| {
        signed(&verdict(VerdictKind::Edit, sequence, envelope, request, 0))
    });
    let verdicts: Vec<Envelope> = verdicts.collect();
    bench.show(&verdicts);
    (edits, verdicts)
}

fn extend(
    bench: &Bench,
    verdicts: &[Envelope],
    edits: &[Envelope],
    parent: Option<&Envelope>,
) -> Result<Envelope, &'static str> {
    let request = ExtendRequest {
        stage: "sequence-1".to_owned(),
        verdicts: verdicts.to_vec(),
        edits: edits.to_vec(),
        parent: parent.cloned(),
        seed: 7,
    };
    let updated = bench.student.extend(&request, &mut |_, _| {});
    updated.map(|mut updated| updated.requests.remove(0)).map_err(|refusal| refusal.code())
}

fn only(envelope: &Envelope) -> Candidate {
    let request = content(envelope);
    assert_eq!(request.purpose, AuditPurpose::Evaluation, "a step asks for nothing else");
    let [candidate] = <[Candidate; 1]>::try_from(request.candidates).unwrap();
    candidate
}

fn adapter(bench: &Bench, candidate: &Candidate) -> Adapter {
    let [config, tensors] = [0, 1].map(|at| bench.adapter_file(&candidate.files[at].sha256));
    let read = |path| std::fs::read(path).unwrap();
    let folder = ModelFolder::open(&bench.config.base_model).unwrap();
    Adapter::from_peft_bytes(&read(config), &read(tensors), folder.config(), None).unwrap()
}

#[test]
fn each_step_is_the_one_before_to_the_bit_and_one_edit_more() {
    let bench = Bench::new();
    let (edits, verdicts) = accepted(&bench, &["a", "b"]);
    let first = extend(&bench, &verdicts[..1], &edits, None).unwrap();
    let second = extend(&bench, &verdicts[1..], &edits, Some(&first)).unwrap();
    let (one, two) = (only(&first), only(&second));
    assert_eq!((one.parent_adapter_digest, one.edit_digests.len()), (None, 1));
    assert_eq!(two.parent_adapter_digest, one.adapter_digest());
    assert_eq!((two.edit_digests.len(), two.context_digests.len()), (2, 2));
    assert!(two.edit_digests.is_sorted() && two.context_digests.is_sorted());
    let (one, two) = (adapter(&bench, &one), adapter(&bench, &two));
    assert_eq!(two.spec().r, 2 * one.spec().r);
    let folder = ModelFolder::open(&bench.config.base_model).unwrap();
    let (head, tail) = two.split_at(folder.config(), one.spec().r).unwrap();
    assert_eq!(head.flat().unwrap(), one.flat().unwrap());
    // Learned over what was learned, and not over the base.
    let alone =
        adapter(&bench, &content(&bench.train(AuditPurpose::Edit, &edits[1..])[0].0).candidates[0]);
    assert_eq!(alone.spec(), tail.spec());
    assert_ne!(alone.flat().unwrap(), tail.flat().unwrap());
    // The same again, after a restart too, is the same request.
    let bench = bench.reopen();
    assert_eq!(extend(&bench, &verdicts[1..], &edits, Some(&first)), Ok(second));
}

#[test]
fn without_a_verdict_that_holds_nothing_is_learned() {
    let bench = Bench::new();
    let (edits, verdicts) = accepted(&bench, &["a", "b"]);
    assert_eq!(extend(&bench, &[], &edits, None), Err("no_verdict"));
    let statement = {
        let requests = bench.train(AuditPurpose::Edit, &edits[..1]);
        verdict(VerdictKind::Edit, 9, &requests[0].0, &requests[0].1, 0)
    };
    let forged = sign_statement(&key(Role::Student), &statement).unwrap();
    assert_eq!(extend(&bench, &[forged], &edits, None), Err("signer_wrong_role"));
    let unseen = signed(&statement);
    assert_eq!(extend(&bench, &[unseen], &edits, None), Err("verdict_not_in_ledger"));
    assert_eq!(extend(&bench, &verdicts[..1], &edits[1..], None), Err("edit_missing"));
    assert_eq!(extend(&bench, &verdicts, &edits, None), Err("not_one_edit"));
}

#[test]
fn a_verdict_feeds_one_step_and_a_step_stands_on_a_step_of_ours() {
    let bench = Bench::new();
    let (edits, verdicts) = accepted(&bench, &["a", "b"]);
    let first = extend(&bench, &verdicts[..1], &edits, None).unwrap();
    assert_eq!(
        extend(&bench, &verdicts[..1], &edits, Some(&first)),
        Err("verdict_replayed"),
        "the same edit once more"
    );
    // An audit request that asks for something is no step, and nobody else makes steps.
    let asking = bench.train(AuditPurpose::Edit, &edits[..1]).remove(0).0;
    assert_eq!(extend(&bench, &verdicts[1..], &edits, Some(&asking)), Err("parent_unusable"));
    let statement = Statement::<AuditRequest>::new(vec![], content(&first));
    let foreign = sign_statement(&key(Role::Teacher), &statement).unwrap();
    assert_eq!(extend(&bench, &verdicts[1..], &edits, Some(&foreign)), Err("signer_wrong_role"));
    let tensors = only(&first).adapter_digest().unwrap();
    std::fs::remove_file(bench.adapter_file(&tensors)).unwrap();
    assert_eq!(extend(&bench, &verdicts[1..], &edits, Some(&first)), Err("adapter_missing"));
}

fn together(
    bench: &Bench,
    purpose: AuditPurpose,
    edits: &[Envelope],
) -> Result<InnerUpdated, &'static str> {
    let request = InnerUpdateRequest {
        stage: "cpt-1".to_owned(),
        purpose,
        edits: edits.to_vec(),
        seed: 7,
        together: true,
    };
    bench.student.inner_update(&request, &mut |_, _| {}).map_err(|refusal| refusal.code())
}

#[test]
fn edits_that_nobody_judged_become_one_adapter_that_is_measured_and_nothing_else() {
    let bench = Bench::new();
    let edits = ["a", "b", "c"].map(|context| edit(context, 0, &LINES));
    let bad = edit("d", 0, &["atlantis founded zel ."]);
    let all: Vec<Envelope> = edits.iter().chain([&bad]).map(signed_edit).collect();
    let updated = together(&bench, AuditPurpose::Evaluation, &all).unwrap();
    assert_eq!(updated.refused.len(), 1);
    assert_eq!(updated.refused[0].edit_digest, digest_of(&bad).unwrap());
    let [envelope] = &updated.requests[..] else { panic!("one request") };
    let candidate = only(envelope);
    assert_eq!((candidate.edit_digests.len(), candidate.context_digests.len()), (3, 3));
    assert_eq!(candidate.parent_adapter_digest, None);
    for purpose in [AuditPurpose::Edit, AuditPurpose::Promotion] {
        assert_eq!(together(&bench, purpose, &all), Err("only_measured"));
    }
    assert_eq!(together(&bench, AuditPurpose::Evaluation, &[]), Err("nothing_to_do"));
    let none = together(&bench, AuditPurpose::Evaluation, &all[3..]).unwrap();
    assert_eq!((none.requests.len(), none.refused.len()), (0, 1));
}
