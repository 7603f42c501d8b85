//! Where a judge is demanded, nothing is signed that no judge permitted.

use seal_trust::sha256;

use super::*;

const CONSTITUTION: &str = "the constitution of a test";

fn world() -> World {
    World::judged(CONSTITUTION)
}

/// The decision on one good edit that comes with these judgements, and its reasons.
fn with(judgements: impl FnOnce(&World, &Envelope) -> Vec<Envelope>) -> (Decision, Vec<String>) {
    let world = world();
    let mut submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    submission.judgements = judgements(&world, &submission.edits[0]);
    world.auditor().audit(submission).unwrap();
    attempts(&world).pop().unwrap()
}

#[test]
fn a_permitted_edit_is_accepted_and_its_verdict_names_the_constitution() {
    let world = world();
    let mut submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    submission.judgements = vec![world.judgement(&submission.edits[0], &[], |_| {})];
    let audited = world.auditor().audit(submission).unwrap();
    let expected = Expectation::of(VerdictKind::Edit);
    let envelope = audited.verdict.expect("accepted");
    let verdict = check_verdict(&world.root, &envelope, &expected, NOW).unwrap();
    let named = verdict.statement.predicate.constitution_digest;
    assert_eq!(named, Some(sha256(CONSTITUTION.as_bytes())));
}

#[test]
fn without_a_judge_no_verdict_names_a_constitution() {
    let world = World::new();
    let mut submission = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    // Nobody asked for it, so it is neither believed nor kept.
    submission.judgements = vec![world.judgement(&submission.edits[0], &["a"], |_| {})];
    let audited = world.auditor().audit(submission).unwrap();
    let expected = Expectation::of(VerdictKind::Edit);
    let verdict = check_verdict(&world.root, &audited.verdict.unwrap(), &expected, NOW).unwrap();
    assert_eq!(verdict.statement.predicate.constitution_digest, None);
    assert_eq!(std::fs::read_dir(world.state().join("judgements")).unwrap().count(), 0);
}

/// The attacks: a judge left out, another key, another edit's judgement, another constitution, a changed
/// byte, a judgement beside one that forbids.
#[test]
fn what_no_judge_permitted_is_refused_however_it_is_dressed_up() {
    let absent = (Reject, reasons(&["judge.absent"]));
    assert_eq!(with(|_, _| vec![]), absent);
    // The teacher, a compromised auditor's neighbour, signs its own acquittal.
    let by = |key: &seal_trust::SigningKey, envelope: &Envelope| {
        let payload = seal_trust::payload_bytes(envelope).unwrap();
        let statement: seal_protocol::Statement<seal_protocol::Judgement> =
            serde_json::from_slice(&payload).unwrap();
        seal_trust::sign_statement(key, &statement).unwrap()
    };
    assert_eq!(
        with(|world, edit| vec![by(&world.keys.teacher, &world.judgement(edit, &[], |_| {}))]),
        absent
    );
    let of_another = |world: &World, _: &Envelope| {
        let other = world.edit(0, "another line on this context");
        vec![world.judgement(&other, &[], |_| {})]
    };
    assert_eq!(with(of_another), absent);
    let other_constitution = |world: &World, edit: &Envelope| {
        vec![world.judgement(edit, &[], |judgement| judgement.constitution_digest = context(9))]
    };
    assert_eq!(with(other_constitution), (Reject, reasons(&["judge.other-constitution"])));
    let changed = |world: &World, edit: &Envelope| {
        let mut envelope = world.judgement(edit, &["no-orders"], |_| {});
        let genuine = world.judgement(edit, &[], |_| {});
        envelope.payload = genuine.payload;
        vec![envelope]
    };
    assert_eq!(with(changed), absent);
    let forbidden = (Reject, reasons(&["judge.forbids.no-orders"]));
    let beside = |world: &World, edit: &Envelope| {
        vec![world.judgement(edit, &["no-orders"], |_| {}), world.judgement(edit, &[], |_| {})]
    };
    assert_eq!(with(beside), forbidden);
}

#[test]
fn a_judge_binds_under_the_papers_selection_too() {
    let mut world = world();
    world.settings.selection = Selection::Paper;
    let mut submission = world.group(
        AuditPurpose::Edit,
        0,
        &[Skill::default(), Skill { tau: 2, ..Skill::default() }],
    );
    submission.judgements = vec![
        world.judgement(&submission.edits[0], &["no-orders"], |_| {}),
        world.judgement(&submission.edits[1], &[], |_| {}),
    ];
    world.auditor().audit(submission).unwrap();
    let decisions: Vec<Decision> = attempts(&world).into_iter().map(|(one, _)| one).collect();
    assert_eq!(decisions, [Reject, Accept]);
}

#[test]
fn an_evaluation_asks_no_judge_and_a_promotion_needs_one_for_each_edit() {
    let world = world();
    let mut auditor = world.auditor();
    auditor.audit(world.group(AuditPurpose::Evaluation, 2, &[Skill::default()])).unwrap();
    let mut accepted = Vec::new();
    for at in [0, 3] {
        let mut submission = world.group(AuditPurpose::Edit, at, &[Skill::default()]);
        let edit = submission.edits[0].clone();
        submission.judgements = vec![world.judgement(&edit, &[], |_| {})];
        assert!(auditor.audit(submission).unwrap().verdict.is_some());
        accepted.push(edit);
    }
    let promote = |judged: &[Envelope]| {
        let skill = Skill { nats: 2.0, ..Skill::default() };
        let candidate = world.candidate(&[0, 3], &[&accepted[0], &accepted[1]], skill);
        let request = world.request(AuditPurpose::Promotion, vec![candidate]);
        let judgements = judged.iter().map(|edit| world.judgement(edit, &[], |_| {})).collect();
        AuditSubmission { judgements, ..world.submission(request, accepted.clone()) }
    };
    assert!(auditor.audit(promote(&accepted[..1])).unwrap().verdict.is_none());
    assert!(auditor.audit(promote(&accepted)).unwrap().verdict.is_some());
    let (decisions, told): (Vec<_>, Vec<_>) = attempts(&world).into_iter().unzip();
    assert_eq!(decisions, [Measured, Accept, Accept, Reject, Accept]);
    assert_eq!(told[3], reasons(&["judge.absent"]));
}
