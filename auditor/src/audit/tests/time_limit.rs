//! What an audit that takes too long ends in.

use std::time::{Duration, Instant};

use super::*;

/// Far less than an endless measurement takes, far more than the fake's others.
const SHORT: Duration = Duration::from_millis(50);

#[test]
fn a_measurement_that_does_not_end_in_time_is_refused_with_its_row_and_the_next_request_is_judged()
{
    let endless = Skill { endless: true, ..Skill::default() };
    for selection in [Selection::Strict, Selection::Paper] {
        for purpose in [AuditPurpose::Edit, AuditPurpose::Evaluation] {
            let mut world = World::new();
            (world.time_limit, world.settings.selection) = (SHORT, selection);
            let mut auditor = world.auditor();
            let late = world.group(purpose, 0, &[endless, Skill::default()]);
            let begun = Instant::now();
            let audited = auditor.audit(late.clone()).unwrap();
            assert!(begun.elapsed() >= SHORT);
            // The whole group: what of it was slow, nobody can tell.
            let refused = (Reject, reasons(&["measurement.out-of-time"]));
            assert_eq!(
                (audited.verdict.clone(), attempts(&world)),
                (None, vec![refused.clone(); 2])
            );
            // Others are judged, on the same context and on another; the attempt counts.
            auditor.audit(world.group(AuditPurpose::Edit, 0, &[Skill::default()])).unwrap();
            auditor.audit(world.group(AuditPurpose::Edit, 1, &[Skill::default()])).unwrap();
            let decided = attempts(&world);
            assert_eq!((decided[2].0, decided[3].0), (Accept, Accept));
            let earlier = u32::from(purpose == AuditPurpose::Edit);
            let tau = world.vault().in_force(&context(0));
            drop(auditor);
            let used = world.ledger().used(&context(0), tau, AuditPurpose::Edit);
            assert_eq!(used.earlier, earlier + 1);
            // Asked again, also by a machine with all the time there is, it is the same refusal.
            world.time_limit = Duration::from_secs(3600);
            assert_eq!(world.auditor().audit(late).unwrap(), audited);
            assert_eq!(attempts(&world).len(), 4);
            let root = world.root.clone().into();
            crate::offline::verify_state(&world.state(), &root, NOW).unwrap();
        }
    }
}

#[test]
fn a_promotion_that_is_not_measured_in_time_is_not_signed() {
    let mut world = World::new();
    let group = world.group(AuditPurpose::Edit, 0, &[Skill::default()]);
    let edit = group.edits[0].clone();
    world.auditor().audit(group).unwrap();
    world.time_limit = SHORT;
    let endless = Skill { endless: true, ..Skill::default() };
    let candidate = world.candidate(&[0], &[&edit], endless);
    let request = world.request(AuditPurpose::Promotion, vec![candidate]);
    let audited = world.auditor().audit(world.submission(request, vec![edit])).unwrap();
    assert_eq!(audited.verdict, None);
    assert_eq!(attempts(&world)[1], (Reject, reasons(&["measurement.out-of-time"])));
}

#[test]
fn training_again_that_does_not_end_in_time_is_refused_by_name_and_is_no_forgery() {
    let mut world = World::new();
    (world.time_limit, world.recompute) = (SHORT, Share::Always);
    let untrainable = Skill { untrainable: true, ..Skill::default() };
    let mut auditor = world.auditor();
    auditor.audit(world.group(AuditPurpose::Edit, 0, &[untrainable])).unwrap();
    auditor.audit(world.group(AuditPurpose::Edit, 1, &[Skill::default()])).unwrap();
    let decided = attempts(&world);
    assert_eq!(decided[0], (Reject, reasons(&["recomputation.out-of-time"])));
    assert_eq!(decided[1].0, Accept);
    drop(auditor);
    assert!(!world.ledger().holds_a_forgery());
    let root = world.root.clone().into();
    crate::offline::verify_state(&world.state(), &root, NOW).unwrap();
}
