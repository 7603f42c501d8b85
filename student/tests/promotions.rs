//! What serves changes by a promotion verdict on the very bytes in the store, or by a rollback. Every
//! other attempt has its own refusal and changes nothing.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, NOW, key, signed};
use seal_protocol::{
    AskRequest, Digest, Envelope, PromoteRequest, Role, RollBackRequest, ServingChange,
    UnixSeconds, Verdict, VerdictKind,
};
use seal_trust::{TrustRoot, sign_statement};
use seal_witness::testing::demand_second_auditor;

fn promote(bench: &Bench, verdict: &Envelope) -> Result<String, &'static str> {
    bench.show(std::slice::from_ref(verdict));
    let request = PromoteRequest { verdicts: vec![verdict.clone()] };
    let outcome = bench.student.promote(&request);
    outcome.map(|served| served.active).map_err(|refusal| refusal.code())
}

fn roll_back(bench: &Bench, version: &str) -> Result<String, &'static str> {
    let request = RollBackRequest { version: version.to_owned(), reason: "a test".to_owned() };
    let outcome = bench.student.roll_back(&request);
    outcome.map(|served| served.active).map_err(|refusal| refusal.code())
}

fn ask(bench: &Bench, versions: &[&str]) -> Vec<(String, Option<Digest>)> {
    let request = AskRequest {
        question: "who founded zel tor ?".to_owned(),
        versions: versions.iter().map(|version| (*version).to_owned()).collect(),
        max_new_tokens: 4,
    };
    let answers = bench.student.answer(&request).unwrap().answers;
    answers.into_iter().map(|answer| (answer.version, answer.adapter_digest)).collect()
}

#[test]
fn an_audited_adapter_serves_and_every_version_can_come_back() {
    let bench = Bench::new();
    let first = bench.promotable("a", 1);
    assert_eq!(promote(&bench, &signed(&first)), Ok("v1".to_owned()));
    assert_eq!(promote(&bench, &signed(&bench.promotable("b", 2))), Ok("v2".to_owned()));
    assert_eq!(roll_back(&bench, "v1"), Ok("v1".to_owned()));
    assert_eq!(roll_back(&bench, "base"), Ok("base".to_owned()));
    assert_eq!(roll_back(&bench, "base"), Err("already_active"));
    assert_eq!(roll_back(&bench, "v3"), Err("unknown_version"));
    assert_eq!(roll_back(&bench, "v2"), Ok("v2".to_owned()));

    let tensors = first.subject[1].digest.sha256;
    assert_eq!(
        ask(&bench, &["v1", "base"]),
        [("v1".to_owned(), Some(tensors)), ("base".to_owned(), None)]
    );
    assert_eq!(ask(&bench, &[])[0].0, "v2");
}

#[test]
fn the_history_is_signed_chained_and_survives_a_restart_and_lost_files() {
    let bench = Bench::new();
    promote(&bench, &signed(&bench.promotable("a", 1))).unwrap();
    roll_back(&bench, "base").unwrap();
    let file = bench.config.state.join("serving/2.json");
    let written = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let bench = bench.reopen();
    assert_eq!(std::fs::read(&file).unwrap(), written);

    let root = std::fs::read(&bench.config.trust_root).unwrap();
    let root = TrustRoot::open(&root, None, NOW).unwrap();
    roll_back(&bench, "v1").unwrap();
    let history = bench.student.served().unwrap().history;
    let changes = history.iter().map(|change| root.verify::<ServingChange>(change, NOW).unwrap());
    let changes: Vec<_> = changes.collect();
    assert_eq!(changes.len(), 3);
    for pair in changes.windows(2) {
        let next = &pair[1].statement.predicate;
        assert_eq!(next.prev_change_digest, Some(pair[0].payload_digest));
    }
}

#[test]
fn each_verdict_that_does_not_hold_has_its_own_refusal_and_changes_nothing() {
    let bench = Bench::new();
    let good = bench.promotable("a", 5);
    let other = Digest::from_bytes([7; 32]);
    let changed = |change: &dyn Fn(&mut Verdict)| {
        let mut statement = good.clone();
        change(&mut statement.predicate);
        signed(&statement)
    };
    let cases: [(Envelope, &str); 9] = [
        (sign_statement(&key(Role::Witness), &good).unwrap(), "signature_invalid"),
        (sign_statement(&key(Role::Student), &good).unwrap(), "signer_wrong_role"),
        (changed(&|verdict| verdict.expires_at = UnixSeconds(NOW.0 - 1)), "verdict_expired"),
        (changed(&|verdict| verdict.kind = VerdictKind::Edit), "verdict_wrong_kind"),
        (changed(&|verdict| verdict.edit_digests = vec![other]), "verdict_wrong_edit"),
        (changed(&|verdict| verdict.context_digests = vec![other]), "verdict_wrong_context"),
        (changed(&|verdict| verdict.base_model_digest = other), "verdict_wrong_base"),
        (changed(&|verdict| verdict.nonce = "00".repeat(32)), "verdict_wrong_nonce"),
        (changed(&|verdict| verdict.request_digest = other), "request_unknown"),
    ];
    for (verdict, code) in cases {
        assert_eq!(promote(&bench, &verdict), Err(code));
    }
    assert_eq!(bench.student.served().unwrap().active, "base");
    assert_eq!(promote(&bench, &signed(&good)), Ok("v1".to_owned()));
}

#[test]
fn a_verdict_that_does_not_stand_in_the_ledger_serves_nothing() {
    let bench = Bench::new();
    let verdict = signed(&bench.promotable("a", 1));
    let outcome = bench.student.promote(&PromoteRequest { verdicts: vec![verdict.clone()] });
    assert_eq!(outcome.unwrap_err().code(), "verdict_not_in_ledger");
    assert_eq!(bench.student.served().unwrap().active, "base");
    assert_eq!(promote(&bench, &verdict), Ok("v1".to_owned()));
}

#[test]
fn an_adapter_serves_by_two_auditors_where_the_trust_root_demands_two() {
    let second = seal_trust::SigningKey::from_seed([41; 32]);
    let bench = Bench::new();
    let root = bench.folder.path().join("trust/root.json");
    demand_second_auditor(&root, &key(Role::Root), &second, NOW);
    let bench = bench.reopen();
    let statement = bench.promotable("a", 1);
    let mine = signed(&statement);
    let mut own_tau = statement.clone();
    own_tau.predicate.tau_commitment = Digest::from_bytes([9; 32]);
    let theirs = sign_statement(&second, &own_tau).unwrap();
    let mut other = own_tau.clone();
    other.predicate.edit_digests = vec![Digest::from_bytes([9; 32])];
    let disagrees = sign_statement(&second, &other).unwrap();
    let all = [mine.clone(), theirs.clone(), disagrees.clone()];
    bench.show(&all);
    let judged = |verdicts: &[&Envelope]| {
        let verdicts = verdicts.iter().map(|verdict| (*verdict).clone()).collect();
        let outcome = bench.student.promote(&PromoteRequest { verdicts });
        outcome.map(|served| served.active).map_err(|refusal| refusal.code())
    };
    assert_eq!(judged(&[&mine]), Err("quorum_not_met"));
    assert_eq!(judged(&[&mine, &mine]), Err("quorum_not_met"));
    assert_eq!(judged(&[&mine, &disagrees]), Err("verdict_quorum_disagrees"));
    assert_eq!(judged(&[&mine, &theirs]), Ok("v1".to_owned()));
}

#[test]
fn an_adapter_that_was_swapped_after_its_audit_does_not_serve() {
    let bench = Bench::new();
    let good = bench.promotable("a", 1);
    let file = bench.adapter_file(&good.subject[1].digest.sha256);
    let audited = std::fs::read(&file).unwrap();
    let mut swapped = audited.clone();
    *swapped.last_mut().unwrap() ^= 1;
    std::fs::write(&file, swapped).unwrap();
    assert_eq!(promote(&bench, &signed(&good)), Err("verdict_wrong_subject"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(promote(&bench, &signed(&good)), Err("adapter_missing"));
    std::fs::write(&file, audited).unwrap();
    assert_eq!(promote(&bench, &signed(&good)), Ok("v1".to_owned()));
}

#[test]
fn a_verdict_promotes_once_and_an_older_one_never_follows_a_newer() {
    let bench = Bench::new();
    let old = signed(&bench.promotable("a", 1));
    let used = signed(&bench.promotable("b", 2));
    assert_eq!(promote(&bench, &used), Ok("v1".to_owned()));
    // The reply may have been lost: while its version serves, the same request has no second effect.
    assert_eq!(promote(&bench, &used), Ok("v1".to_owned()));
    assert_eq!(bench.student.served().unwrap().history.len(), 1);
    assert_eq!(promote(&bench, &old), Err("verdict_sequence_not_rising"));
    roll_back(&bench, "base").unwrap();
    let bench = bench.reopen();
    assert_eq!(promote(&bench, &used), Err("verdict_replayed"));
    assert_eq!(bench.student.served().unwrap().active, "base");
}

#[test]
fn what_a_full_disk_kept_from_following_a_promotion_follows_when_it_is_asked_for_again() {
    let bench = Bench::new().reopen_with(|config| config.keep_candidates = false);
    let verdict = signed(&bench.promotable("a", 1));
    bench.promotable("b", 2);
    let state = &bench.config.state;
    let files = || std::fs::read_dir(state.join("adapter-files")).unwrap().count();
    let trained = files();
    // A folder in whose place a file lies takes no files.
    std::fs::remove_dir(state.join("versions")).unwrap();
    std::fs::write(state.join("versions"), "").unwrap();
    assert_eq!(promote(&bench, &verdict), Err("storage_failed"));
    assert_eq!((files(), bench.student.served().unwrap().history.len()), (trained, 1));

    std::fs::remove_file(state.join("versions")).unwrap();
    assert_eq!(promote(&bench, &verdict), Ok("v1".to_owned()));
    assert!(state.join("versions/v1.json").is_file());
    assert_eq!((files(), bench.student.served().unwrap().history.len()), (2, 1));
}

#[test]
fn a_question_beyond_the_limits_is_refused_and_no_input_stops_the_student() {
    let bench = Bench::new();
    let ask = |question: &str, version: &str| {
        let request = AskRequest {
            question: question.to_owned(),
            versions: vec![version.to_owned()],
            max_new_tokens: u32::MAX,
        };
        bench.student.answer(&request).map_err(|refusal| refusal.code())
    };
    assert_eq!(ask("  ", "base"), Err("question_refused"));
    assert_eq!(ask(&"zel ".repeat(200), "base"), Err("question_refused"));
    assert_eq!(ask("who founded atlantis ?", "base"), Err("question_refused"));
    assert_eq!(ask("who founded zel ?", "v9"), Err("unknown_version"));
    assert!(ask("who founded zel ?", "base").is_ok());
}
