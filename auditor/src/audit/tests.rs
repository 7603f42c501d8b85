mod judge;
mod repeats;
mod time_limit;
mod voted;

use std::sync::atomic::Ordering;

use seal_protocol::{
    AuditPurpose, AuditSubmission, Candidate, Decision, Digest, Envelope, UnixSeconds, Verdict,
    VerdictKind,
};
use seal_trust::{Expectation, Limits, check_verdict};

use crate::gate::DivergenceGate;
use crate::recompute::Share;
use crate::selection::Selection;
use crate::testing::*;

use Decision::{Accept, Measured, NotSelected, Reject};

fn leaking() -> Skill {
    Skill { tau: 5, nats: 4.0, leaks: true, ..Skill::default() }
}

/// Judges one group in a fresh world: the decisions and their reasons.
fn judged(skills: &[Skill]) -> Vec<(Decision, Vec<String>)> {
    let world = World::new();
    world.auditor().audit(world.group(AuditPurpose::Edit, 0, skills)).unwrap();
    attempts(&world)
}

fn reasons(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_good_edit_gets_a_verdict_that_verifies_and_binds_everything() {
    let world = World::new();
    let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    let (edit, request) = (edit_digest(&submission.edits[0]), submission.request.clone());
    let audited = world.auditor().audit(submission).unwrap();
    let envelope = audited.verdict.expect("accepted");
    let expected = Expectation {
        request_digest: Some(seal_trust::payload_digest(&request).unwrap()),
        edit_digests: Some(&[edit]),
        context_digests: Some(&[context(0)]),
        ..Expectation::of(VerdictKind::Edit)
    };
    let verified = check_verdict(&world.root, &envelope, &expected, NOW).unwrap();
    let verdict: Verdict = verified.statement.predicate;
    assert_eq!((verdict.sequence, verdict.attempt, verdict.prev_verdict_digest), (1, 1, None));
    assert_eq!(verified.statement.subject.len(), 2);
    let checkpoint = world.root.verify_checkpoint(&audited.checkpoint, ORIGIN, NOW).unwrap();
    assert_eq!(checkpoint.size, 2);
}

#[test]
fn of_a_group_the_best_that_passes_is_accepted_and_every_attempt_is_recorded() {
    let (best, fair, null) = (
        Skill::default(),
        Skill { tau: 2, ..Skill::default() },
        Skill { tau: 0, nats: -1.0, ..Skill::default() },
    );
    let judged = judged(&[fair, leaking(), best, null]);
    let decisions: Vec<Decision> = judged.iter().map(|(decision, _)| *decision).collect();
    assert_eq!(decisions, [NotSelected, Reject, Accept, Reject]);
    assert_eq!(judged[1].1, ["protected.own-entity", "protected.own-entity.drop"]);
    assert_eq!(judged[3].1, ["tau.no-gain", "tau.not-proven"]);
}

#[test]
fn an_adapter_that_yields_no_number_is_rejected_and_harms_no_other() {
    let judged = judged(&[Skill { broken: true, ..Skill::default() }, Skill::default()]);
    assert_eq!(judged[0], (Reject, reasons(&["tau.not-measured"])));
    assert_eq!(judged[1].0, Accept);
}

#[test]
fn the_same_request_again_gets_the_stored_reply_and_no_second_row() {
    let world = World::new();
    let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    let first = world.auditor().audit(submission.clone()).unwrap();
    // After a restart, too.
    let mut again = world.auditor();
    world.clock.set(UnixSeconds(NOW.0 + 500));
    assert_eq!(again.audit(submission.clone()).unwrap(), first);
    assert_eq!(again.audit(submission).unwrap(), first);
    assert_eq!(rows(&world).len(), 2);
}

#[test]
fn a_nonce_serves_one_request() {
    let world = World::new();
    let mut auditor = world.auditor();
    let edit = world.edit(0, "line");
    let candidate = |skill| world.candidate(&[0], &[&edit], skill);
    let first = world.request(AuditPurpose::Edit, vec![candidate(Skill::default())]);
    let mut second = world.request(AuditPurpose::Edit, vec![candidate(leaking())]);
    second.nonce = first.nonce.clone();
    auditor.audit(world.submission(first, vec![edit.clone()])).unwrap();
    assert_eq!(code(auditor.audit(world.submission(second, vec![edit.clone()]))), "nonce_used");
}

#[test]
fn adapter_bytes_changed_after_the_upload_are_rejected_by_name() {
    let world = World::new();
    let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    let tensors = std::fs::read_dir(world.state().join("adapters")).unwrap();
    let tensors = tensors
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&tensors).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&tensors, bytes).unwrap();
    let audited = world.auditor().audit(submission).unwrap();
    assert_eq!(audited.verdict, None);
    assert_eq!(attempts(&world), [(Reject, reasons(&["bytes.digest"]))]);
}

#[test]
fn files_that_were_never_uploaded_are_asked_for_and_not_judged() {
    let world = World::new();
    let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    std::fs::remove_dir_all(world.state().join("adapters")).unwrap();
    let mut auditor = world.auditor();
    assert_eq!(code(auditor.audit(submission.clone())), "adapter_file_missing");
    // Once they are there, the same request is judged.
    world.candidate(&[0], &[&submission.edits[0]], Skill::default());
    assert!(auditor.audit(submission).unwrap().verdict.is_some());
}

#[test]
fn bytes_that_are_no_adapter_are_rejected_by_name() {
    let world = World::new();
    let edit = world.edit(0, "line");
    let mut candidate = world.candidate(&[0], &[&edit], Skill::default());
    candidate.files[1].sha256 = world.uploads().put(b"not an adapter").unwrap();
    candidate.files[1].size_bytes = 14;
    let mut short = candidate.clone();
    short.files[1].size_bytes = 13;
    let request = world.request(AuditPurpose::Edit, vec![candidate, short]);
    world.auditor().audit(world.submission(request, vec![edit])).unwrap();
    assert_eq!(
        attempts(&world),
        [(Reject, reasons(&["bytes.adapter-format"])), (Reject, reasons(&["bytes.size"]))]
    );
}

#[test]
fn an_edit_that_no_teacher_of_the_trust_root_signed_is_rejected() {
    let world = World::new();
    let stranger = seal_trust::SigningKey::from_seed([77; 32]);
    for author in [&stranger, &world.keys.student, &world.keys.auditor] {
        let edit = world.edit_by(author, 0, "line");
        let candidate = world.candidate(&[0], &[&edit], Skill::default());
        let request = world.request(AuditPurpose::Edit, vec![candidate]);
        let audited = world.auditor().audit(world.submission(request, vec![edit])).unwrap();
        assert_eq!(audited.verdict, None);
        assert_eq!(
            attempts(&world).pop().unwrap(),
            (Reject, reasons(&["provenance.edit-unverified"]))
        );
    }
}

#[test]
fn a_request_that_no_student_signed_leaves_no_trace() {
    let world = World::new();
    let mut auditor = world.auditor();
    let mut forged = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    forged.request = forged.edits[0].clone();
    assert_eq!(code(auditor.audit(forged)), "signer_wrong_role");
    let mut tampered = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    tampered.request.payload = tampered.request.payload.replacen('e', "f", 1);
    auditor.audit(tampered).unwrap_err();
    assert_eq!(rows(&world).len(), 1, "genesis alone");
}

#[test]
fn another_base_another_context_and_an_unknown_one_are_rejected_by_name() {
    let world = World::new();
    let mut auditor = world.auditor();
    let edit = world.edit(0, "line");
    let mut wrong_base = world.candidate(&[0], &[&edit], Skill::default());
    wrong_base.base_model_digest = context(9);
    let mut wrong_tokenizer = world.candidate(&[0], &[&edit], Skill::default());
    wrong_tokenizer.tokenizer_digest = context(9);
    let wrong_context = world.candidate(&[1], &[&edit], Skill::default());
    let strange = world.edit(99, "line");
    let unknown = world.candidate(&[99], &[&strange], Skill::default());
    for (candidate, edit, rule) in [
        (wrong_base, &edit, "provenance.base-model"),
        (wrong_tokenizer, &edit, "provenance.tokenizer"),
        (wrong_context, &edit, "provenance.edit-context"),
        (unknown, &strange, "provenance.unknown-context"),
    ] {
        world.candidate(&[0], &[edit], Skill::default());
        let request = world.request(AuditPurpose::Edit, vec![candidate]);
        assert_eq!(
            auditor.audit(world.submission(request, vec![edit.clone()])).unwrap().verdict,
            None
        );
        assert_eq!(attempts(&world).pop().unwrap(), (Reject, reasons(&[rule])));
    }
}

#[test]
fn an_edit_that_repeats_tau_is_rejected_whatever_it_earns() {
    let world = World::new();
    let edit = world.edit(0, "what is r0 ? of context 0 answer r0");
    let candidate = world.candidate(&[0], &[&edit], Skill::default());
    let request = world.request(AuditPurpose::Edit, vec![candidate]);
    world.auditor().audit(world.submission(request, vec![edit])).unwrap();
    assert_eq!(attempts(&world), [(Reject, reasons(&["text.tau-overlap"]))]);
}

#[test]
fn a_promotion_rests_on_accepted_edits_and_on_the_confirmation_split() {
    let world = World::new();
    let mut auditor = world.auditor();
    let groups = [0, 1].map(|at| world.group(AuditPurpose::Edit, at, &[Skill::default()]));
    let edits: Vec<_> = groups.iter().map(|group| group.edits[0].clone()).collect();
    let promotion = || {
        let candidate = world.candidate(
            &[0, 1],
            &[&edits[0], &edits[1]],
            Skill { nats: 2.5, ..Skill::default() },
        );
        world.submission(world.request(AuditPurpose::Promotion, vec![candidate]), edits.clone())
    };
    assert_eq!(auditor.audit(promotion()).unwrap().verdict, None);
    assert_eq!(attempts(&world), [(Reject, reasons(&["provenance.edit-not-accepted"]))]);
    for group in groups {
        assert!(auditor.audit(group).unwrap().verdict.is_some());
    }
    let verdict = auditor.audit(promotion()).unwrap().verdict.expect("promoted");
    let expected = Expectation::of(VerdictKind::Promotion);
    let verdict = check_verdict(&world.root, &verdict, &expected, NOW).unwrap().statement.predicate;
    assert_eq!(verdict.sequence, 3);
    assert!(verdict.prev_verdict_digest.is_some());
}

#[test]
fn an_evaluation_is_recorded_and_never_signed_and_its_tensors_are_forgotten() {
    let world = World::new();
    let submission = world.group(AuditPurpose::Evaluation, 0, &[Skill::default()]);
    let audited = world.auditor().audit(submission).unwrap();
    assert_eq!(audited.verdict, None);
    assert_eq!(attempts(&world), [(Measured, Vec::new())]);
    let kept = std::fs::read_dir(world.state().join("adapters")).unwrap().count();
    assert_eq!(kept, 1, "the config, which other candidates share");
}

#[test]
fn tensors_that_a_crash_after_the_commit_kept_from_being_forgotten_go_with_the_repeated_request() {
    let world = World::new();
    let submission = world.group(AuditPurpose::Evaluation, 0, &[Skill::default()]);
    let adapters = world.state().join("adapters");
    let tensors = |entry: &std::path::PathBuf| entry.metadata().unwrap().len();
    let files = || std::fs::read_dir(&adapters).unwrap().map(|entry| entry.unwrap().path());
    let largest = files().max_by_key(tensors).unwrap();
    let bytes = std::fs::read(&largest).unwrap();
    world.auditor().audit(submission.clone()).unwrap();
    assert_eq!(files().count(), 1);
    std::fs::write(&largest, bytes).unwrap();
    world.auditor().audit(submission).unwrap();
    assert_eq!(files().count(), 1);
}

#[test]
fn an_adapter_that_a_verdict_covers_stays_when_it_is_evaluated_later() {
    let world = World::new();
    let mut auditor = world.auditor();
    assert!(
        auditor
            .audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()]))
            .unwrap()
            .verdict
            .is_some()
    );
    auditor.audit(world.group(AuditPurpose::Evaluation, 1, &[Skill::default()])).unwrap();
    let kept = std::fs::read_dir(world.state().join("adapters")).unwrap().count();
    assert_eq!(kept, 2);
}

#[test]
fn the_base_is_scored_once_per_context_and_an_altered_cache_is_not_believed() {
    let world = World::new();
    let asked = || world.base_asked.load(Ordering::SeqCst);
    let mut auditor = world.auditor();
    auditor.audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()])).unwrap();
    let first = asked();
    assert!(first > 0);
    auditor.audit(world.group(AuditPurpose::Edit, 0, &[leaking()])).unwrap();
    assert_eq!(asked(), first);
    let db = rusqlite::Connection::open(world.state().join("base-outcomes.sqlite")).unwrap();
    let change = "UPDATE base_outcomes SET body = CAST(replace(CAST(body AS TEXT), 'false', 'true') AS BLOB)";
    assert!(db.execute(change, []).unwrap() > 0);
    auditor.audit(world.group(AuditPurpose::Edit, 0, &[Skill::default(), leaking()])).unwrap();
    assert_eq!(asked(), 2 * first);
}

#[test]
fn a_spent_budget_ends_the_questions_to_a_tau() {
    let world = World::with_limits(Limits { tau_query_budget: 2, ..Limits::default() });
    let mut auditor = world.auditor();
    for _ in 0..3 {
        auditor.audit(world.group(AuditPurpose::Edit, 0, &[leaking()])).unwrap();
    }
    let (decision, reasons) = attempts(&world).pop().unwrap();
    assert_eq!((decision, reasons), (Reject, vec!["tau.budget-spent".to_owned()]));
    auditor.audit(world.group(AuditPurpose::Edit, 1, &[Skill::default()])).unwrap();
    assert_eq!(attempts(&world).pop().unwrap().0, Accept, "other contexts have their own");
}

#[test]
fn a_clock_that_went_back_signs_nothing() {
    let world = World::new();
    let mut auditor = world.auditor();
    world.clock.set(UnixSeconds(NOW.0 - 3600));
    let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    assert_eq!(code(auditor.audit(submission.clone())), "clock_went_back");
    assert_eq!(rows(&world).len(), 1);
    world.clock.set(NOW);
    assert!(auditor.audit(submission).unwrap().verdict.is_some());
}

#[test]
fn an_expired_trust_root_signs_nothing() {
    let world = World::new();
    let mut auditor = world.auditor();
    world.clock.set(world.root.root().expires);
    let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    assert_eq!(code(auditor.audit(submission)), "trust_root_expired");
}

#[test]
fn requests_that_cannot_be_judged_say_why() {
    let world = World::new();
    let mut auditor = world.auditor();
    let edit = world.edit(0, "line");
    let candidate = world.candidate(&[0], &[&edit], Skill::default());
    let other = world.candidate(&[1], &[&edit], Skill::default());
    let mut renamed = candidate.clone();
    renamed.files[1].name = "../adapter_model.safetensors".to_owned();
    let mut unsorted = candidate.clone();
    unsorted.context_digests = vec![context(0), context(0)];
    let cases = [
        (AuditPurpose::Edit, vec![]),
        (AuditPurpose::Edit, vec![candidate.clone(), other]),
        (AuditPurpose::Edit, vec![renamed]),
        (AuditPurpose::Edit, vec![unsorted]),
        (AuditPurpose::Promotion, vec![candidate.clone(), candidate]),
    ];
    for (purpose, candidates) in cases {
        let request = world.request(purpose, candidates);
        assert_eq!(
            code(auditor.audit(world.submission(request, vec![edit.clone()]))),
            "request_malformed"
        );
    }
}

#[test]
fn an_adapter_that_strays_on_perturbed_questions_is_refused_and_nobody_else_is() {
    let mut world = World::new();
    let gate = |max_edit_loss| DivergenceGate {
        questions: 40,
        words: [1, 1],
        max_edit_loss,
        max_promotion_loss: 0.05,
    };
    let strays = Skill { strays: 5, ..Skill::default() };
    world.settings.divergence = Some(gate(0.1));
    world.auditor().audit(world.group(AuditPurpose::Edit, 0, &[strays, Skill::default()])).unwrap();
    world.settings.divergence = Some(gate(0.125));
    world.auditor().audit(world.group(AuditPurpose::Edit, 1, &[strays])).unwrap();
    world.settings.divergence = None;
    world.auditor().audit(world.group(AuditPurpose::Edit, 2, &[strays])).unwrap();
    let decisions = attempts(&world);
    assert_eq!(decisions[0], (Reject, reasons(&["divergence"])));
    for accepted in &decisions[1..] {
        assert_eq!(accepted.0, Accept);
    }
}

#[test]
fn no_more_of_one_source_is_learned_than_the_quota_allows() {
    let mut world = World::new();
    world.settings.max_edits_per_source = Some(1);
    let mut auditor = world.auditor();
    let groups = [0, 1, 2].map(|at| world.group(AuditPurpose::Edit, at, &[Skill::default()]));
    for group in &groups {
        auditor.audit(group.clone()).unwrap();
    }
    let quota = (Reject, reasons(&["provenance.source-quota"]));
    let decided = attempts(&world);
    // Contexts 0 and 1 come from one site.
    assert_eq!((decided[0].0, &decided[1], decided[2].0), (Accept, &quota, Accept));
    // After a restart, too; and what is only measured takes nothing.
    let again = world.group(AuditPurpose::Edit, 1, &[Skill { tau: 4, ..Skill::default() }]);
    let measured = world.group(AuditPurpose::Evaluation, 1, &[Skill::default()]);
    drop(auditor);
    let mut auditor = world.auditor();
    auditor.audit(again).unwrap();
    auditor.audit(measured).unwrap();
    let decided = attempts(&world);
    assert_eq!((&decided[3], decided[4].0), (&quota, Measured));
}

#[test]
fn a_promotion_takes_no_more_of_one_source_than_the_quota_allows() {
    let mut world = World::new();
    let mut auditor = world.auditor();
    let groups = [0, 1].map(|at| world.group(AuditPurpose::Edit, at, &[Skill::default()]));
    let edits: Vec<_> = groups.iter().map(|group| group.edits[0].clone()).collect();
    for group in groups {
        auditor.audit(group).unwrap();
    }
    drop(auditor);
    let skill = Skill { nats: 2.5, ..Skill::default() };
    for (quota, verdict) in [(1, false), (2, true)] {
        world.settings.max_edits_per_source = Some(quota);
        let candidate = world.candidate(&[0, 1], &[&edits[0], &edits[1]], skill);
        let request = world.request(AuditPurpose::Promotion, vec![candidate]);
        let audited = world.auditor().audit(world.submission(request, edits.clone())).unwrap();
        assert_eq!(audited.verdict.is_some(), verdict, "{:?}", attempts(&world).last());
    }
}

#[test]
fn a_promotion_that_loses_much_of_what_the_last_version_knew_is_refused_though_the_base_knew_less()
{
    let mut world = World::new();
    world.settings.promotion.max_retention_loss = 0.2;
    world.settings.promotion.max_loss_since_last = 0.05;
    let group = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    let edit = group.edits[0].clone();
    world.auditor().audit(group).unwrap();
    // Of 40 questions; each promotion after a restart.
    for (forgets, refused) in [(3, false), (6, true), (5, false), (7, false), (0, false), (3, true)]
    {
        let candidate = world.candidate(&[0], &[&edit], Skill { forgets, ..Skill::default() });
        let request = world.request(AuditPurpose::Promotion, vec![candidate]);
        let submission = world.submission(request, vec![edit.clone()]);
        let verdict = world.auditor().audit(submission).unwrap().verdict;
        assert_eq!(verdict.is_none(), refused, "{forgets}: {:?}", attempts(&world).last());
        if refused {
            assert_eq!(attempts(&world).last().unwrap().1, ["retention.drop-since-last"]);
        }
    }
}

#[test]
fn without_the_last_versions_files_nothing_follows_it() {
    let world = World::new();
    let group = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    let edit = group.edits[0].clone();
    world.auditor().audit(group).unwrap();
    let promotion = |forgets| {
        let candidate = world.candidate(&[0], &[&edit], Skill { forgets, ..Skill::default() });
        let tensors = candidate.adapter_digest().unwrap();
        let request = world.request(AuditPurpose::Promotion, vec![candidate]);
        (world.submission(request, vec![edit.clone()]), tensors)
    };
    let (first, tensors) = promotion(1);
    assert!(world.auditor().audit(first).unwrap().verdict.is_some());
    std::fs::remove_file(world.uploads().path(&tensors)).unwrap();
    let (second, _) = promotion(0);
    assert_eq!(code(world.auditor().audit(second)), "accepted_adapter_gone");
}

/// A step of a sequence that claims the first `contexts` of the world and continues `parent`.
fn step(
    world: &World,
    contexts: &[usize],
    edits: &[&Envelope],
    parent: Option<Digest>,
    nats: f64,
) -> (AuditSubmission, Candidate) {
    let skill = Skill { nats, ..Skill::default() };
    let mut candidate = world.candidate(contexts, edits, skill);
    candidate.parent_adapter_digest = parent;
    let request = world.request(AuditPurpose::Evaluation, vec![candidate.clone()]);
    let edits = edits.iter().map(|edit| (*edit).clone()).collect();
    (world.submission(request, edits), candidate)
}

#[test]
fn a_step_of_a_sequence_continues_what_this_auditor_measured_by_one_accepted_edit() {
    let world = World::new();
    let mut auditor = world.auditor();
    let edits = [0, 1, 2].map(|at| world.edit(at, &format!("a line on context {at}")));
    for (at, edit) in edits[..2].iter().enumerate() {
        let candidate = world.candidate(&[at], &[edit], Skill::default());
        let request = world.request(AuditPurpose::Edit, vec![candidate]);
        let audited = auditor.audit(world.submission(request, vec![edit.clone()])).unwrap();
        assert!(audited.verdict.is_some(), "context {at}");
    }
    let [one, two, three] = &edits;
    let (first, before) = step(&world, &[0], &[one], None, 5.0);
    auditor.audit(first).unwrap();
    let parent = before.adapter_digest();
    let (second, _) = step(&world, &[0, 1], &[one, two], parent, 6.0);
    let audited = auditor.audit(second).unwrap();
    assert_eq!(audited.verdict, None, "a step is measured and never signed");
    let decisions = |world: &World| attempts(world)[2..].to_vec();
    assert_eq!(decisions(&world), [(Measured, vec![]), (Measured, vec![])]);

    // A parent that was never measured here, one that served, an edit that nobody accepted, and steps
    // that forget an edit or a context of before or add two.
    let stranger = Some(seal_trust::sha256(b"stranger"));
    let attacks = [
        step(&world, &[0, 1], &[one, two], stranger, 6.1).0,
        step(&world, &[0, 2], &[one, three], parent, 6.2).0,
        step(&world, &[0, 1], &[two], parent, 6.3).0,
        step(&world, &[1], &[two], parent, 6.4).0,
        step(&world, &[0], &[one], parent, 6.5).0,
    ];
    for attack in attacks {
        assert_eq!(auditor.audit(attack).unwrap().verdict, None);
        let (decision, against) = attempts(&world).pop().unwrap();
        assert_eq!(decision, Reject);
        assert!(against.contains(&"provenance.parent".to_owned()), "{against:?}");
    }
    // After a restart the ledger still knows what was measured.
    drop(auditor);
    let (again, _) = step(&world, &[0, 1], &[one, two], parent, 6.6);
    world.auditor().audit(again).unwrap();
    assert_eq!(attempts(&world).pop().unwrap().0, Measured);
}
