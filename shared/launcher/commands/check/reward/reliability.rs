//! How much of each reward is the edit. Pure; contexts are the independent units of every interval.

use seal_auditor::statistics::{Components, Interval, Seeds, bootstrap_units};
use serde::Serialize;

use super::gather::{Cost, Gathered, RUNS, Spent, mean_cost};
use super::schemes::{graded, likelihood};

/// Seed of every bootstrap.
pub(super) const RESAMPLING: u64 = 0;

/// How much of one reward lies between edits.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Reliability {
    pub(super) reward: &'static str,
    /// Variance between the edits of a context.
    pub(super) between: f64,
    /// Variance between the runs of an edit.
    pub(super) within: f64,
    /// Share of the variance of one run that lies between edits.
    pub(super) one_run: Interval,
    /// The same of the mean of as many runs as the paper's scheme has.
    pub(super) of_runs: Interval,
    /// What those runs cost a context, a mean.
    pub(super) optimizer_steps: f64,
    pub(super) tokens: f64,
}

/// Ours in relation to another reward, both with as many runs as the paper's scheme has.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) beside: &'static str,
    /// Our reliability over the other's. The goal was 2, which needs a reward below 0.5.
    pub(super) reliability: Interval,
    /// The other's noise per signal over ours: within / between.
    pub(super) noise: Interval,
    /// Our reliability with one run over the other's with all of its.
    pub(super) one_run: Interval,
}

/// A reward: its name, how its seeds relate, and how it reads what was gathered of a context.
struct Reward {
    name: &'static str,
    seeds: Seeds,
    of: fn(&Gathered) -> Vec<Vec<f64>>,
    spent: fn(&Spent) -> Cost,
}

const REWARDS: [Reward; 5] = [
    Reward {
        name: "as published, its update too",
        seeds: Seeds::Own,
        of: |one| graded(&one.published),
        spent: |spent| spent.published,
    },
    Reward {
        name: "the paper's: own seeds, graded",
        seeds: Seeds::Own,
        of: |one| graded(&one.own),
        spent: |spent| spent.own,
    },
    Reward {
        name: "common seeds, graded",
        seeds: Seeds::Common,
        of: |one| graded(&one.common),
        spent: |spent| spent.common,
    },
    Reward {
        name: "own seeds, likelihood",
        seeds: Seeds::Own,
        of: |one| likelihood(&one.own),
        spent: |spent| spent.own,
    },
    Reward {
        name: "ours: common seeds, likelihood",
        seeds: Seeds::Common,
        of: |one| likelihood(&one.common),
        spent: |spent| spent.common,
    },
];
/// Those that ours is set in relation to, and ours.
const BESIDE: [usize; 2] = [0, 1];
const OURS: usize = 4;

/// Scores of one reward on all contexts.
struct Scores(Vec<Vec<Vec<f64>>>, Seeds);

impl Scores {
    fn of(reward: &Reward, all: &[Gathered]) -> Self {
        Self(all.iter().map(reward.of).collect(), reward.seeds)
    }

    fn components(&self, drawn: &[usize]) -> Option<Components> {
        let contexts: Vec<&[Vec<f64>]> = drawn.iter().map(|at| self.0[*at].as_slice()).collect();
        Components::of(&contexts, self.1)
    }

    fn reliability(&self, drawn: &[usize], runs: usize) -> Option<f64> {
        Some(self.components(drawn)?.reliability(runs as f64))
    }

    fn noise(&self, drawn: &[usize]) -> Option<f64> {
        let Components { between, within } = self.components(drawn)?;
        (between > 0.0).then(|| within / between)
    }
}

/// Every reward by itself; `None` where something cannot be estimated.
pub(super) fn reliabilities(all: &[Gathered]) -> Option<Vec<Reliability>> {
    let every: Vec<usize> = (0..all.len()).collect();
    let one = |reward: &Reward| {
        let scores = Scores::of(reward, all);
        let share = |runs| interval(all, |drawn| scores.reliability(drawn, runs));
        let Components { between, within } = scores.components(&every)?;
        let [optimizer_steps, tokens] = mean_cost(all, reward.spent);
        Some(Reliability {
            reward: reward.name,
            between,
            within,
            one_run: share(1)?,
            of_runs: share(RUNS)?,
            optimizer_steps,
            tokens,
        })
    };
    REWARDS.iter().map(one).collect()
}

/// Ours beside the paper's.
pub(super) fn ratios(all: &[Gathered]) -> Option<Vec<Ratio>> {
    let ours = Scores::of(&REWARDS[OURS], all);
    let beside = |at: usize| {
        let other = Scores::of(&REWARDS[at], all);
        let ratio = |runs| {
            let of = |drawn: &[usize]| {
                Some(ours.reliability(drawn, runs)? / other.reliability(drawn, RUNS)?)
            };
            interval(all, of)
        };
        Some(Ratio {
            beside: REWARDS[at].name,
            reliability: ratio(RUNS)?,
            noise: interval(all, |drawn| Some(other.noise(drawn)? / ours.noise(drawn)?))?,
            one_run: ratio(1)?,
        })
    };
    BESIDE.into_iter().map(beside).collect()
}

fn interval(all: &[Gathered], of: impl Fn(&[usize]) -> Option<f64>) -> Option<Interval> {
    bootstrap_units(all.len(), RESAMPLING, of)
}
