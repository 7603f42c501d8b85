//! Trains and measures what the schemes are compared on.
//!
//! **Invariant:** no scheme sees a fresh run; those are trained for its choices once all are made.

use anyhow::{Context, Result, anyhow};
use seal_miniature::dice::Dice;
use seal_miniature::edits::Edit;
use seal_miniature::rewards::{Group, Measured, RewardBench, Run, Score, Update};

use super::schemes;
use super::votes::Ballot;

/// Edits of a context, and runs of each, in the original system.
pub(super) const EDITS: usize = 5;
pub(super) const RUNS: usize = 3;
/// Runs that measure what a choice is truly worth.
pub(super) const FRESH: usize = 3;

/// Everything measured about one context before anything was chosen.
pub(super) struct Gathered {
    /// The base.
    pub(super) base: Score,
    /// `[edit][run]` of the first edits, each with seeds of its own.
    pub(super) own: Vec<Vec<Score>>,
    /// The same edits under the published update.
    pub(super) published: Vec<Vec<Score>>,
    /// The same edits under common seeds.
    pub(super) common: Vec<Vec<Score>>,
    /// As many edits as the budget has runs, one run each, under the first common seed.
    pub(super) wide: Vec<Vec<Score>>,
    /// What the base and the first edits vote, after one run each, and what the base and all edits do.
    pub(super) few_votes: Ballot,
    pub(super) many_votes: Ballot,
    /// What successive halving trained.
    pub(super) halved: Vec<Vec<Score>>,
    /// What each of them cost.
    pub(super) spent: Spent,
}

/// Optimizer steps and trained tokens.
pub(super) type Cost = (u64, u64);

/// What a context's runs cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    pub(super) own: Cost,
    pub(super) published: Cost,
    pub(super) common: Cost,
    pub(super) once: Cost,
    pub(super) wide: Cost,
    pub(super) halved: Cost,
}

/// Trains for one context.
pub(super) struct Gatherer<'a> {
    pub(super) bench: &'a RewardBench<'a>,
    pub(super) context: usize,
    pub(super) seed: u64,
    pub(super) edits: Vec<Edit>,
}

/// Whose seed a run has.
#[derive(Clone, Copy)]
enum Whose {
    Edit,
    Group,
    Nobody,
}

impl<'a> Gatherer<'a> {
    /// Has the base policy write as many edits as the budget of the published scheme has runs.
    pub(super) fn new(
        bench: &'a RewardBench<'a>,
        context: usize,
        head: &str,
        seed: u64,
    ) -> Result<Self> {
        let edits = bench.propose(context, EDITS * RUNS, head, seed)?;
        Ok(Self { bench, context, seed, edits })
    }

    pub(super) fn gather(&self) -> Result<Gathered> {
        let every: Vec<(usize, usize)> = (0..EDITS).flat_map(|e| runs(e, 0..RUNS)).collect();
        let others: Vec<(usize, usize)> = (EDITS..self.edits.len()).map(|e| (e, 0)).collect();
        let own = self.measure(&every, Whose::Edit, Update::Gentle)?;
        let published = self.measure(&every, Whose::Edit, Update::Published)?;
        let common = self.measure(&every, Whose::Group, Update::Gentle)?;
        let others = self.measure(&others, Whose::Group, Update::Gentle)?;
        let wide: Vec<Measured> = common.iter().step_by(RUNS).chain(&others).copied().collect();
        let (halved, halved_cost) = self.halve(&wide)?;
        let group = self.group()?;
        Ok(Gathered {
            base: self.bench.untouched(self.context)?,
            spent: Spent {
                own: cost(&own),
                published: cost(&published),
                common: cost(&common),
                once: cost(&wide[..EDITS]),
                wide: cost(&wide),
                halved: halved_cost,
            },
            own: by_edit(&own, RUNS),
            published: by_edit(&published, RUNS),
            common: by_edit(&common, RUNS),
            wide: by_edit(&wide, 1),
            few_votes: Ballot::of(&group, &self.edits, EDITS)?,
            many_votes: Ballot::of(&group, &self.edits, self.edits.len())?,
            halved,
        })
    }

    /// The adapters of all edits after their first common run, trained once more: a run fixes its adapter.
    fn group(&self) -> Result<Group<'_>> {
        let run = |edit: usize| Run {
            context: self.context,
            lines: &self.edits[edit].lines,
            seed: self.seed_of(edit, 0, Whose::Group),
        };
        let runs: Vec<Run<'_>> = (0..self.edits.len()).map(run).collect();
        self.bench.group(self.context, &runs).map_err(|error| anyhow!(error))
    }

    /// Rung after rung, from the first runs that are there already.
    fn halve(&self, once: &[Measured]) -> Result<(Vec<Vec<Score>>, Cost)> {
        let rungs = schemes::rungs(EDITS * RUNS);
        let (first, later) = rungs.split_first().context("a budget without a rung")?;
        let mut spent = cost(&once[..*first]);
        let mut scores = by_edit(&once[..*first], 1);
        for (run, size) in later.iter().enumerate() {
            let left = schemes::survivors(&scores, *size);
            let wanted: Vec<(usize, usize)> = left.iter().map(|edit| (*edit, run + 1)).collect();
            let measured = self.measure(&wanted, Whose::Group, Update::Gentle)?;
            let (steps, tokens) = cost(&measured);
            spent = (spent.0 + steps, spent.1 + tokens);
            for (edit, measured) in left.into_iter().zip(measured) {
                scores[edit].push(measured.score);
            }
        }
        Ok((scores, spent))
    }

    /// What an edit is worth in runs that nothing was chosen by; equal edits get equal ones.
    pub(super) fn fresh(&self, edit: usize) -> Result<Vec<Score>> {
        let wanted: Vec<(usize, usize)> = runs(edit, 0..FRESH).collect();
        let measured = self.measure(&wanted, Whose::Nobody, Update::Gentle)?;
        Ok(measured.into_iter().map(|one| one.score).collect())
    }

    fn measure(
        &self,
        wanted: &[(usize, usize)],
        whose: Whose,
        update: Update,
    ) -> Result<Vec<Measured>> {
        let run = |(edit, run): &(usize, usize)| Run {
            context: self.context,
            lines: &self.edits[*edit].lines,
            seed: self.seed_of(*edit, *run, whose),
        };
        let runs: Vec<Run<'_>> = wanted.iter().map(run).collect();
        self.bench.measure(&runs, update).map_err(|error| anyhow!(error))
    }

    fn seed_of(&self, edit: usize, run: usize, whose: Whose) -> u64 {
        let purpose = match whose {
            Whose::Edit => format!("reward own {} {edit} {run}", self.context),
            Whose::Group => format!("reward common {} {run}", self.context),
            Whose::Nobody => format!("reward fresh {} {run}", self.context),
        };
        Dice::new(&purpose, self.seed).seed()
    }
}

fn runs(edit: usize, runs: std::ops::Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    runs.map(move |run| (edit, run))
}

fn by_edit(measured: &[Measured], runs: usize) -> Vec<Vec<Score>> {
    measured.chunks(runs).map(|runs| runs.iter().map(|one| one.score).collect()).collect()
}

fn cost(measured: &[Measured]) -> Cost {
    let sum = |of: fn(&Measured) -> u64| measured.iter().map(of).sum();
    (sum(|one| one.steps), sum(|one| one.tokens))
}

/// Optimizer steps and trained tokens of one group of runs, a mean over contexts.
pub(super) fn mean_cost(all: &[Gathered], of: fn(&Spent) -> Cost) -> [f64; 2] {
    let sum = all
        .iter()
        .map(|one| of(&one.spent))
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    [sum.0, sum.1].map(|sum| sum as f64 / all.len().max(1) as f64)
}
