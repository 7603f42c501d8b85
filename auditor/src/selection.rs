//! Which candidate of a group wins.
//!
//! `paper` reproduces the authors' rule, noise included; `strict` takes only candidates that passed
//! the gate. Pure; measuring and judging happen elsewhere.

use serde::{Deserialize, Serialize};

/// The rule in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Among candidates that passed every gate with a proven gain: best [`Reward`], then best dense
    /// score, then the first.
    #[default]
    Strict,
    /// The authors' rule: best mean of rounded accuracies, first on ties, no threshold, no gate.
    /// For edits alone; a promotion is always gated.
    Paper,
}

/// What `strict` compares candidates by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reward {
    /// Share of τ answered right, as in the original system. With few items many candidates tie.
    #[default]
    Graded,
    /// Mean likelihood of the gold answers: `exp` of the nats per token of each, so that one hopeless
    /// item weighs no more than one wrong answer. Between 0 and 1, like the graded reward.
    Likelihood,
}

impl Reward {
    /// Left out of settings, so that policy digests of before stay.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One candidate as `strict` sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// Passed every stage of the gate, proven gain included.
    pub passed: bool,
    /// Its reward on τ, from 0 to 1, if measured.
    pub reward: Option<f64>,
    /// Mean log-probability of the gold answers in nats per token, if measured.
    pub dense: Option<f64>,
}

/// Index of the winner under the authors' rule. `accuracies[candidate]` holds one accuracy per seed.
/// A candidate with no accuracy, or one that is no number, cannot win.
///
/// Source: the recorded rewards and selections of the original system.
pub fn paper(accuracies: &[Vec<f64>]) -> Option<usize> {
    first_best(accuracies.iter().map(|seeds| mean_of_rounded(seeds)))
}

/// The same from means that were rounded and averaged already: the first of the largest.
pub fn first_best(means: impl IntoIterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (index, mean) in means.into_iter().enumerate() {
        // An explicit comparison: a NaN is greater than nothing.
        if mean > best.map_or(f64::NEG_INFINITY, |(_, mean)| mean) {
            best = Some((index, mean));
        }
    }
    best.map(|(index, _)| index)
}

fn mean_of_rounded(seeds: &[f64]) -> f64 {
    let rounded: Vec<f64> = seeds.iter().copied().map(rounded).collect();
    exact_mean(&rounded)
}

/// Binary places that a share of four decimals needs: the smallest, 0.0001, ends at 2^-66.
const SHARE_PLACES: i32 = 66;
/// Further places of the quotient, of which only "something is left" matters.
const QUOTIENT_PLACES: i32 = 40;

/// The mean of shares of four decimals, rounded once, at the end: the recorded means were made so, and
/// a running sum would break a tie by the order of the seeds. Other values get the plain mean; none,
/// no number.
fn exact_mean(shares: &[f64]) -> f64 {
    let count = shares.len() as i128;
    let is_share = |share: &f64| (0.0..=1.0).contains(share);
    if count == 0 || count > 1 << 20 || !shares.iter().all(is_share) {
        return shares.iter().sum::<f64>() / count as f64;
    }
    let places = |share: f64| (share * 2_f64.powi(SHARE_PLACES)) as i128;
    let sum: i128 = shares.iter().copied().map(places).sum();
    let widened = sum << QUOTIENT_PLACES;
    let quotient = (widened / count) | i128::from(widened % count != 0);
    quotient as f64 * 2_f64.powi(-SHARE_PLACES - QUOTIENT_PLACES)
}

/// To four decimals as Python rounds: through the exact decimal value, halves to even.
fn rounded(accuracy: f64) -> f64 {
    format!("{accuracy:.4}").parse().unwrap_or(f64::NAN)
}

/// Index of the winner under the strict rule, if anyone passed.
pub fn strict(candidates: &[Standing]) -> Option<usize> {
    let mut best: Option<(usize, f64, f64)> = None;
    for (index, candidate) in candidates.iter().enumerate() {
        let (true, Some(reward), Some(dense)) =
            (candidate.passed, candidate.reward, candidate.dense)
        else {
            continue;
        };
        let better = best.is_none_or(|(_, r, d)| reward > r || (reward == r && dense > d));
        if better && reward.is_finite() && dense.is_finite() {
            best = Some((index, reward, dense));
        }
    }
    best.map(|(index, ..)| index)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::reference_data;

    fn standing(passed: bool, reward: f64, dense: f64) -> Standing {
        let (reward, dense) = (Some(reward), Some(dense));
        Standing { passed, reward, dense }
    }

    #[test]
    fn paper_takes_the_first_of_equals_and_asks_for_no_threshold() {
        assert_eq!(paper(&[vec![0.2], vec![0.4], vec![0.4]]), Some(1));
        assert_eq!(paper(&[vec![0.0], vec![0.0]]), Some(0));
        assert_eq!(paper(&[]), None);
    }

    #[test]
    fn paper_rounds_each_accuracy_before_the_mean() {
        // Equal after rounding although the second is larger: the first wins.
        assert_eq!(paper(&[vec![0.33331], vec![0.33334]]), Some(0));
        assert_eq!(rounded(0.03125), 0.0312, "halves go to even");
    }

    #[test]
    fn paper_sees_a_tie_whatever_the_order_of_the_seeds() {
        let orders = [vec![0.6, 0.4, 0.2], vec![0.4, 0.2, 0.6], vec![0.2, 0.4, 0.6]];
        assert_eq!(paper(&orders), Some(0));
        assert_eq!(orders.map(|seeds| exact_mean(&seeds)), [0.4, 0.4, 0.4]);
        // What Python's `statistics.mean` gives, recorded means among them.
        assert_eq!(exact_mean(&[0.4, 0.4, 0.2]), 0.333_333_333_333_333_37);
        assert_eq!(exact_mean(&[0.9, 0.5, 0.7]), 0.7);
        assert_eq!(exact_mean(&[0.0, 0.0]), 0.0);
    }

    #[test]
    fn paper_never_picks_what_is_no_number() {
        assert_eq!(paper(&[vec![], vec![f64::NAN], vec![0.0]]), Some(2));
        assert_eq!(paper(&[vec![f64::NAN]]), None);
    }

    #[test]
    fn strict_never_picks_a_candidate_that_failed_the_gate() {
        assert_eq!(strict(&[standing(false, 1.0, 0.0), standing(true, 0.1, -3.0)]), Some(1));
        assert_eq!(strict(&[standing(false, 1.0, 0.0)]), None);
    }

    #[test]
    fn strict_breaks_ties_by_the_dense_score_and_then_by_order() {
        let tied =
            [standing(true, 0.5, -2.0), standing(true, 0.5, -1.0), standing(true, 0.5, -1.0)];
        assert_eq!(strict(&tied), Some(1));
    }

    #[test]
    fn strict_treats_an_absent_measurement_as_no_candidate() {
        let absent = Standing { passed: true, reward: Some(0.9), dense: None };
        assert_eq!(strict(&[absent, standing(true, f64::NAN, 0.0)]), None);
    }

    #[derive(Deserialize)]
    struct Edit {
        round: u8,
        id: String,
        k: usize,
        adapter_mean: f64,
        #[serde(default)]
        seed_accuracy: Option<Vec<f64>>,
    }

    #[derive(Deserialize)]
    struct Selected {
        id: String,
        selected_k: usize,
    }

    #[test]
    fn paper_reproduces_every_recorded_choice_of_the_first_round() {
        let (Some(edits), Some(selections)) = (
            reference_data::rows::<Edit>("self_edits_train.jsonl"),
            reference_data::rows::<Selected>("selections.jsonl"),
        ) else {
            return;
        };
        let mut by_mean: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut by_seed: BTreeMap<&str, Vec<Vec<f64>>> = BTreeMap::new();
        for edit in edits.iter().filter(|edit| edit.round == 0) {
            assert_eq!(by_seed.get(edit.id.as_str()).map_or(0, Vec::len), edit.k);
            by_mean.entry(&edit.id).or_default().push(edit.adapter_mean);
            let seeds = edit.seed_accuracy.clone().unwrap();
            assert_eq!(mean_of_rounded(&seeds), edit.adapter_mean, "{} {}", edit.id, edit.k);
            by_seed.entry(&edit.id).or_default().push(seeds);
        }
        assert_eq!(selections.len(), 50);
        for Selected { id, selected_k } in &selections {
            assert_eq!(paper(&by_seed[id.as_str()]), Some(*selected_k), "{id} by seeds");
            let means = by_mean[id.as_str()].iter().copied();
            assert_eq!(first_best(means), Some(*selected_k), "{id} by mean");
        }
    }
}
