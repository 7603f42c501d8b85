//! The M-step learns from verified verdicts alone; every other request has its own refusal and
//! changes nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{Bench, NOW, key, sampled, signed};
use seal_protocol::{
    Digest, Envelope, PolicyUpdate, PolicyUpdateRequest, PolicyUpdated, ProposalMethod,
    ProposeRequest, Role, UnixSeconds, Verdict, VerdictKind,
};
use seal_trust::{TrustRoot, payload_digest, sha256, sign_statement};
use seal_witness::testing::demand_second_auditor;

fn request(stage: &str, verdicts: &[Envelope]) -> PolicyUpdateRequest {
    PolicyUpdateRequest {
        stage: stage.to_owned(),
        parent_policy_digest: None,
        verdicts: verdicts.to_vec(),
        seed: 7,
    }
}

fn update(bench: &mut Bench, request: &PolicyUpdateRequest) -> Result<PolicyUpdated, &'static str> {
    bench.show(&request.verdicts);
    bench.teacher.policy_update(request, &mut |_, _| {}).map_err(|refusal| refusal.code())
}

fn verdicts(bench: &mut Bench) -> Vec<Envelope> {
    bench.accepted().iter().map(|(_, statement)| signed(statement)).collect()
}

#[test]
fn accepted_edits_make_a_new_policy_that_can_write_and_learn_on() {
    let mut bench = Bench::new();
    let verdicts = verdicts(&mut bench);
    let (first, second) = verdicts.split_at(verdicts.len() / 2);
    let updated = update(&mut bench, &request("round-1", first)).unwrap();
    assert_ne!(updated.policy_digest, bench.teacher.first_policy_digest());

    let root =
        TrustRoot::open(&std::fs::read(&bench.config.trust_root).unwrap(), None, NOW).unwrap();
    let receipt = root.verify::<PolicyUpdate>(&updated.update, NOW).unwrap().statement.predicate;
    // Edits in the order of their digests, which hold no time, each beside its verdict.
    assert!(receipt.edit_digests.is_sorted());
    let used: BTreeMap<Digest, Digest> = first
        .iter()
        .map(|one| {
            let verdict = root.verify::<Verdict>(one, NOW).unwrap();
            (verdict.statement.predicate.edit_digests[0], payload_digest(one).unwrap())
        })
        .collect();
    let listed = receipt.edit_digests.iter().copied().zip(receipt.verdict_digests.iter().copied());
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), used);
    assert_eq!(receipt.verdict_digests.len(), first.len());
    assert_eq!(receipt.parent_policy_digest, bench.teacher.first_policy_digest());

    let mut bench = bench.reopen();
    let by_new = ProposeRequest { policy_digest: Some(updated.policy_digest), ..sampled(&[0], 6) };
    let written = bench.propose(&by_new).unwrap();
    assert_ne!(written, bench.propose(&sampled(&[0], 6)).unwrap());
    let on = PolicyUpdateRequest {
        parent_policy_digest: Some(updated.policy_digest),
        ..request("round-2", second)
    };
    assert_ne!(update(&mut bench, &on).unwrap().policy_digest, updated.policy_digest);
}

#[test]
fn the_same_request_yields_the_same_policy_in_another_process_and_again() {
    let mut bench = Bench::new();
    let all = verdicts(&mut bench);
    let first = update(&mut bench, &request("round-1", &all)).unwrap();
    let mut other = Bench::new();
    other.accepted();
    assert_eq!(update(&mut other, &request("round-1", &all)).as_ref(), Ok(&first));

    let receipts = bench.config.state.join("policy-updates");
    let name = format!("{}.json", payload_digest(&first.update).unwrap());
    std::fs::remove_file(receipts.join(&name)).unwrap();
    let mut bench = bench.reopen();
    assert!(receipts.join(&name).is_file(), "a receipt that a crash kept from disk comes back");
    assert_eq!(update(&mut bench, &request("round-1", &all)).as_ref(), Ok(&first));
}

#[test]
fn each_verdict_that_does_not_hold_has_its_own_refusal_and_uses_nothing_up() {
    let mut bench = Bench::new();
    let accepted = bench.accepted();
    let good = signed(&accepted[0].1);
    let other = sha256(b"other");
    let changed = |change: &dyn Fn(&mut Verdict)| {
        let mut statement = accepted[1].1.clone();
        change(&mut statement.predicate);
        signed(&statement)
    };
    let cases: [(Envelope, &str); 8] = [
        (sign_statement(&key(Role::Witness), &accepted[1].1).unwrap(), "signature_invalid"),
        (sign_statement(&key(Role::Teacher), &accepted[1].1).unwrap(), "signer_wrong_role"),
        (changed(&|verdict| verdict.expires_at = UnixSeconds(NOW.0 - 1)), "verdict_expired"),
        (changed(&|verdict| verdict.kind = VerdictKind::Promotion), "verdict_wrong_kind"),
        (changed(&|verdict| verdict.edit_digests = vec![other]), "edit_unknown"),
        (changed(&|verdict| verdict.edit_digests.push(other)), "verdict_not_one_edit"),
        (changed(&|verdict| verdict.context_digests = vec![other]), "verdict_wrong_context"),
        (changed(&|verdict| verdict.base_model_digest = other), "verdict_wrong_base"),
    ];
    assert_eq!(update(&mut bench, &request("round-1", &[])), Err("no_verdict"));
    for (bad, code) in cases {
        assert_eq!(update(&mut bench, &request("round-1", &[good.clone(), bad])), Err(code));
    }
    assert!(update(&mut bench, &request("round-1", &[good])).is_ok());
}

#[test]
fn a_verdict_that_does_not_stand_in_the_ledger_teaches_nothing() {
    let mut bench = Bench::new();
    let all = verdicts(&mut bench);
    let request = request("round-1", &all);
    let refused = bench.teacher.policy_update(&request, &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.code(), "verdict_not_in_ledger");
    bench.show(&all[1..]);
    assert!(bench.teacher.policy_update(&request, &mut |_, _| {}).is_err(), "one is missing");
    assert!(update(&mut bench, &request).is_ok());
}

#[test]
fn a_quorum_of_auditors_teaches_each_edit_once() {
    let second = seal_trust::SigningKey::from_seed([41; 32]);
    let bench = Bench::new();
    let root = bench.folder.path().join("trust/root.json");
    demand_second_auditor(&root, &key(Role::Root), &second, NOW);
    let mut bench = bench.reopen();
    let accepted = bench.accepted();
    let mine: Vec<Envelope> = accepted.iter().map(|(_, statement)| signed(statement)).collect();
    let theirs = accepted.iter().map(|(_, statement)| {
        let mut statement = statement.clone();
        statement.predicate.sequence += 1000; // each auditor counts by itself
        sign_statement(&second, &statement).unwrap()
    });
    let theirs: Vec<Envelope> = theirs.collect();
    assert_eq!(update(&mut bench, &request("round-1", &mine)), Err("quorum_not_met"));
    let both = [mine.clone(), theirs].concat();
    let updated = update(&mut bench, &request("round-1", &both)).unwrap();
    let statement: seal_protocol::Statement<PolicyUpdate> =
        serde_json::from_slice(&seal_trust::payload_bytes(&updated.update).unwrap()).unwrap();
    assert_eq!(statement.predicate.edit_digests.len(), mine.len());
    assert_eq!(statement.predicate.verdict_digests.len(), both.len());
}

#[test]
fn a_verdict_teaches_once() {
    let mut bench = Bench::new();
    let all = verdicts(&mut bench);
    update(&mut bench, &request("round-1", &all[..2])).unwrap();
    let mut bench = bench.reopen();
    assert_eq!(update(&mut bench, &request("round-2", &all[1..])), Err("verdict_replayed"));
    let twice = [all[2].clone(), all[2].clone()];
    assert_eq!(update(&mut bench, &request("round-2", &twice)), Err("verdict_replayed"));
    assert!(update(&mut bench, &request("round-2", &all[2..])).is_ok());
}

#[test]
fn a_reply_that_no_longer_yields_its_edit_is_not_learned() {
    let mut bench = Bench::new();
    let accepted = bench.accepted();
    let edit = accepted[0].1.predicate.edit_digests[0];
    let file = bench.config.state.join(format!("replies/{edit}.json"));
    let text = std::fs::read_to_string(&file).unwrap();
    let mut reply: serde_json::Value = serde_json::from_str(&text).unwrap();
    reply["tokens"][2] = 18.into();
    std::fs::write(&file, reply.to_string()).unwrap();
    let verdict = signed(&accepted[0].1);
    assert_eq!(update(&mut bench, &request("round-1", &[verdict])), Err("storage_failed"));
}

#[test]
fn an_edit_that_no_policy_wrote_teaches_nothing() {
    let mut bench = Bench::new();
    let context_only = ProposeRequest { method: ProposalMethod::ContextOnly, ..sampled(&[0], 1) };
    let edit = common::content(&bench.propose(&context_only).unwrap().edits[0]);
    let tokenizer = std::fs::read(bench.config.base_model.join("tokenizer.json")).unwrap();
    let base = bench.teacher.base_model_digest();
    let verdict = signed(&common::verdict(&edit, 1, base, sha256(&tokenizer)));
    assert_eq!(update(&mut bench, &request("round-1", &[verdict])), Err("edit_without_reply"));
}

#[test]
fn a_killed_update_goes_on_from_its_last_save_and_ends_at_the_same_policy() {
    let longer = |save_steps| {
        let mut bench = Bench::new().reopen_with(|config| {
            let update = config.policy_update.as_mut().unwrap();
            (update.epochs, update.save_steps) = (6, save_steps);
        });
        let verdicts = verdicts(&mut bench);
        (bench, verdicts)
    };
    let (mut bench, all) = longer(0);
    let undisturbed = update(&mut bench, &request("round-1", &all)).unwrap();

    let (mut bench, _) = longer(2);
    let request = request("round-1", &all);
    bench.show(&all);
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bench.teacher.policy_update(&request, &mut |done, _| assert!(done < 3, "killed"))
    }));
    assert!(killed.is_err());
    let file = bench.config.state.join("unfinished-policy.safetensors");
    assert!(file.is_file());

    let mut bench = bench.reopen();
    let mut steps = Vec::new();
    let resumed = bench.teacher.policy_update(&request, &mut |done, _| steps.push(done)).unwrap();
    assert_eq!(steps[0], 3, "it went on from step 2");
    assert_eq!(resumed, undisturbed);
    assert!(!file.exists());
}
