use std::sync::atomic::Ordering;

use seal_protocol::{
    Attempt, AuditPurpose, Candidate, Decision, Envelope, LedgerEvent, Recomputation, Verdict,
    VerdictKind,
};
use seal_trust::{Expectation, check_verdict};

use crate::annex::Annex;
use crate::recompute::{DIFFERS, Share};
use crate::selection::Selection;
use crate::testing::*;

use Decision::{Accept, Measured, Reject};
use Recomputation::{Equal, NotDrawn, Refused};

/// A share that no attempt of these tests is drawn at.
const SELDOM: Share = Share::Of(1e-12);

fn world(recompute: Share) -> World {
    let mut world = World::new();
    world.recompute = recompute;
    world
}

/// Better than anything an honest edit makes here.
fn planted() -> Skill {
    Skill { tau: 5, nats: 4.0, ..Skill::default() }
}

fn edit(world: &World, at: usize, number: usize) -> Envelope {
    world.edit(at, &format!("a line of edit {number} on context {at}"))
}

/// A candidate whose adapter its edit did not make.
fn forged(world: &World, at: usize, edit: &Envelope) -> Candidate {
    world.candidate(&[at], &[edit], Skill::default());
    world.candidate(&[at], &[edit], planted())
}

fn recorded(world: &World) -> Vec<Attempt> {
    let attempt = |entry: seal_protocol::LedgerEntry| match entry.event {
        LedgerEvent::Attempt(attempt) => Some(attempt),
        LedgerEvent::Genesis { .. } | LedgerEvent::Rotation(_) => None,
    };
    rows(world).into_iter().filter_map(attempt).collect()
}

fn found(world: &World) -> Vec<Option<Recomputation>> {
    recorded(world).iter().map(|attempt| attempt.recomputation).collect()
}

#[test]
fn a_planted_adapter_is_caught_every_time_and_the_honest_one_beside_it_passes() {
    let world = world(Share::Always);
    let mut auditor = world.auditor();
    for at in 0..4 {
        let edits = [edit(&world, at, 0), edit(&world, at, 1)];
        let honest = world.candidate(&[at], &[&edits[0]], Skill::default());
        let candidates = vec![honest, forged(&world, at, &edits[1])];
        let request = world.request(AuditPurpose::Edit, candidates);
        let audited = auditor.audit(world.submission(request, edits.to_vec())).unwrap();
        let expected = Expectation::of(VerdictKind::Edit);
        let verdict =
            check_verdict(&world.root, &audited.verdict.unwrap(), &expected, NOW).unwrap();
        let verdict: Verdict = verdict.statement.predicate;
        assert_eq!(verdict.recomputation, Some(Equal));
    }
    for pair in recorded(&world).chunks(2) {
        assert_eq!((pair[0].decision, pair[0].recomputation), (Accept, Some(Equal)));
        assert_eq!((pair[1].decision, pair[1].recomputation), (Reject, Some(Refused)));
        assert_eq!(pair[1].reasons, [DIFFERS]);
    }
    assert_eq!(world.trained_again.load(Ordering::SeqCst), 8);
}

#[test]
fn nothing_of_a_forged_adapter_is_measured_and_the_annex_says_how_far_it_lay() {
    let world = world(Share::Always);
    let edit = edit(&world, 0, 0);
    let request = world.request(AuditPurpose::Evaluation, vec![forged(&world, 0, &edit)]);
    world.auditor().audit(world.submission(request, vec![edit])).unwrap();
    assert_eq!(world.base_asked.load(Ordering::SeqCst), 0);
    let digest = recorded(&world)[0].metrics_annex_digest;
    let annex: Annex = crate::offline::annex(&world.state(), &digest).unwrap();
    assert_eq!(annex.recompute, Some(Share::Always));
    let candidate = &annex.candidates[0];
    assert_eq!(candidate.outcomes, None);
    assert_eq!(candidate.recomputation.as_ref().unwrap().distance.unwrap().to_f64(), 0.7);
    assert_eq!(annex.ruled_again(None).unwrap()[0], candidate.ruling);
}

#[test]
fn at_a_share_planted_adapters_are_caught_at_that_rate() {
    const SHARE: f64 = 0.25;
    let (mut attempts, mut caught) = (0.0, 0.0);
    // A ledger of its own for each group: after the first forgery nothing is left to the draw.
    for group in 0..8 {
        let world = world(Share::Of(SHARE));
        let edits: Vec<Envelope> = (0..60).map(|at| edit(&world, 0, group * 60 + at)).collect();
        let candidates = edits.iter().map(|edit| forged(&world, 0, edit)).collect();
        let request = world.request(AuditPurpose::Evaluation, candidates);
        let submission = world.submission(request, edits);
        let digest = seal_trust::payload_digest(&submission.request).unwrap();
        world.auditor().audit(submission).unwrap();
        for (number, attempt) in recorded(&world).into_iter().enumerate() {
            let drawn = world.draw().falls_on(AuditPurpose::Evaluation, &digest, number);
            let expected = if drawn { (Refused, Reject) } else { (NotDrawn, Measured) };
            assert_eq!((attempt.recomputation, attempt.decision), (Some(expected.0), expected.1));
            attempts += 1.0;
            caught += f64::from(u8::from(drawn));
        }
    }
    let spread: f64 = 4.0 * f64::sqrt(attempts * SHARE * (1.0 - SHARE));
    assert!((caught - attempts * SHARE).abs() <= spread, "{caught} of {attempts}");
}

#[test]
fn what_was_not_drawn_is_accepted_and_the_verdict_says_that_nobody_looked() {
    let world = world(SELDOM);
    let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    let verdict = world.auditor().audit(submission).unwrap().verdict.unwrap();
    let expected = Expectation::of(VerdictKind::Edit);
    let verified = check_verdict(&world.root, &verdict, &expected, NOW).unwrap();
    assert_eq!(verified.statement.predicate.recomputation, Some(NotDrawn));
    assert_eq!(found(&world), [Some(NotDrawn)]);
}

#[test]
fn after_one_forgery_nothing_is_left_to_the_draw_after_a_restart_either() {
    let mut world = world(SELDOM);
    for (number, share) in [SELDOM, Share::Always, SELDOM].into_iter().enumerate() {
        world.recompute = share;
        let edit = edit(&world, 0, number);
        let request = world.request(AuditPurpose::Evaluation, vec![forged(&world, 0, &edit)]);
        world.auditor().audit(world.submission(request, vec![edit])).unwrap();
    }
    assert_eq!(found(&world), [Some(NotDrawn), Some(Refused), Some(Refused)]);
}

#[test]
fn what_wants_to_serve_is_trained_again_at_every_share() {
    let world = world(SELDOM);
    let mut auditor = world.auditor();
    let edit = edit(&world, 0, 0);
    let honest = world.candidate(&[0], &[&edit], Skill::default());
    let request = world.request(AuditPurpose::Edit, vec![honest]);
    auditor.audit(world.submission(request, vec![edit.clone()])).unwrap();
    let request = world.request(AuditPurpose::Promotion, vec![forged(&world, 0, &edit)]);
    auditor.audit(world.submission(request, vec![edit])).unwrap();
    assert_eq!(found(&world), [Some(NotDrawn), Some(Refused)]);
    assert_eq!(attempts(&world)[1], (Reject, vec![DIFFERS.to_owned()]));
}

#[test]
fn the_authors_rule_is_bound_by_it_too() {
    let mut world = world(Share::Always);
    world.settings.selection = Selection::Paper;
    let edit = edit(&world, 0, 0);
    let request = world.request(AuditPurpose::Edit, vec![forged(&world, 0, &edit)]);
    let audited = world.auditor().audit(world.submission(request, vec![edit])).unwrap();
    assert!(audited.verdict.is_none());
    assert_eq!(attempts(&world)[0].0, Reject);
}

#[test]
fn what_is_no_adapter_is_never_trained_and_never_passes() {
    let world = world(Share::Always);
    let edit = edit(&world, 0, 0);
    let mut candidate = world.candidate(&[0], &[&edit], Skill::default());
    candidate.base_model_digest = seal_protocol::Digest::from_bytes([1; 32]);
    let request = world.request(AuditPurpose::Edit, vec![candidate]);
    world.auditor().audit(world.submission(request, vec![edit])).unwrap();
    assert_eq!(world.trained_again.load(Ordering::SeqCst), 0);
    assert_eq!(found(&world), [None]);
    assert_eq!(attempts(&world)[0].0, Reject);
}

#[test]
fn where_nothing_is_asked_for_nothing_is_trained_or_said() {
    let world = World::new();
    let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    let verdict = world.auditor().audit(submission).unwrap().verdict.unwrap();
    let payload = seal_trust::payload_bytes(&verdict).unwrap();
    assert!(!String::from_utf8(payload).unwrap().contains("recomputation"));
    assert_eq!(found(&world), [None]);
    assert_eq!(world.trained_again.load(Ordering::SeqCst), 0);
}

#[test]
fn written_policy_sees_what_came_of_it() {
    use crate::policy::{Bundle, Policy};
    let demanding = "package seal\n\nimport rego.v1\n\ndefault allow := false\n\n\
                     allow if input.gates.recomputation.outcome == \"passed\"\n\ntest_holds if true\n";
    let decided = |recompute| {
        let bundle = Bundle::of([("policy.rego", demanding)]);
        let limit = std::time::Duration::from_secs(60);
        let mut world = world(recompute);
        world.policy = Some(Policy::new(bundle, limit).unwrap());
        let submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
        world.auditor().audit(submission).unwrap();
        attempts(&world)[0].0
    };
    assert_eq!([Share::Always, SELDOM, Share::Never].map(decided), [Accept, Reject, Reject]);
}
