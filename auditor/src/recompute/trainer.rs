//! The trainer: from claims to findings, over the base that is loaded for measuring.

mod further;
mod plan;
mod tables;

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use seal_model::chat::ChatFormat;
use seal_model::{Adapter, BaseModel, Decoder, ModelError, Tokenizer};
use seal_protocol::Digest;
use seal_recipe::{Planned, ReplaySource, UpdateTables, read_all};
use seal_training::{InnerJob, Outcome, TrainError, TrainOptions, inner_updates_with};
use seal_trust::sha256;

use super::compare::{Method, distance, same_settings};
use super::{Claim, DIFFERS, MeasuredBase, Recomputed, Share};
use crate::measure::MeasureError;

pub(crate) use tables::Tables;

/// The recipe is not the one that the auditor's tables make of the edit and its directives.
const RECIPE: &str = "recomputation.recipe";
/// By the auditor's tables nobody would train on this edit.
const EDIT: &str = "recomputation.edit";
/// It continues another adapter than the one it names, or continues one and wants to be used.
const PARENT: &str = "recomputation.parent";
/// Another arithmetic made it, and the config states no tolerance.
const ARITHMETIC: &str = "recomputation.other-arithmetic";
/// Training leads nowhere, so no adapter can have come of it.
const DIVERGED: &str = "recomputation.diverged";
/// Its rank, scale or targets are not the recipe's.
const SETTINGS: &str = "recomputation.settings";

/// Trains adapters again.
pub(crate) struct Trainer {
    tables: UpdateTables,
    inner_replay: Vec<ReplaySource>,
    consolidation_replay: Vec<ReplaySource>,
    chat: Option<ChatFormat>,
    start: Option<u32>,
    end: u32,
    tolerance: Option<f64>,
}

/// A claim that is to be trained.
struct Job {
    /// Number of the claim.
    claim: usize,
    planned: Planned,
    seed: u64,
    method: Method,
    /// Of a step of a sequence: the adapter that it continues, and what it adds, as handed in.
    step: Option<Step>,
}

/// Something planned that wants to be trained.
trait Wanted {
    fn planned(&self) -> &Planned;
    fn seed(&self) -> u64;
    /// Of a step of a sequence, its head.
    fn over(&self) -> Option<&Adapter>;
}

impl Wanted for Job {
    fn planned(&self) -> &Planned {
        &self.planned
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn over(&self) -> Option<&Adapter> {
        self.step.as_ref().map(|step| &step.head)
    }
}

/// A stack, taken apart.
struct Step {
    head: Adapter,
    tail: Adapter,
}

impl Trainer {
    /// Reads the replay files and what of the base folder training needs.
    ///
    /// # Errors
    /// A replay file or chat template that cannot be used, a base without an end token, a device on
    /// which nothing comes out equal while no tolerance is stated.
    pub(crate) fn open(
        Tables(tables): Tables,
        (share, tolerance): (Share, Option<f64>),
        base: &Path,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
    ) -> Result<Self> {
        ensure!(
            share == Share::Never || tolerance.is_some() || !decoder.is_composed(),
            "on {} no adapter comes out equal to the bit; state a `tolerance` under [recomputation], \
             or let the auditor compute on `device = \"cpu\"`",
            decoder.arithmetic()
        );
        let (here, named) = (Path::new(""), "[recomputation] update_tables");
        let chat = tables.chat.clone();
        let chat = chat.map(|settings| ChatFormat::load(base, tokenizer, settings)).transpose()?;
        let trainer = Self {
            inner_replay: read_all(here, &tables.inner_update.replay).context(named)?,
            consolidation_replay: read_all(here, &tables.consolidation.replay).context(named)?,
            chat,
            start: tokenizer.bos(),
            end: tokenizer.eos().with_context(|| {
                format!(
                    "the model folder `{}` names no `eos_token_id`; add it to generation_config.json",
                    base.display()
                )
            })?,
            tolerance,
            tables,
        };
        trainer.check_replay(tokenizer).context(named)?;
        Ok(trainer)
    }

    /// A line that cannot be trained on would fail the audits that draw it; it fails the start.
    fn check_replay(&self, tokenizer: &Tokenizer) -> Result<()> {
        let sequencer = self.sequencer(tokenizer);
        let sources = self.inner_replay.iter().chain(&self.consolidation_replay);
        for source in sources.filter(|source| source.quota > 0) {
            for line in &source.lines {
                let readable = sequencer.replay(line);
                readable.with_context(|| format!("replay file `{}`: `{line}`", source.name))?;
            }
        }
        Ok(())
    }

    /// Names everything here that decides.
    ///
    /// # Errors
    /// A number that is not finite.
    pub(crate) fn digest(&self) -> Result<Digest> {
        let tables = self.tables.digest(&self.inner_replay, &self.consolidation_replay)?;
        Ok(seal_trust::digest_of(&(tables, self.tolerance))?)
    }

    /// One finding per claim, in order.
    ///
    /// # Errors
    /// The model failed as a whole; then nothing is known of any claim.
    pub(crate) fn judge(
        &self,
        base: &MeasuredBase<'_>,
        claims: &[Claim<'_, Adapter>],
    ) -> Result<Vec<Recomputed>, MeasureError> {
        let mut jobs = Vec::new();
        let mut findings = Vec::new();
        for (number, claim) in claims.iter().enumerate() {
            let finding = match self.planned(base, claim)? {
                Ok((planned, method)) => match self.step(base, claim, &planned)? {
                    Ok(step) => {
                        let seed = claim.candidate.seed;
                        jobs.push(Job { claim: number, planned, seed, method, step });
                        None
                    }
                    Err(finding) => Some(finding),
                },
                Err(finding) => Some(finding),
            };
            findings.push(finding);
        }
        for batch in batches(jobs, self.tables.candidates_per_batch) {
            for (claim, finding) in self.trained(base, claims, &batch)? {
                findings[claim] = Some(finding);
            }
        }
        Ok(findings.into_iter().flatten().collect())
    }

    /// Findings of a batch of one recipe, by the number of the claim.
    fn trained(
        &self,
        base: &MeasuredBase<'_>,
        claims: &[Claim<'_, Adapter>],
        batch: &[Job],
    ) -> Result<Vec<(usize, Recomputed)>, MeasureError> {
        let finding = |(job, came): (&Job, Came)| {
            let finding = match came {
                Came::Outcome(outcome) => compared(base, &claims[job.claim], job, outcome)?,
                Came::Untrainable => Recomputed::refused(EDIT, None),
            };
            Ok((job.claim, finding))
        };
        match self.together(base, batch) {
            Ok(trained) => batch.iter().zip(trained).map(finding).collect(),
            // Nothing is known of those; the ones that were trained before keep their findings.
            Err(MeasureError::OutOfTime) => {
                Ok(batch.iter().map(|job| (job.claim, Recomputed::out_of_time())).collect())
            }
            Err(error) => Err(error),
        }
    }

    /// Trains a batch of one recipe over one base; what came of each, in order.
    ///
    /// # Errors
    /// The model failed as a whole, or the time of the audit is over.
    fn together<T: Wanted>(
        &self,
        base: &MeasuredBase<'_>,
        batch: &[T],
    ) -> Result<Vec<Came>, MeasureError> {
        let Some(first) = batch.first() else { return Ok(Vec::new()) };
        let job = |one: &T| {
            let sequences = one.planned().sequences.clone();
            InnerJob { sequences, seed: one.seed(), start: None }
        };
        let jobs: Vec<InnerJob> = batch.iter().map(job).collect();
        let options = TrainOptions {
            gradient_checkpointing: self.tables.gradient_checkpointing,
            saves: None,
        };
        let recipe = first.planned().recipe.engine();
        // What the earlier steps of a sequence learned lies in the weights while the next one learns.
        let over = match first.over() {
            None => base.decoder.clone(),
            Some(head) => base.decoder.merged(head).map_err(failed)?,
        };
        match inner_updates_with(&over, &jobs, &recipe, &options, &mut |_, _| {}) {
            Ok(outcomes) => Ok(outcomes.into_iter().map(Came::Outcome).collect()),
            // One that cannot be trained at all must not decide about the others.
            Err(error) if is_the_claims(&error) => match batch {
                [_] => Ok(vec![Came::Untrainable]),
                many => {
                    let mut all = Vec::new();
                    for one in many {
                        all.extend(self.together(base, std::slice::from_ref(one))?);
                    }
                    Ok(all)
                }
            },
            Err(TrainError::Model(ModelError::OutOfTime)) => Err(MeasureError::OutOfTime),
            Err(error) => Err(MeasureError::Failed(error.to_string())),
        }
    }
}

/// What came of one training.
enum Came {
    /// An adapter, or numbers that are none.
    Outcome(Outcome),
    /// Its edit cannot be trained on.
    Untrainable,
}

/// The adapter that came of it beside the one that was handed in.
fn compared(
    base: &MeasuredBase<'_>,
    claim: &Claim<'_, Adapter>,
    job: &Job,
    outcome: Outcome,
) -> Result<Recomputed, MeasureError> {
    let Ok(trained) = outcome else { return Ok(Recomputed::refused(DIVERGED, None)) };
    let whole = match &job.step {
        None => trained.adapter,
        Some(step) => step.head.stacked(base.decoder.config(), &trained.adapter).map_err(failed)?,
    };
    if !same_settings(whole.spec(), claim.adapter.spec()) {
        return Ok(Recomputed::refused(SETTINGS, None));
    }
    let digest = tensors_digest(base, &whole)?;
    if job.method == Method::Digest && Some(digest) == claim.candidate.adapter_digest() {
        return Ok(Recomputed::equal());
    }
    // Of a stack, only what the step adds was trained here.
    let (ours, theirs) = match &job.step {
        None => (whole, claim.adapter),
        Some(step) => {
            let config = base.decoder.config();
            (whole.split_at(config, step.head.spec().r).map_err(failed)?.1, &step.tail)
        }
    };
    let start = Adapter::init(base.decoder.config(), ours.spec(), claim.candidate.seed);
    let far = distance(&start.map_err(failed)?, &ours, theirs).map_err(failed)?;
    Ok(match (job.method, far) {
        (Method::Tolerance(tolerance), Some(far)) if far <= tolerance => Recomputed::within(far),
        _ => Recomputed::refused(DIFFERS, far),
    })
}

fn failed(error: ModelError) -> MeasureError {
    error.into()
}

/// Only the tensors are compared, and they name the base by its digest alone.
fn tensors_digest(base: &MeasuredBase<'_>, adapter: &Adapter) -> Result<Digest, MeasureError> {
    let named = BaseModel { name: "", revision: None, digest: base.digest.as_bytes() };
    let (_, tensors) = adapter.to_peft_bytes(named).map_err(failed)?;
    Ok(sha256(&tensors))
}

/// The fault of a claim, not of the machine.
fn is_the_claims(error: &TrainError) -> bool {
    match error {
        TrainError::Recipe { .. }
        | TrainError::Sequence { .. }
        | TrainError::Untrained { .. }
        | TrainError::EndUnlearned { .. }
        | TrainError::NothingToTrain { .. } => true,
        TrainError::Diverged(_) | TrainError::Save(_) | TrainError::Model(_) => false,
    }
}

/// Those of one recipe over one base together, at most `size` of them.
fn batches<T: Wanted>(all: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    for one in all {
        let fits = |batch: &&mut Vec<T>| {
            let first = &batch[0];
            let over_one_base = first.over().is_none() && one.over().is_none();
            let alike = first.planned().recipe_digest == one.planned().recipe_digest;
            batch.len() < size && over_one_base && alike
        };
        match batches.iter_mut().find(fits) {
            Some(batch) => batch.push(one),
            None => batches.push(vec![one]),
        }
    }
    batches
}

#[cfg(test)]
mod tests;
