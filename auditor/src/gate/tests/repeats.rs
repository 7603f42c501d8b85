//! Further runs: who has them, what they refuse, what they choose.

use super::*;

/// Settings with so many runs.
fn settings(runs: u32, next: Next) -> GateSettings {
    GateSettings { repeats: Some(Repeats { runs, next }), ..GateSettings::default() }
}

/// A first run with so many of the five questions right.
fn first(right: usize) -> Vec<Vec<Outcome>> {
    let mut candidate = good();
    candidate[0] = outcomes(5, right, -1.0);
    candidate
}

/// A further run with so many right; none: training led nowhere.
fn further(right: Option<usize>) -> Run {
    Run { seed: 7, outcomes: right.map(|right| vec![outcomes(5, right, -1.0)]) }
}

struct Edit {
    first: Vec<Vec<Outcome>>,
    runs: Vec<Run>,
}

fn edit(right: usize, further_runs: &[Option<usize>]) -> Edit {
    Edit { first: first(right), runs: further_runs.iter().copied().map(further).collect() }
}

fn group(edits: &[Edit], ask: impl FnOnce(&[Judged<'_>])) {
    let early = early();
    let judged = edits.iter().map(|one| Judged {
        early: &early,
        outcomes: Some(&one.first),
        runs: &one.runs,
    });
    ask(&judged.collect::<Vec<_>>());
}

#[track_caller]
fn check_next(settings: &GateSettings, edits: &[Edit], expected: &[usize]) {
    group(edits, |judged| {
        let next = next_run(settings, AuditPurpose::Edit, ALPHA, &edit_panels(), judged);
        assert_eq!(next, expected);
    });
}

#[track_caller]
fn check_decisions(settings: &GateSettings, edits: &[Edit], expected: &[Decision]) {
    group(edits, |judged| {
        let rulings = judge(settings, AuditPurpose::Edit, ALPHA, &edit_panels(), judged);
        let decisions: Vec<Decision> = rulings.iter().map(|ruling| ruling.decision).collect();
        assert_eq!(decisions, expected);
    });
}

use Decision::{Accept, NotSelected, Reject};

#[test]
fn the_better_half_runs_again_and_then_the_better_half_of_those() {
    let settings = settings(3, Next::Half);
    let once = [edit(2, &[]), edit(4, &[]), edit(3, &[]), edit(5, &[]), edit(2, &[])];
    check_next(&settings, &once, &[1, 3]);
    let twice =
        [edit(2, &[]), edit(4, &[Some(5)]), edit(3, &[]), edit(5, &[Some(2)]), edit(2, &[])];
    check_next(&settings, &twice, &[1]);
    let thrice = [edit(2, &[]), edit(4, &[Some(5), Some(5)]), edit(3, &[]), edit(5, &[Some(2)])];
    check_next(&settings, &thrice, &[]);
}

#[test]
fn one_that_stands_alone_runs_again_too_and_all_do_where_the_settings_say_so() {
    check_next(&settings(2, Next::Half), &[edit(3, &[])], &[0]);
    let three = [edit(2, &[]), edit(4, &[]), edit(3, &[])];
    check_next(&settings(2, Next::All), &three, &[0, 1, 2]);
    check_next(&GateSettings::default(), &three, &[]);
}

#[test]
fn nobody_runs_again_who_cannot_win() {
    let unproven = edit(0, &[]);
    let fell_back = edit(5, &[Some(0)]);
    check_next(&settings(2, Next::All), &[unproven, edit(3, &[])], &[1]);
    check_next(&settings(3, Next::All), &[fell_back, edit(3, &[Some(3)])], &[1]);
    let wrecked = edit(1, &[None]);
    let paper = GateSettings { selection: Selection::Paper, ..settings(3, Next::All) };
    check_next(&paper, &[wrecked, edit(0, &[Some(0)])], &[0, 1]);
}

#[test]
fn a_promotion_and_an_evaluation_have_no_further_run() {
    for purpose in [AuditPurpose::Promotion, AuditPurpose::Evaluation] {
        group(&[edit(3, &[])], |judged| {
            let next = next_run(&settings(3, Next::All), purpose, ALPHA, &edit_panels(), judged);
            assert!(next.is_empty(), "{purpose:?}");
        });
    }
}

#[test]
fn a_gain_of_one_seed_alone_is_refused_by_name() {
    let settings = settings(3, Next::Half);
    for further_runs in [[Some(0), Some(0)], [Some(0), None], [None, None]] {
        group(&[edit(5, &further_runs)], |judged| {
            let ruling =
                judge(&settings, AuditPurpose::Edit, ALPHA, &edit_panels(), judged).remove(0);
            assert_eq!((ruling.decision, ruling.reasons), (Reject, vec![NOT_REPEATED.to_owned()]));
        });
    }
    check_decisions(&settings, &[edit(5, &[Some(0), Some(1)])], &[Accept]);
    check_decisions(&settings, &[edit(5, &[])], &[Accept]);
}

#[test]
fn further_runs_make_nothing_pass_that_would_not_pass_without_them() {
    let settings = settings(3, Next::Half);
    check_decisions(&settings, &[edit(0, &[Some(5), Some(5)])], &[Reject]);
}

#[test]
fn what_is_chosen_is_the_edit_and_not_its_luckiest_run() {
    let settings = settings(3, Next::Half);
    let lucky = edit(5, &[Some(1)]);
    let steady = edit(4, &[Some(4), Some(4)]);
    check_decisions(&settings, &[lucky, steady, edit(1, &[])], &[NotSelected, Accept, NotSelected]);
}

#[test]
fn one_run_that_was_luckiest_does_not_beat_an_edit_that_was_tried() {
    // Of runs that scatter this much, one alone says little.
    let rewards = [vec![0.62], vec![0.8, 0.4, 0.6], vec![0.1], vec![0.2, 0.5]];
    let estimates = estimates(&rewards.map(Some));
    assert!(estimates[0] < estimates[1], "{estimates:?}");
}

#[test]
fn estimates_are_the_means_where_all_ran_as_often_or_nothing_sets_edits_apart() {
    let once = [Some(vec![0.4]), None, Some(vec![0.6])];
    assert_eq!(estimates(&once), [Some(0.4), None, Some(0.6)]);
    let alike = [Some(vec![0.5]), Some(vec![0.75, 0.25]), Some(vec![0.5])];
    assert_eq!(estimates(&alike), [Some(0.5), Some(0.5), Some(0.5)]);
    assert_eq!(estimates(&[]), []);
}

#[test]
fn the_authors_rule_takes_the_best_mean_of_all_runs() {
    let paper = GateSettings { selection: Selection::Paper, ..settings(3, Next::All) };
    let edits =
        [edit(4, &[Some(1), Some(1)]), edit(3, &[Some(3), Some(3)]), edit(2, &[None, None])];
    check_decisions(&paper, &edits, &[NotSelected, Accept, NotSelected]);
}

#[test]
fn no_rule_chooses_an_edit_by_the_confirmation_split() {
    let mut panels = edit_panels();
    panels[0] = panel(PanelName::TauReward, 1, vec![]);
    panels.push(panel(PanelName::TauConfirmation, 1, outcomes(5, 0, -4.0)));
    let mut edit = edit(0, &[]);
    edit.first[0] = vec![];
    edit.first.push(outcomes(5, 5, -0.1));
    for selection in [Selection::Paper, Selection::Strict] {
        let settings = GateSettings { selection, ..settings(3, Next::All) };
        group(std::slice::from_ref(&edit), |judged| {
            let rulings = judge(&settings, AuditPurpose::Edit, ALPHA, &panels, judged);
            assert_ne!(rulings[0].decision, Accept, "{selection:?}");
            let next = next_run(&settings, AuditPurpose::Edit, ALPHA, &panels, judged);
            assert!(next.is_empty(), "{selection:?}");
        });
    }
}

#[test]
fn a_run_too_many_and_a_run_too_few_are_told_from_the_record() {
    let settings = settings(3, Next::Half);
    let by_rule = |edits: &[Edit]| {
        let mut found = false;
        group(edits, |judged| {
            found = ran_by_rule(&settings, AuditPurpose::Edit, ALPHA, &edit_panels(), judged);
        });
        found
    };
    let honest = || [edit(2, &[]), edit(4, &[Some(3), Some(3)]), edit(3, &[])];
    assert!(by_rule(&honest()));
    for (which, runs) in [(0, vec![Some(4)]), (1, vec![]), (1, vec![Some(3)]), (2, vec![Some(5)])] {
        let mut edits = honest();
        edits[which].runs = runs.into_iter().map(further).collect();
        assert!(!by_rule(&edits), "edit {which}");
    }
    let mut edits = honest();
    edits[1].runs.push(further(Some(5)));
    assert!(!by_rule(&edits));
}

#[test]
fn settings_without_repeats_keep_their_digest_and_a_number_out_of_range_is_refused() {
    let text = serde_json::to_string(&GateSettings::default()).unwrap();
    assert!(!text.contains("repeats"), "policy digests of before stay: {text}");
    for runs in [0, 1, 17] {
        let refused = settings(runs, Next::Half).checked().unwrap_err().to_string();
        assert!(refused.contains("repeats.runs") && refused.contains("from 2 to 16"), "{refused}");
    }
    assert!(settings(16, Next::All).checked().is_ok());
}
