//! How much of a reward is the edit, and how much is the seed it was trained with.
//!
//! Scores of one context are `[edit][run]`: each run trains the edit anew with another seed.
//! Between-edit variance is estimated within contexts, because a choice is made within one.
//!
//! Source: intraclass correlation, one-way and two-way (consistency), Shrout and Fleiss 1979; McGraw
//! and Wong 1996.

use super::mean;

/// How the seeds of a context's edits relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// Each edit has seeds of its own, as in the original system. Edits may differ in their runs.
    Own,
    /// Run r of every edit has the same seed, so what a seed does to all of them alike cannot change
    /// a choice and is no noise. Every edit of a context has as many runs.
    Common,
}

/// Variance of a single run, in two parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Components {
    /// Of the true values of a context's edits. An unbiased estimate, so it may come out below zero.
    pub between: f64,
    /// Of one edit's runs.
    pub within: f64,
}

impl Components {
    /// From contexts with at least two edits each, some of which ran more than once. `None` where
    /// there is nothing to estimate from, or a score that is not finite.
    pub fn of(contexts: &[&[Vec<f64>]], seeds: Seeds) -> Option<Self> {
        let parts: Option<Vec<Parts>> =
            contexts.iter().map(|scores| Parts::of(scores, seeds)).collect();
        let parts = parts?;
        let freedom: f64 = parts.iter().map(|part| part.freedom).sum();
        let within = parts.iter().map(|part| part.squares).sum::<f64>() / freedom;
        let between = parts.iter().map(|part| part.of_means - within * part.share_of_noise);
        let between = mean(&between.collect::<Vec<_>>())?;
        (freedom > 0.0 && within.is_finite()).then_some(Self { between, within })
    }

    /// Share of the variance of a mean of `runs` that lies between edits; 0 where none was found.
    pub fn reliability(&self, runs: f64) -> f64 {
        let between = self.between.max(0.0);
        let share = between / (between + self.within / runs);
        if share.is_nan() { 0.0 } else { share }
    }

    /// Best guess at each edit's true value: its mean, drawn towards the mean of its context the more,
    /// the less its runs can be relied on. `None` for a context without scores.
    ///
    /// Source: empirical Bayes with normal priors, Efron and Morris 1973.
    pub fn shrunken(&self, scores: &[Vec<f64>]) -> Option<Vec<f64>> {
        let means: Option<Vec<f64>> = scores.iter().map(|runs| mean(runs)).collect();
        let means = means?;
        let centre = mean(&means)?;
        let kept = |runs: &Vec<f64>| self.reliability(runs.len() as f64);
        Some(means.iter().zip(scores).map(|(m, runs)| centre + kept(runs) * (m - centre)).collect())
    }
}

/// What one context adds.
struct Parts {
    /// Sum of squared deviations of runs from where their edit lies.
    squares: f64,
    freedom: f64,
    /// Variance of the edits' means.
    of_means: f64,
    /// Mean of 1 / runs over edits: the share of `within` in that variance.
    share_of_noise: f64,
}

impl Parts {
    fn of(scores: &[Vec<f64>], seeds: Seeds) -> Option<Self> {
        let means: Option<Vec<f64>> = scores.iter().map(|runs| mean(runs)).collect();
        let means = means?;
        let centre = mean(&means).filter(|_| means.len() >= 2)?;
        let edits = means.len() as f64;
        let runs = scores.iter().map(Vec::len);
        let (shifts, freedom) = match seeds {
            Seeds::Own => (None, runs.map(|runs| runs as f64 - 1.0).sum()),
            Seeds::Common => {
                let shifts = seed_effects(scores, centre)?;
                let freedom = (edits - 1.0) * (shifts.len() as f64 - 1.0);
                (Some(shifts), freedom)
            }
        };
        let shift = |run: usize| shifts.as_ref().map_or(0.0, |shifts| shifts[run]);
        let deviations = scores.iter().zip(&means).flat_map(|(runs, mean)| {
            runs.iter().enumerate().map(move |(run, score)| (run, score - mean))
        });
        Some(Self {
            squares: deviations.map(|(run, off)| (off - shift(run)).powi(2)).sum(),
            freedom,
            of_means: means.iter().map(|mean| (mean - centre).powi(2)).sum::<f64>() / (edits - 1.0),
            share_of_noise: scores.iter().map(|runs| 1.0 / runs.len() as f64).sum::<f64>() / edits,
        })
    }
}

/// What each seed does to all edits alike; `None` unless all have as many runs.
fn seed_effects(scores: &[Vec<f64>], centre: f64) -> Option<Vec<f64>> {
    let runs = scores.first()?.len();
    let alike = scores.iter().all(|edit| edit.len() == runs);
    let effect = |run: usize| {
        let of_run: Vec<f64> = scores.iter().map(|edit| edit[run]).collect();
        mean(&of_run).map(|mean| mean - centre)
    };
    alike.then(|| (0..runs).map(effect).collect::<Option<_>>()).flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use serde::Deserialize;

    use super::*;
    use crate::reference_data;

    /// Contexts × 5 edits × `runs`, with the given standard deviations; a seed moves all edits of a
    /// context by `shared`, if seeds are common.
    fn simulated(contexts: usize, runs: usize, sd: [f64; 3]) -> Vec<Vec<Vec<f64>>> {
        let [between, within, shared] = sd;
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut normal = |sd: f64| sd * ((0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0);
        let mut context = || {
            let centre = normal(3.0);
            let shifts: Vec<f64> = (0..runs).map(|_| normal(shared)).collect();
            let mut edit = || {
                let value = centre + normal(between);
                shifts.iter().map(|shift| value + shift + normal(within)).collect()
            };
            (0..5).map(|_| edit()).collect()
        };
        (0..contexts).map(|_| context()).collect()
    }

    fn components(scores: &[Vec<Vec<f64>>], seeds: Seeds) -> Components {
        let contexts: Vec<&[Vec<f64>]> = scores.iter().map(Vec::as_slice).collect();
        Components::of(&contexts, seeds).unwrap()
    }

    #[test]
    fn a_known_reliability_is_found_again() {
        // 0.2² of 0.2² + 0.4² is 0.2; of three runs, 3 / 7.
        let found = components(&simulated(4000, 3, [0.2, 0.4, 0.0]), Seeds::Own);
        assert!((found.reliability(1.0) - 0.2).abs() < 0.02, "{found:?}");
        assert!((found.reliability(3.0) - 3.0 / 7.0).abs() < 0.03, "{found:?}");
    }

    #[test]
    fn what_a_common_seed_does_to_all_edits_is_no_noise() {
        let scores = simulated(4000, 3, [0.2, 0.1, 0.5]);
        let (common, own) = (components(&scores, Seeds::Common), components(&scores, Seeds::Own));
        assert!((common.reliability(1.0) - 0.8).abs() < 0.02, "{common:?}");
        // Read as if seeds were the edits' own, the same scores look like noise.
        assert!(own.reliability(1.0) < 0.3, "{own:?}");
    }

    #[test]
    fn edits_that_do_not_differ_have_no_reliability() {
        let none = components(&simulated(2000, 3, [0.0, 0.4, 0.0]), Seeds::Own);
        assert!(none.reliability(3.0) < 0.03, "{none:?}");
        let below = Components { between: -0.1, within: 0.2 };
        assert_eq!(below.reliability(3.0), 0.0);
        assert_eq!(Components { between: 0.0, within: 0.0 }.reliability(1.0), 0.0);
    }

    #[test]
    fn edits_with_more_runs_count_with_less_noise() {
        let mut ragged = simulated(4000, 3, [0.2, 0.4, 0.0]);
        for context in &mut ragged {
            context[1..].iter_mut().for_each(|edit| edit.truncate(1));
        }
        let found = components(&ragged, Seeds::Own);
        assert!((found.reliability(1.0) - 0.2).abs() < 0.03, "{found:?}");
    }

    #[test]
    fn too_little_to_estimate_from_is_no_estimate() {
        let one_edit: &[Vec<f64>] = &[vec![0.1, 0.2]];
        let one_run: &[Vec<f64>] = &[vec![0.1], vec![0.2]];
        let ragged: &[Vec<f64>] = &[vec![0.1, 0.3], vec![0.2]];
        let broken: &[Vec<f64>] = &[vec![0.1, f64::NAN], vec![0.2, 0.3]];
        for seeds in [Seeds::Own, Seeds::Common] {
            assert_eq!(Components::of(&[one_edit], seeds), None);
            assert_eq!(Components::of(&[one_run], seeds), None);
            assert_eq!(Components::of(&[broken], seeds), None);
            assert_eq!(Components::of(&[], seeds), None);
        }
        assert_eq!(Components::of(&[ragged], Seeds::Common), None);
    }

    #[test]
    fn a_lucky_single_run_is_drawn_below_a_mean_of_many() {
        let components = Components { between: 0.01, within: 0.03 };
        let shrunken = components.shrunken(&[vec![0.9], vec![0.8; 9], vec![0.1; 9]]).unwrap();
        assert!(shrunken[1] > shrunken[0], "{shrunken:?}");
        let expected = 0.6 + 0.01 / (0.01 + 0.03) * 0.3;
        assert!((shrunken[0] - expected).abs() < 1e-12, "{shrunken:?}");
        assert_eq!(components.shrunken(&[vec![]]), None);
    }

    #[derive(Deserialize)]
    struct Edit {
        round: u8,
        id: String,
        #[serde(default)]
        seed_accuracy: Option<Vec<f64>>,
    }

    /// The figures of the original system's first round, by another program: within 0.0367, between
    /// 0.0057, reliability 0.13 of one run and 0.32 of three.
    #[test]
    fn the_recorded_reward_is_mostly_noise() {
        let Some(edits) = reference_data::rows::<Edit>("self_edits_train.jsonl") else { return };
        let mut contexts: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
        for edit in edits.into_iter().filter(|edit| edit.round == 0) {
            contexts.entry(edit.id).or_default().push(edit.seed_accuracy.unwrap());
        }
        let recorded = components(&contexts.into_values().collect::<Vec<_>>(), Seeds::Own);
        assert!((recorded.within - 0.036_721_7).abs() < 1e-6, "{recorded:?}");
        assert!((recorded.between - 0.005_699_7).abs() < 1e-6, "{recorded:?}");
        assert!((recorded.reliability(1.0) - 0.134_36).abs() < 1e-4);
        assert!((recorded.reliability(3.0) - 0.317_70).abs() < 1e-4);
    }
}
