use seal_miniature::dice::Dice;
use seal_miniature::rewards::Reading;

use super::gather::Spent;
use super::*;

fn score(graded: f64, likelihood: f64) -> Score {
    let reward = Reading { graded, likelihood, ..Reading::default() };
    Score { reward, confirmation: Reading { graded: graded / 2.0, ..Reading::default() } }
}

/// Contexts whose edits are worth 0.1, 0.2, …; a run adds noise to the grade, a tenth of it to the
/// likelihood, and every common seed moves all edits alike.
fn simulated(contexts: usize, noise: f64) -> Vec<Gathered> {
    let mut dice = Dice::new("simulated rewards", 1);
    let mut normal = |sd: f64| sd * dice.normal();
    let mut context = || {
        let shifts: Vec<f64> = (0..RUNS).map(|_| normal(0.3)).collect();
        let mut edit = |edit: usize, common: bool, runs: usize| -> Vec<Score> {
            let worth = 0.1 * (edit % EDITS + 1) as f64;
            let run = |run: usize| {
                let shift = if common { shifts[run] } else { 0.0 };
                let off = normal(noise);
                score(worth + shift + off, worth + shift + off / 10.0)
            };
            (0..runs).map(run).collect()
        };
        let mut edits = |common, count: usize, runs| -> Vec<Vec<Score>> {
            (0..count).map(|at| edit(at, common, runs)).collect()
        };
        let wide = edits(true, EDITS * RUNS, 1);
        let ballot = |count: usize| Ballot {
            readings: wide[..count].iter().map(|runs| runs[0].reward).collect(),
            questions: 5,
            labelled: 4,
            right: 3,
        };
        Gathered {
            few_votes: ballot(EDITS),
            many_votes: ballot(EDITS * RUNS),
            base: score(0.05, 0.05),
            own: edits(false, EDITS, RUNS),
            published: edits(false, EDITS, RUNS),
            common: edits(true, EDITS, RUNS),
            wide,
            halved: edits(true, 9, 2),
            spent: Spent::default(),
        }
    };
    (0..contexts).map(|_| context()).collect()
}

#[test]
fn a_reward_with_less_noise_is_told_from_one_with_more() {
    let all = simulated(60, 0.3);
    let rows = reliability::reliabilities(&all).unwrap();
    // Between edits 0.025, within 0.09: 0.22 of one run and 0.45 of three.
    let paper = &rows[1];
    assert!((paper.one_run.mean - 0.22).abs() < 0.06, "{paper:?}");
    assert!(paper.of_runs.low < 0.45 && paper.of_runs.high > 0.45, "{paper:?}");
    // Ours: within 0.0009, and the shared seeds count as nothing.
    let ours = &rows[4];
    assert!(ours.one_run.low > 0.94, "{ours:?}");
    let beside = &reliability::ratios(&all).unwrap()[1];
    assert!(beside.reliability.low > 1.5 && beside.noise.low > 20.0, "{beside:?}");
    assert!(beside.one_run.low > 1.5, "{beside:?}");
}

#[test]
fn what_a_pick_is_worth_is_its_fresh_runs_above_the_base() {
    let all = simulated(30, 0.0);
    let picks = worth::picks(&all).unwrap();
    // Without noise every scheme finds the best of the five, which is worth 0.5.
    assert!(picks.iter().all(|one| one.edits.iter().all(|edit| edit % EDITS == EDITS - 1)));
    let fresh = vec![vec![vec![score(0.5, 0.5); FRESH]; all.len()]; picks.len()];
    let (worths, differences) = worth::worths(&all, &picks, &fresh).unwrap();
    let close = |value: f64, expected: f64| (value - expected).abs() < 1e-9;
    assert!(close(worths[0].reward_split.mean, 0.3 - 0.05), "any edit: {:?}", worths[0]);
    assert!(close(worths[1].reward_split.mean, 0.5 - 0.05), "{:?}", worths[1]);
    assert!(close(worths[1].confirmation_split.mean, (0.5 - 0.05) / 2.0), "{:?}", worths[1]);
    assert_eq!(differences.len(), picks.len() - 1);
    assert!(differences.iter().all(|one| close(one.reward_split.mean, 0.0)), "{differences:?}");
    assert_eq!(differences[0].same_edit, all.len());
}

#[test]
fn noise_makes_the_graded_choice_worse_and_ours_less_so() {
    let all = simulated(200, 0.3);
    let picks = worth::picks(&all).unwrap();
    let worth = |scheme: usize| {
        let edits = picks[scheme].edits.iter();
        edits.map(|edit| 0.1 * (edit % EDITS + 1) as f64).sum::<f64>() / all.len() as f64
    };
    assert!(worth(0) > 0.35 && worth(0) < 0.46, "{}", worth(0));
    assert!(worth(1) > 0.49, "{}", worth(1));
}

#[test]
fn shares_of_labels_are_pooled_over_contexts() {
    let ballot = |labelled, right| Ballot { questions: 5, labelled, right, ..Ballot::default() };
    let (full, none) = (ballot(4, 2), ballot(0, 0));
    let pooled = votes::labelled(5, &[&full, &none, &full, &full]).unwrap();
    assert!((pooled.labelled.mean - 0.6).abs() < 1e-9, "{pooled:?}");
    assert_eq!(pooled.without, 1);
    assert!(votes::labelled(5, &[&none, &none]).unwrap().right.is_none());
}
