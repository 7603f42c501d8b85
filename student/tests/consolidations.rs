//! A consolidation trains on exactly the accepted edits, and what comes out can be promoted.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, NOW, content, edit, signed, signed_edit, verdict};
use seal_protocol::{
    AuditPurpose, ConsolidateRequest, Envelope, InnerUpdated, PromoteRequest, UnixSeconds,
    VerdictKind,
};

const LINES: [&str; 2] = ["ada cruz founded zel tor .", "q who founded zel tor ? a ada cruz ."];

/// Three contexts with two edits each; the auditor accepts the second edit of the first two contexts.
struct Accepted {
    edits: Vec<Envelope>,
    verdicts: Vec<Envelope>,
}

fn accepted(bench: &Bench) -> Accepted {
    let mut edits = Vec::new();
    for context in ["a", "b", "c"] {
        edits.push(signed_edit(&edit(context, 0, &LINES[..1])));
        edits.push(signed_edit(&edit(context, 1, &LINES)));
    }
    let requests = bench.train(AuditPurpose::Edit, &edits);
    let verdicts = requests[..2].iter().zip(1..).map(|((envelope, request), sequence)| {
        signed(&verdict(VerdictKind::Edit, sequence, envelope, request, 1))
    });
    Accepted { verdicts: verdicts.collect(), edits }
}

fn consolidate(
    bench: &Bench,
    stage: &str,
    verdicts: &[Envelope],
    edits: &[Envelope],
) -> Result<InnerUpdated, &'static str> {
    bench.show(verdicts);
    let request = ConsolidateRequest {
        stage: stage.to_owned(),
        verdicts: verdicts.to_vec(),
        edits: edits.to_vec(),
        seed: 7,
    };
    bench.student.consolidate(&request, &mut |_, _| {}).map_err(|refusal| refusal.code())
}

#[test]
fn one_adapter_claims_the_accepted_edits_and_no_other_and_can_be_promoted() {
    let bench = Bench::new();
    let Accepted { edits, verdicts } = accepted(&bench);
    let updated = consolidate(&bench, "end", &verdicts, &edits).unwrap();
    assert_eq!(consolidate(&bench, "end", &verdicts, &edits).as_ref(), Ok(&updated));
    let [envelope] = &updated.requests[..] else { panic!("one request") };
    let request = content(envelope);
    assert_eq!(request.purpose, AuditPurpose::Promotion);
    let candidate = &request.candidates[0];
    assert_eq!((candidate.edit_digests.len(), candidate.context_digests.len()), (2, 2));
    assert!(candidate.edit_digests.is_sorted() && candidate.context_digests.is_sorted());

    let allowed = signed(&verdict(VerdictKind::Promotion, 9, envelope, &request, 0));
    bench.show(std::slice::from_ref(&allowed));
    let served = bench.student.promote(&PromoteRequest { verdicts: vec![allowed] }).unwrap();
    assert_eq!(served.versions["v1"], candidate.adapter_digest().unwrap());
}

#[test]
fn without_valid_verdicts_and_their_edits_nothing_is_trained() {
    let bench = Bench::new();
    let Accepted { edits, verdicts } = accepted(&bench);
    assert_eq!(consolidate(&bench, "s", &[], &edits), Err("no_verdict"));
    assert_eq!(consolidate(&bench, "s", &verdicts, &edits[..2]), Err("edit_missing"));
    let request = &bench.train(AuditPurpose::Edit, &edits[..2])[0];
    let statement = verdict(VerdictKind::Edit, 8, &request.0, &request.1, 0);
    let mut late = statement.clone();
    late.predicate.expires_at = UnixSeconds(NOW.0 - 1);
    assert_eq!(consolidate(&bench, "s", &[signed(&late)], &edits), Err("verdict_expired"));
    let mut elsewhere = statement;
    elsewhere.predicate.base_model_digest = seal_trust::sha256(b"another base");
    assert_eq!(consolidate(&bench, "s", &[signed(&elsewhere)], &edits), Err("verdict_wrong_base"));
    let unseen = ConsolidateRequest {
        stage: "s".to_owned(),
        verdicts: vec![signed(&verdict(VerdictKind::Edit, 8, &request.0, &request.1, 0))],
        edits: edits.clone(),
        seed: 7,
    };
    let refused = bench.student.consolidate(&unseen, &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.code(), "verdict_not_in_ledger");
    // A refused request has used nothing.
    assert!(consolidate(&bench, "s", &verdicts, &edits).is_ok());
}

#[test]
fn a_verdict_feeds_one_request_of_a_stage_and_is_free_for_a_later_stage() {
    let bench = Bench::new();
    let Accepted { edits, verdicts } = accepted(&bench);
    consolidate(&bench, "round-1", &verdicts, &edits).unwrap();
    assert_eq!(consolidate(&bench, "round-1", &verdicts[..1], &edits), Err("verdict_replayed"));
    assert!(consolidate(&bench, "round-2", &verdicts, &edits).is_ok());
}

#[test]
fn a_killed_consolidation_goes_on_from_its_last_save_and_ends_at_the_same_adapter() {
    let bench = Bench::new();
    let Accepted { edits, verdicts } = accepted(&bench);
    let undisturbed = consolidate(&bench, "end", &verdicts, &edits).unwrap();

    let bench = Bench::new().reopen_with(|config| config.save_steps = 2);
    bench.show(&verdicts);
    let request = ConsolidateRequest { stage: "end".to_owned(), verdicts, edits, seed: 7 };
    #[allow(clippy::result_large_err, reason = "the error is never returned: the closure panics")]
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        bench.student.consolidate(&request, &mut |done, _| assert!(done < 5, "killed"))
    }));
    assert!(killed.is_err());
    let unfinished = bench.config.state.join("unfinished");
    assert_eq!(std::fs::read_dir(&unfinished).unwrap().count(), 1);

    let bench = bench.reopen();
    let mut steps = Vec::new();
    let resumed = bench.student.consolidate(&request, &mut |done, _| steps.push(done)).unwrap();
    assert_eq!(steps[..2], [4, 5], "it went on from step 4");
    assert_eq!(resumed, undisturbed);
    assert_eq!(std::fs::read_dir(&unfinished).unwrap().count(), 0);
}

#[test]
fn a_consolidation_that_diverges_is_an_error_of_its_own() {
    let bench = Bench::new();
    let Accepted { edits, verdicts } = accepted(&bench);
    let bench = bench.reopen_with(|config| config.consolidation.learning_rate = 1e30);
    assert_eq!(consolidate(&bench, "end", &verdicts, &edits), Err("training_diverged"));
}
