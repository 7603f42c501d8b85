//! Reward schemes as pure choices: which edit of a context wins, and who gets another run.

use seal_auditor::gate::estimates;
use seal_auditor::selection::{Standing, first_best, paper, strict};
use seal_auditor::statistics::mean;
use seal_miniature::rewards::{Reading, Score};

/// The graded reward of each run.
pub(super) fn graded(scores: &[Vec<Score>]) -> Vec<Vec<f64>> {
    each(scores, |score| score.reward.graded)
}

/// The likelihood of the gold answers in each run.
pub(super) fn likelihood(scores: &[Vec<Score>]) -> Vec<Vec<f64>> {
    each(scores, |score| score.reward.likelihood)
}

fn each(scores: &[Vec<Score>], of: impl Fn(&Score) -> f64) -> Vec<Vec<f64>> {
    scores.iter().map(|runs| runs.iter().map(&of).collect()).collect()
}

/// The authors' choice: best mean of rounded accuracies, first on ties.
pub(super) fn published_choice(scores: &[Vec<Score>]) -> Option<usize> {
    paper(&graded(scores))
}

/// Best mean likelihood, first on ties.
pub(super) fn likeliest(scores: &[Vec<Score>]) -> Option<usize> {
    first_best(likelihood(scores).iter().filter_map(|runs| mean(runs)))
}

/// What `strict` takes from the first run of each unless told otherwise: most answers right, then most
/// nats.
pub(super) fn default_choice(scores: &[Vec<Score>]) -> Option<usize> {
    let standing = |runs: &Vec<Score>| {
        let first = runs.first().map(|score| score.reward);
        let (reward, dense) = (first.map(|one| one.graded), first.map(|one| one.nats));
        Standing { passed: true, reward, dense }
    };
    strict(&scores.iter().map(standing).collect::<Vec<_>>())
}

/// What `strict` takes by labels that were voted; where no question has one, the gate takes nothing, and
/// the first edit stands for that.
pub(super) fn voted_choice(readings: &[Reading]) -> usize {
    let standing =
        |one: &Reading| Standing { passed: true, reward: Some(one.graded), dense: Some(one.nats) };
    strict(&readings.iter().map(standing).collect::<Vec<_>>()).unwrap_or(0)
}

/// Sizes of the rungs of successive halving that train at most `budget` times: all edits once, the
/// better half of them again, and so on down to two.
///
/// Source: Jamieson and Talwalkar 2016, with one more run per rung in place of a longer one.
pub(super) fn rungs(budget: usize) -> Vec<usize> {
    let from = |edits: usize| -> Vec<usize> {
        std::iter::successors(Some(edits), |left| Some(left / 2)).take_while(|n| *n >= 2).collect()
    };
    let fits = |edits: &usize| from(*edits).iter().sum::<usize>() <= budget;
    (2..=budget).rev().find(fits).map(from).unwrap_or_default()
}

/// The `count` edits that go on to the next rung, best first.
pub(super) fn survivors(scores: &[Vec<Score>], count: usize) -> Vec<usize> {
    let most_runs = scores.iter().map(Vec::len).max().unwrap_or(0);
    let likelihood = likelihood(scores);
    let mut left: Vec<(usize, f64)> = likelihood
        .iter()
        .enumerate()
        .filter(|(_, runs)| runs.len() == most_runs)
        .filter_map(|(edit, runs)| Some((edit, mean(runs)?)))
        .collect();
    left.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    left.into_iter().take(count).map(|(edit, _)| edit).collect()
}

/// After halving, edits differ in their runs: the best by the gate's estimates.
pub(super) fn shrunken_choice(scores: &[Vec<Score>]) -> Option<usize> {
    let rewards: Vec<Option<Vec<f64>>> = likelihood(scores).into_iter().map(Some).collect();
    first_best(estimates(&rewards).into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(graded: f64, likelihood: f64) -> Score {
        let reward = Reading { graded, likelihood, ..Reading::default() };
        Score { reward, ..Score::default() }
    }

    #[test]
    fn rungs_halve_and_keep_to_the_budget() {
        assert_eq!(rungs(15), [9, 4, 2]);
        assert_eq!(rungs(3), [3]);
        assert_eq!(rungs(1), [] as [usize; 0]);
        for budget in 2..60 {
            let rungs = rungs(budget);
            assert!(rungs.iter().sum::<usize>() <= budget, "{budget}: {rungs:?}");
            assert!(rungs.windows(2).all(|pair| pair[1] == pair[0] / 2), "{budget}: {rungs:?}");
        }
    }

    #[test]
    fn the_choices_differ_where_the_grades_tie() {
        let scores = [vec![run(0.5, 0.4)], vec![run(0.5, 0.6)], vec![run(0.4, 0.5)]];
        assert_eq!(published_choice(&scores), Some(0));
        assert_eq!(likeliest(&scores), Some(1));
        let mut by_nats = scores.clone();
        by_nats[0][0].reward.nats = -0.1;
        by_nats[1][0].reward.nats = -0.2;
        assert_eq!(default_choice(&by_nats), Some(0));
    }

    #[test]
    fn by_votes_the_most_labels_answered_win_and_no_label_is_no_choice() {
        let reading = |graded, nats| Reading { graded, nats, ..Reading::default() };
        assert_eq!(voted_choice(&[reading(0.5, -1.0), reading(1.0, -2.0), reading(1.0, -0.5)]), 2);
        assert_eq!(voted_choice(&[]), 0);
    }

    #[test]
    fn only_edits_of_the_last_rung_go_on_and_the_best_of_them_come_first() {
        let scores = [
            vec![run(0.0, 0.9)],
            vec![run(0.0, 0.4), run(0.0, 0.5)],
            vec![run(0.0, 0.6), run(0.0, 0.5)],
        ];
        assert_eq!(survivors(&scores, 1), [2]);
        assert_eq!(survivors(&scores, 5), [2, 1]);
        assert_eq!(survivors(&scores[..1], 1), [0]);
    }

    #[test]
    fn one_lucky_run_does_not_beat_a_proven_edit() {
        let (lucky, proven) =
            (vec![run(0.0, 0.62)], vec![run(0.0, 0.8), run(0.0, 0.4), run(0.0, 0.6)]);
        let others = [vec![run(0.0, 0.1)], vec![run(0.0, 0.2), run(0.0, 0.5)]];
        let scores = [vec![lucky, proven], others.to_vec()].concat();
        assert_eq!(shrunken_choice(&scores), Some(1));
    }
}
