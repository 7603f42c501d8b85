//! Further runs of an edit, from the request to the ledger.

use seal_protocol::LedgerEvent;

use super::*;
use crate::annex::Annex;
use crate::gate::{Next, Repeats};
use crate::offline;

fn repeating(runs: u32) -> World {
    let mut world = World::new();
    world.settings.repeats = Some(Repeats { runs, next: Next::Half });
    world
}

/// Gains under the seed that its student chose and under no other.
fn lucky() -> Skill {
    Skill { tau: 5, lucky: true, ..Skill::default() }
}

fn steady(tau: usize) -> Skill {
    Skill { tau, ..Skill::default() }
}

fn annexes(world: &World) -> Vec<Annex> {
    let digest = |entry: seal_protocol::LedgerEntry| match entry.event {
        LedgerEvent::Attempt(attempt) => Some(attempt.metrics_annex_digest),
        LedgerEvent::Genesis { .. } | LedgerEvent::Rotation(_) => None,
    };
    let mut digests: Vec<Digest> = rows(world).into_iter().filter_map(digest).collect();
    digests.dedup();
    digests.iter().map(|digest| offline::annex(&world.state(), digest).unwrap()).collect()
}

fn verified(world: &World) -> Result<offline::Summary, offline::Finding> {
    offline::verify_state(&world.state(), &world.root.clone().into(), NOW)
}

#[test]
fn an_edit_whose_student_ground_out_a_lucky_seed_is_refused() {
    let (once, again) = (World::new(), repeating(2));
    for world in [&once, &again] {
        world.auditor().audit(world.group(AuditPurpose::Edit, 0, &[lucky()])).unwrap();
    }
    assert_eq!(attempts(&once)[0].0, Accept);
    assert_eq!(attempts(&again), [(Reject, reasons(&["tau.not-repeated"]))]);
    verified(&again).unwrap();
}

#[test]
fn a_lucky_edit_does_not_win_over_a_steady_one() {
    let world = repeating(3);
    let skills = [lucky(), steady(4), steady(2), steady(1)];
    world.auditor().audit(world.group(AuditPurpose::Edit, 0, &skills)).unwrap();
    let decisions: Vec<Decision> = attempts(&world).into_iter().map(|(one, _)| one).collect();
    assert_eq!(decisions, [Reject, Accept, NotSelected, NotSelected]);
    let annex = annexes(&world).remove(0);
    let runs: Vec<usize> = annex.candidates.iter().map(|one| one.runs.len()).collect();
    assert_eq!(runs, [1, 2, 0, 0]);
    verified(&world).unwrap();
}

#[test]
fn all_edits_of_a_context_have_one_seed_in_a_run_and_another_in_the_next() {
    let world = repeating(3);
    let mut auditor = world.auditor();
    for context in [0, 0, 1] {
        let skills = [steady(4), steady(5), steady(3), steady(2)];
        auditor.audit(world.group(AuditPurpose::Edit, context, &skills)).unwrap();
    }
    let seeds = |annex: &Annex| -> Vec<Vec<u64>> {
        let of_one = |runs: &[crate::gate::Run]| runs.iter().map(|run| run.seed).collect();
        annex.candidates.iter().map(|one| of_one(&one.runs)).collect()
    };
    let seeds: Vec<Vec<Vec<u64>>> = annexes(&world).iter().map(seeds).collect();
    let [first, again, other] = seeds.as_slice() else { panic!("{seeds:?}") };
    assert_eq!(first, again, "one context, one key");
    assert_eq!(first[0][0], first[1][0], "common to the edits of a context");
    assert_ne!(first[1][0], first[1][1]);
    assert_ne!(first[1], other[1]);
    assert!(first[0][0] != 1, "the student's own seed is not used again");
}

#[test]
fn a_run_that_leads_nowhere_is_worth_nothing_and_harms_no_other() {
    let world = repeating(2);
    let wrecked = Skill { tau: 5, diverges: true, ..Skill::default() };
    let skills = [wrecked, steady(4), steady(1), steady(1)];
    world.auditor().audit(world.group(AuditPurpose::Edit, 0, &skills)).unwrap();
    assert_eq!(attempts(&world)[1].0, Accept);
    let annex = annexes(&world).remove(0);
    assert_eq!(annex.candidates[0].runs[0].outcomes, None);
    assert!(annex.candidates[1].runs[0].outcomes.is_some());
    verified(&world).unwrap();
}

#[test]
fn further_runs_that_do_not_end_in_time_refuse_the_group() {
    let mut world = repeating(2);
    world.time_limit = std::time::Duration::from_millis(50);
    let endless = Skill { endless_again: true, ..Skill::default() };
    let mut auditor = world.auditor();
    auditor.audit(world.group(AuditPurpose::Edit, 0, &[endless, steady(1)])).unwrap();
    let refused = (Reject, reasons(&["measurement.out-of-time"]));
    assert_eq!(attempts(&world), vec![refused; 2]);
    auditor.audit(world.group(AuditPurpose::Edit, 1, &[steady(3)])).unwrap();
    assert_eq!(attempts(&world)[2].0, Accept);
    drop(auditor);
    verified(&world).unwrap();
}
