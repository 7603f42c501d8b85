//! What the edits that each scheme picks are worth. Pure; paired by context.

use seal_auditor::statistics::{Interval, bootstrap_mean};
use seal_miniature::rewards::{Reading, Score};
use serde::Serialize;

use super::gather::{Cost, EDITS, Gathered, RUNS, Spent, mean_cost};
use super::reliability::RESAMPLING;
use super::schemes;

/// One scheme's pick in every context.
pub(super) struct Picks {
    pub(super) scheme: &'static str,
    /// Inner updates of a context.
    runs: usize,
    /// Optimizer steps and trained tokens of a context, a mean.
    cost: [f64; 2],
    /// Index of the edit, by context.
    pub(super) edits: Vec<usize>,
}

/// Graded gain of picked edits above the base, in shares of the questions, on fresh seeds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Worth {
    pub(super) scheme: &'static str,
    pub(super) runs: usize,
    pub(super) optimizer_steps: f64,
    pub(super) tokens: f64,
    pub(super) reward_split: Interval,
    pub(super) confirmation_split: Interval,
}

/// The same beside the paper's scheme.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Difference {
    pub(super) scheme: &'static str,
    pub(super) reward_split: Interval,
    pub(super) confirmation_split: Interval,
    /// Contexts in which both picked the same edit.
    pub(super) same_edit: usize,
}

/// What a scheme picks in every context, and what it may spend for that.
struct Scheme {
    name: &'static str,
    runs: fn() -> usize,
    spent: fn(&Spent) -> Cost,
    pick: fn(&[Gathered]) -> Option<Vec<usize>>,
}

const SCHEMES: [Scheme; 8] = [
    Scheme {
        name: "the paper's: 5 edits, 3 runs each",
        runs: || EDITS * RUNS,
        spent: |spent| spent.own,
        pick: |all| all.iter().map(|one| schemes::published_choice(&one.own)).collect(),
    },
    Scheme {
        name: "ours, the same edits and runs",
        runs: || EDITS * RUNS,
        spent: |spent| spent.common,
        pick: |all| all.iter().map(|one| schemes::likeliest(&one.common)).collect(),
    },
    Scheme {
        name: "the gate by `graded`, 1 run each",
        runs: || EDITS,
        spent: |spent| spent.once,
        pick: |all| all.iter().map(|one| schemes::default_choice(&one.wide[..EDITS])).collect(),
    },
    Scheme {
        name: "ours, the same edits, 1 run each",
        runs: || EDITS,
        spent: |spent| spent.once,
        pick: |all| all.iter().map(|one| schemes::likeliest(&one.wide[..EDITS])).collect(),
    },
    Scheme {
        name: "by votes, the same edits, 1 run each",
        runs: || EDITS,
        spent: |spent| spent.once,
        pick: |all| {
            Some(all.iter().map(|one| schemes::voted_choice(&one.few_votes.readings)).collect())
        },
    },
    Scheme {
        name: "ours, 9 edits, halving",
        runs: || schemes::rungs(EDITS * RUNS).iter().sum(),
        spent: |spent| spent.halved,
        pick: |all| all.iter().map(|one| schemes::shrunken_choice(&one.halved)).collect(),
    },
    Scheme {
        name: "ours, 15 edits, 1 run each",
        runs: || EDITS * RUNS,
        spent: |spent| spent.wide,
        pick: |all| all.iter().map(|one| schemes::likeliest(&one.wide)).collect(),
    },
    Scheme {
        name: "by votes, 15 edits, 1 run each",
        runs: || EDITS * RUNS,
        spent: |spent| spent.wide,
        pick: |all| {
            Some(all.iter().map(|one| schemes::voted_choice(&one.many_votes.readings)).collect())
        },
    },
];

/// Every scheme's picks, the paper's first; `None` where one has nothing to pick from.
pub(super) fn picks(all: &[Gathered]) -> Option<Vec<Picks>> {
    let of_scheme = |scheme: &Scheme| {
        Some(Picks {
            scheme: scheme.name,
            runs: (scheme.runs)(),
            cost: mean_cost(all, scheme.spent),
            edits: (scheme.pick)(all)?,
        })
    };
    SCHEMES.iter().map(of_scheme).collect()
}

/// Gains of one scheme's picks, by context.
struct Gains {
    reward: Vec<f64>,
    confirmation: Vec<f64>,
}

impl Gains {
    /// `runs[context]` are runs of what was picked there.
    fn of<'a>(all: &[Gathered], runs: impl Iterator<Item = &'a [Score]> + Clone) -> Self {
        let gains = |split: fn(&Score) -> Reading| {
            let above = |(one, runs): (&Gathered, &[Score])| {
                let right: f64 = runs.iter().map(|score| split(score).graded).sum();
                right / runs.len() as f64 - split(&one.base).graded
            };
            all.iter().zip(runs.clone()).map(above).collect()
        };
        Self {
            reward: gains(|score| score.reward),
            confirmation: gains(|score| score.confirmation),
        }
    }

    fn minus(&self, other: &Self) -> Self {
        let paired = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self {
            reward: paired(&self.reward, &other.reward),
            confirmation: paired(&self.confirmation, &other.confirmation),
        }
    }

    fn intervals(&self) -> Option<[Interval; 2]> {
        let of = |gains: &[f64]| bootstrap_mean(gains, RESAMPLING);
        Some([of(&self.reward)?, of(&self.confirmation)?])
    }
}

/// What every scheme's picks gain, after what any of the paper's edits gains; then the differences from
/// the first scheme. `fresh[scheme][context]` are fresh runs of what the scheme picked.
pub(super) fn worths(
    all: &[Gathered],
    picks: &[Picks],
    fresh: &[Vec<Vec<Score>>],
) -> Option<(Vec<Worth>, Vec<Difference>)> {
    let every: Vec<Vec<Score>> = all.iter().map(|one| one.own.concat()).collect();
    let any = Gains::of(all, every.iter().map(Vec::as_slice));
    let gains: Vec<Gains> =
        fresh.iter().map(|runs| Gains::of(all, runs.iter().map(Vec::as_slice))).collect();
    let [reward_split, confirmation_split] = any.intervals()?;
    let (scheme, optimizer_steps, tokens) = ("any of 5 edits", 0.0, 0.0);
    let mut worths =
        vec![Worth { scheme, runs: 0, optimizer_steps, tokens, reward_split, confirmation_split }];
    let mut differences = Vec::new();
    for (at, (picks_of, gains_of)) in picks.iter().zip(&gains).enumerate() {
        let Picks { scheme, runs, cost: [optimizer_steps, tokens], edits } = picks_of;
        let [reward_split, confirmation_split] = gains_of.intervals()?;
        worths.push(Worth {
            scheme,
            runs: *runs,
            optimizer_steps: *optimizer_steps,
            tokens: *tokens,
            reward_split,
            confirmation_split,
        });
        if at > 0 {
            let [reward_split, confirmation_split] = gains_of.minus(&gains[0]).intervals()?;
            let pairs = edits.iter().zip(&picks[0].edits);
            let same_edit = pairs.filter(|(ours, theirs)| ours == theirs).count();
            differences.push(Difference { scheme, reward_split, confirmation_split, same_edit });
        }
    }
    Some((worths, differences))
}
