//! Scores of inner updates, for studying a reward: what of it is the edit, and what is the seed.
//!
//! The auditor measures for itself; nothing here feeds a run.
//!
//! **Invariant:** context, lines, update and seed fix a score. What was trained beside it does not.

use std::collections::{BTreeMap, HashSet};

use seal_model::{Adapter, Decoder, ItemScore, LoraInit, LoraSpec, Projection, ScoreItem, score};
use seal_training::{InnerJob, InnerRecipe, Outcome, TrainError, TrainSequence, inner_updates};

use crate::checks::{CheckError, sample_edits};
use crate::dice::Dice;
use crate::edits::Edit;
use crate::effects::{EffectError, LINES, PASSAGE, REPLAY_LINES, gentle_update};
use crate::items::{Item, TauRecord};
use crate::pretrain::line_sequence;
use crate::run_data::RunData;
use crate::vocabulary::{UnknownWord, Vocabulary};

mod group;

pub use group::Group;

/// Updates trained side by side. Bounds memory, changes no score.
const TOGETHER: usize = 40;
/// Passes over an edit in the published update.
const PUBLISHED_EPOCHS: u64 = 10;

/// How an edit becomes an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// The miniature's: few full-batch steps, all projections, replay lines drawn by the seed.
    Gentle,
    /// The original system's: 10 epochs, one sequence a step in an order drawn by the seed, rank 32 on
    /// `q_proj` and `v_proj`, no replay. One deviation: 5e-3 where it has 1e-3, which a model of this
    /// size hardly learns from.
    Published,
}

/// One inner update to try.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Index of the context in the run data.
    pub context: usize,
    /// Lines of the edit.
    pub lines: &'a [String],
    /// Seed of initialisation, order and replay.
    pub seed: u64,
}

/// How one split of τ was answered, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Share of the questions answered right.
    pub graded: f64,
    /// Mean over the questions of the gold answer's likelihood per token (geometric mean); an empty
    /// answer counts nothing.
    pub likelihood: f64,
    /// Mean log-probability of the gold answers, in nats per token.
    pub nats: f64,
}

/// Both splits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The split that drives the reward.
    pub reward: Reading,
    /// The split that decides nothing.
    pub confirmation: Reading,
}

/// A score and what its update cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// On both splits.
    pub score: Score,
    /// Optimizer steps.
    pub steps: u64,
    /// Tokens trained on, over all steps.
    pub tokens: u64,
}

/// A base model with contexts to try edits on.
pub struct RewardBench<'a> {
    decoder: &'a Decoder,
    data: &'a RunData,
    tau: Vec<TauRecord>,
    vocabulary: Vocabulary,
}

impl<'a> RewardBench<'a> {
    /// A bench for `decoder` on the contexts of `data`.
    pub fn new(decoder: &'a Decoder, data: &'a RunData) -> Self {
        Self { decoder, data, tau: data.tau_records(), vocabulary: Vocabulary::new() }
    }

    /// Edits that the base policy writes about a context, begun with `head` (empty: nothing). Replies
    /// that are no edit are drawn again.
    ///
    /// # Errors
    /// The engine's.
    pub fn propose(
        &self,
        context: usize,
        count: usize,
        head: &str,
        seed: u64,
    ) -> Result<Vec<Edit>, CheckError> {
        let (id, passage) = &self.data.contexts[context];
        let mut dice = Dice::new(&format!("reward edits {id}"), seed);
        let mut edits = Vec::new();
        while edits.len() < count {
            let asked = vec![passage.clone(); count - edits.len()];
            let written = sample_edits(self.decoder, &mut dice, &asked, head)?;
            let known = |edit: &Edit| edit.lines.iter().all(|line| self.line(line).is_ok());
            edits.extend(written.into_iter().flatten().map(distinct).filter(known));
        }
        Ok(edits)
    }

    /// The base without any update.
    ///
    /// # Errors
    /// The engine's.
    pub fn untouched(&self, context: usize) -> Result<Score, EffectError> {
        Ok(self.scores(&[], &[(context, None)])?[0])
    }

    /// Trains and measures every run, in order.
    ///
    /// # Errors
    /// The engine's, divergence among them.
    pub fn measure(&self, runs: &[Run<'_>], update: Update) -> Result<Vec<Measured>, EffectError> {
        let mut measured = vec![Measured::default(); runs.len()];
        for (steps, members) in self.by_steps(runs, update)? {
            let recipe = InnerRecipe { steps, ..recipe(update) };
            for batch in members.chunks(TOGETHER) {
                let jobs: Vec<InnerJob> = batch.iter().map(|(_, job)| job.clone()).collect();
                let adapters = self.train(&jobs, &recipe)?;
                let asked = batch.iter().enumerate();
                let asked: Vec<(usize, Option<usize>)> =
                    asked.map(|(adapter, (at, _))| (runs[*at].context, Some(adapter))).collect();
                for ((at, job), score) in batch.iter().zip(self.scores(&adapters, &asked)?) {
                    let tokens = passes(update, steps) * tokens(job);
                    measured[*at] = Measured { score, steps, tokens };
                }
            }
        }
        Ok(measured)
    }

    fn train(&self, jobs: &[InnerJob], recipe: &InnerRecipe) -> Result<Vec<Adapter>, EffectError> {
        let trained = inner_updates(self.decoder, jobs, recipe, &mut |_, _| {})?;
        let adapter = |outcome: Outcome| Ok(outcome.map_err(TrainError::from)?.adapter);
        trained.into_iter().map(adapter).collect()
    }

    /// Runs of equally many steps can train side by side.
    fn by_steps(
        &self,
        runs: &[Run<'_>],
        update: Update,
    ) -> Result<BTreeMap<u64, Vec<(usize, InnerJob)>>, UnknownWord> {
        let mut groups: BTreeMap<u64, Vec<(usize, InnerJob)>> = BTreeMap::new();
        for (at, run) in runs.iter().enumerate() {
            let job = self.job(run, update)?;
            let steps = match update {
                Update::Gentle => recipe(update).steps,
                Update::Published => PUBLISHED_EPOCHS * job.sequences.len() as u64,
            };
            groups.entry(steps).or_default().push((at, job));
        }
        Ok(groups)
    }

    fn job(&self, run: &Run<'_>, update: Update) -> Result<InnerJob, UnknownWord> {
        let mut sequences = Vec::new();
        for line in run.lines {
            sequences.push(self.line(line)?);
        }
        if update == Update::Gentle {
            for line in self.replay(run.seed) {
                sequences.push(self.line(line)?);
            }
        }
        // In the published update the context is one sequence among the others.
        let part = if update == Update::Gentle { PASSAGE } else { LINES };
        let passage = &self.data.contexts[run.context].1.text;
        sequences.push(line_sequence(&self.vocabulary, passage, part)?);
        Ok(InnerJob { sequences, seed: run.seed, start: None })
    }

    fn line(&self, line: &str) -> Result<TrainSequence, UnknownWord> {
        line_sequence(&self.vocabulary, line, LINES)
    }

    fn replay(&self, seed: u64) -> Vec<&String> {
        let mut dice = Dice::new("reward replay", seed);
        let (world, refusals) = REPLAY_LINES;
        let mut lines: Vec<&String> = Vec::new();
        lines.extend((0..world).map(|_| dice.pick(&self.data.replay_world)));
        lines.extend((0..refusals).map(|_| dice.pick(&self.data.replay_refusals)));
        lines
    }

    /// Both splits under each pair of context and adapter.
    fn scores(
        &self,
        adapters: &[Adapter],
        asked: &[(usize, Option<usize>)],
    ) -> Result<Vec<Score>, EffectError> {
        let mut items = Vec::new();
        for (context, adapter) in asked {
            let tau = &self.tau[*context];
            for item in tau.reward.iter().chain(&tau.confirmation) {
                items.push(self.asked(item, *adapter)?);
            }
        }
        let adapters: Vec<&Adapter> = adapters.iter().collect();
        let scores = score(self.decoder, &adapters, &items).map_err(CheckError::from)?;
        let mut scores = scores.into_iter();
        let mut next = |count: usize| reading(scores.by_ref().take(count).collect());
        let of_context = |(context, _): &(usize, Option<usize>)| {
            let tau = &self.tau[*context];
            Score { reward: next(tau.reward.len()), confirmation: next(tau.confirmation.len()) }
        };
        Ok(asked.iter().map(of_context).collect())
    }

    fn asked(&self, item: &Item, adapter: Option<usize>) -> Result<ScoreItem, UnknownWord> {
        let prompt = self.vocabulary.prompt(&format!("q {} a", item.question))?;
        Ok(ScoreItem { adapter, prompt, answer: self.vocabulary.encode(&item.answer)? })
    }
}

/// An edit whose repeated lines are gone, as the student trains it.
fn distinct(mut edit: Edit) -> Edit {
    let mut seen = HashSet::new();
    edit.lines.retain(|line| seen.insert(line.clone()));
    edit
}

fn recipe(update: Update) -> InnerRecipe {
    let gentle = gentle_update();
    match update {
        Update::Gentle => gentle,
        Update::Published => InnerRecipe {
            lora: LoraSpec {
                r: 32,
                alpha: 64.0,
                targets: vec![Projection::Q, Projection::V],
                init: LoraInit::KaimingUniform,
                ..gentle.lora.clone()
            },
            sequences_per_step: Some(1),
            betas: (0.9, 0.999),
            clip: Some(1.0),
            ..gentle
        },
    }
}

fn tokens(job: &InnerJob) -> u64 {
    job.sequences.iter().map(|sequence| sequence.tokens.len() as u64).sum()
}

/// How often so many steps read every sequence.
fn passes(update: Update, steps: u64) -> u64 {
    match update {
        Update::Gentle => steps,
        Update::Published => PUBLISHED_EPOCHS,
    }
}

fn reading(scores: Vec<ItemScore>) -> Reading {
    let count = scores.len().max(1) as f64;
    let mean = |of: fn(&ItemScore) -> f64| scores.iter().map(of).sum::<f64>() / count;
    Reading {
        graded: mean(|score| f64::from(u8::from(score.exact))),
        likelihood: mean(|score| match score.empty {
            true => 0.0,
            false => score.log_prob_nats_per_token.exp(),
        }),
        nats: mean(|score| score.log_prob_nats_per_token),
    }
}

#[cfg(test)]
mod tests;
