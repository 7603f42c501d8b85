//! Training many candidates side by side, each kept as soon as it is done.
//!
//! **Invariant:** an adapter is stored before it is remembered, and a long update is saved on its
//! way, so a crash costs at most `save_steps` optimizer steps of one batch and a resumed job names
//! the same files.
//! **Invariant:** a candidate that diverges ends alone; the others of its batch are what they would
//! have been without it.

use seal_model::fit::{Work, require_beside};
use seal_model::{Adapter, Decoder};
use seal_protocol::{ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, AdapterFile, Candidate, Digest};
use seal_recipe::{Planned, UpdateRecipe};
use seal_service::store::sync_folder;
use seal_training::{
    Diverged, InnerJob, InnerRecipe, SaveError, Saves, TrainOptions, TrainSequence,
    inner_updates_with,
};
use seal_trust::digest_of;
use std::num::NonZeroU64;
use std::path::PathBuf;

use crate::error::StudentError;
use crate::student::{Report, Student, unwritable};

/// One adapter to be trained.
pub(crate) struct Task {
    /// Contexts it will claim, sorted.
    pub(crate) contexts: Vec<Digest>,
    /// Edits it learns from, sorted.
    pub(crate) edits: Vec<Digest>,
    pub(crate) recipe: UpdateRecipe,
    pub(crate) recipe_digest: Digest,
    pub(crate) seed: u64,
    pub(crate) sequences: Vec<TrainSequence>,
    /// What was learned before and stays; absent: nothing but the base.
    pub(crate) parent: Option<Parent>,
}

/// An adapter that another one is stacked on.
pub(crate) struct Parent {
    /// Names its tensors.
    pub(crate) digest: Digest,
    pub(crate) adapter: Adapter,
}

impl Task {
    /// A planned adapter of these edits.
    pub(crate) fn new(
        contexts: Vec<Digest>,
        edits: Vec<Digest>,
        seed: u64,
        planned: Planned,
    ) -> Self {
        let Planned { recipe, recipe_digest, sequences } = planned;
        Self { contexts, edits, recipe, recipe_digest, seed, sequences, parent: None }
    }

    /// The same on top of what was learned before.
    #[must_use]
    pub(crate) fn on(self, parent: Option<Parent>) -> Self {
        Self { parent, ..self }
    }
}

/// The files of one task's adapter, unless its training led nowhere.
pub(crate) type Files = Result<Vec<AdapterFile>, Diverged>;

impl Student {
    /// Trains what was not trained before; returns what became of every task, in order. Each task is
    /// reported as `units` of work.
    pub(crate) fn train(
        &self,
        tasks: &[Task],
        units: u64,
        report: Report<'_>,
    ) -> Result<Vec<Files>, StudentError> {
        let mut files: Vec<Option<Files>> =
            self.trained_before(tasks)?.into_iter().map(|files| files.map(Ok)).collect();
        let mut done = files.iter().flatten().count();
        let total = tasks.len() as u64 * units;
        for batch in batches(tasks, &files, self.config.candidates_per_batch) {
            let mut inside = |steps: u64, of: u64| {
                let share = steps * batch.len() as u64 * units / of.max(1);
                report(done as u64 * units + share, total);
            };
            let trained = self.train_batch(tasks, &batch, &mut inside)?;
            done += batch.len();
            for (index, outcome) in batch.into_iter().zip(trained) {
                let outcome = outcome.map_err(|diverged| Diverged { candidate: index, ..diverged });
                if let Err(diverged) = &outcome {
                    let edits = &tasks[index].edits;
                    tracing::warn!(edit.ids = ?edits, "no adapter came of an update: {diverged}");
                }
                files[index] = Some(outcome);
            }
        }
        report(total, total);
        Ok(files.into_iter().flatten().collect())
    }

    fn trained_before(
        &self,
        tasks: &[Task],
    ) -> Result<Vec<Option<Vec<AdapterFile>>>, StudentError> {
        let known = |task: &Task| {
            let files = self.state.trained(&self.key_of(task)?)?;
            let is_there = |file: &AdapterFile| self.adapters.contains(&file.sha256);
            Ok(files.filter(|files| files.iter().all(is_there)))
        };
        tasks.iter().map(known).collect()
    }

    fn train_batch(
        &self,
        tasks: &[Task],
        batch: &[usize],
        report: Report<'_>,
    ) -> Result<Vec<Files>, StudentError> {
        let job = |index: &usize| InnerJob {
            sequences: tasks[*index].sequences.clone(),
            seed: tasks[*index].seed,
            start: None,
        };
        let jobs: Vec<InnerJob> = batch.iter().map(job).collect();
        let recipe = tasks[batch[0]].recipe.engine();
        let keys = batch.iter().map(|index| self.key_of(&tasks[*index]));
        let keys: Vec<Digest> = keys.collect::<Result<_, _>>()?;
        let unfinished: Vec<PathBuf> =
            keys.iter().map(|key| self.unfinished().join(format!("{key}.safetensors"))).collect();
        let options = TrainOptions {
            gradient_checkpointing: self.config.gradient_checkpointing,
            saves: NonZeroU64::new(self.config.save_steps).map(|every_steps| Saves {
                every_steps,
                identity: self.base_digest.as_bytes(),
                files: &unfinished,
                unusable: &|error: &SaveError| tracing::warn!("{error}"),
            }),
        };
        let parent = tasks[batch[0]].parent.as_ref();
        let base = match parent {
            None => self.base.clone(),
            Some(parent) => self.with_merged(&parent.adapter, &jobs, &recipe)?,
        };
        let trained = inner_updates_with(&base, &jobs, &recipe, &options, report)?;
        let whole = |adapter: Adapter| match parent {
            None => Ok(adapter),
            Some(parent) => parent.adapter.stacked(self.base.config(), &adapter),
        };
        let stored: Vec<Files> = trained
            .into_iter()
            .map(|outcome| match outcome {
                Ok(trained) => self.store(&whole(trained.adapter)?).map(Ok),
                Err(diverged) => Ok(Err(diverged)),
            })
            .collect::<Result<_, _>>()?;
        let done = keys.into_iter().zip(&stored);
        let remembered: Vec<(Digest, Vec<AdapterFile>)> =
            done.filter_map(|(key, files)| Some((key, files.as_ref().ok()?.clone()))).collect();
        self.state.remember_trained(&remembered)?;
        self.clear_unfinished()?;
        Ok(stored)
    }

    /// The base with an adapter in its weights, if there is room for a copy of what it adapts and for
    /// what is to be trained on it.
    fn with_merged(
        &self,
        adapter: &Adapter,
        jobs: &[InnerJob],
        recipe: &InnerRecipe,
    ) -> Result<Decoder, StudentError> {
        let step_tokens = jobs.iter().map(|job| most_in_a_step(job, recipe)).max().unwrap_or(0);
        let (lora, checkpointing) = (recipe.lora.clone(), self.config.gradient_checkpointing);
        let work = Work::InnerUpdate { candidates: jobs.len(), step_tokens, lora, checkpointing };
        let work = Work::Merged { lora: adapter.spec().clone(), work: Box::new(work) };
        require_beside(&self.base, &self.config.base_model, &work)?;
        Ok(self.base.merged(adapter)?)
    }

    /// Folder of updates that were not finished.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.config.state.join("unfinished")
    }

    /// Forgets what is unfinished once a batch is done. One batch is under way at a time, so all
    /// that is there was its own, or that of a job whose recipe has changed since.
    fn clear_unfinished(&self) -> Result<(), StudentError> {
        let folder = self.unfinished();
        let failed = |source| unwritable(&folder, source);
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            std::fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
        }
        sync_folder(&folder).map_err(failed)
    }

    /// Stores an adapter's two files by content.
    fn store(&self, adapter: &Adapter) -> Result<Vec<AdapterFile>, StudentError> {
        let (config, model) = adapter.to_peft_bytes(self.base_model())?;
        [(ADAPTER_CONFIG_FILE, config), (ADAPTER_MODEL_FILE, model)]
            .into_iter()
            .map(|(name, bytes)| {
                let stored = self.adapters.put(&bytes);
                Ok(AdapterFile {
                    name: name.to_owned(),
                    sha256: stored.map_err(|source| unwritable(&self.config.state, source))?,
                    size_bytes: bytes.len() as u64,
                })
            })
            .collect()
    }

    /// Everything that fixes an adapter's bytes, hashed.
    fn key_of(&self, task: &Task) -> Result<Digest, StudentError> {
        Ok(digest_of(&self.candidate(task, Vec::new()))?)
    }

    pub(crate) fn candidate(&self, task: &Task, files: Vec<AdapterFile>) -> Candidate {
        Candidate {
            context_digests: task.contexts.clone(),
            edit_digests: task.edits.clone(),
            base_model_digest: self.base_digest,
            tokenizer_digest: self.tokenizer_digest,
            parent_adapter_digest: task.parent.as_ref().map(|parent| parent.digest),
            recipe_digest: task.recipe_digest,
            seed: task.seed,
            instruction_set: self.base.arithmetic(),
            files,
        }
    }
}

/// Numbers of the tasks still to be done, in batches of one recipe each. What stands on an adapter of
/// its own is trained alone.
fn batches<T>(tasks: &[Task], done: &[Option<T>], size: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for index in (0..tasks.len()).filter(|index| done[*index].is_none()) {
        let recipe = tasks[index].recipe_digest;
        let alone = tasks[index].parent.is_some();
        let fits = |batch: &&mut Vec<usize>| {
            let first = &tasks[batch[0]];
            let together = !alone && first.parent.is_none() && first.recipe_digest == recipe;
            batch.len() < size && together
        };
        match batches.iter_mut().find(fits) {
            Some(batch) => batch.push(index),
            None => batches.push(vec![index]),
        }
    }
    batches
}

/// Tokens of a job's longest step.
fn most_in_a_step(job: &InnerJob, recipe: &InnerRecipe) -> usize {
    let mut lengths: Vec<usize> = job.sequences.iter().map(|one| one.tokens.len()).collect();
    lengths.sort_unstable_by(|a, b| b.cmp(a));
    lengths.iter().take(recipe.sequences_per_step.unwrap_or(usize::MAX)).sum()
}
