//! Training many candidates side by side, each kept as soon as it is done.
//!
//! **Invariant:** an adapter is stored before it is remembered, so a crash costs at most one batch
//! and a resumed job names the same files.

use seal_model::Adapter;
use seal_protocol::{ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, AdapterFile, Candidate, Digest};
use seal_training::{InnerJob, TrainSequence, inner_updates};
use seal_trust::digest_of;

use crate::error::StudentError;
use crate::recipe::UpdateRecipe;
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
}

impl Student {
    /// Trains what was not trained before; returns the files of every task, in order.
    pub(crate) fn train(
        &self,
        tasks: &[Task],
        report: Report<'_>,
    ) -> Result<Vec<Vec<AdapterFile>>, StudentError> {
        let mut files = self.trained_before(tasks)?;
        let mut done = files.iter().flatten().count();
        for batch in batches(tasks, &files, self.config.candidates_per_batch) {
            let total = tasks.len() as u64;
            let mut inside = |units: u64, of: u64| {
                let share = units * batch.len() as u64 / of.max(1);
                report(done as u64 + share, total);
            };
            let trained = self.train_batch(tasks, &batch, &mut inside)?;
            done += batch.len();
            for (index, adapter) in batch.into_iter().zip(trained) {
                files[index] = Some(adapter);
            }
        }
        report(tasks.len() as u64, tasks.len() as u64);
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
    ) -> Result<Vec<Vec<AdapterFile>>, StudentError> {
        let job = |index: &usize| InnerJob {
            sequences: tasks[*index].sequences.clone(),
            seed: tasks[*index].seed,
            start: None,
        };
        let jobs: Vec<InnerJob> = batch.iter().map(job).collect();
        let recipe = tasks[batch[0]].recipe.engine();
        let trained = inner_updates(&self.base, &jobs, &recipe, report)?;
        let stored: Vec<Vec<AdapterFile>> =
            trained.iter().map(|one| self.store(&one.adapter)).collect::<Result<_, _>>()?;
        let remembered = batch
            .iter()
            .zip(&stored)
            .map(|(index, files)| Ok((self.key_of(&tasks[*index])?, files.clone())))
            .collect::<Result<Vec<_>, StudentError>>()?;
        self.state.remember_trained(&remembered)?;
        Ok(stored)
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
            parent_adapter_digest: None,
            recipe_digest: task.recipe_digest,
            seed: task.seed,
            instruction_set: self.base.arithmetic(),
            files,
        }
    }
}

/// Numbers of the tasks still to be done, in batches of one recipe each.
fn batches<T>(tasks: &[Task], done: &[Option<T>], size: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for index in (0..tasks.len()).filter(|index| done[*index].is_none()) {
        let recipe = tasks[index].recipe_digest;
        let fits =
            |batch: &&mut Vec<usize>| batch.len() < size && tasks[batch[0]].recipe_digest == recipe;
        match batches.iter_mut().find(fits) {
            Some(batch) => batch.push(index),
            None => batches.push(vec![index]),
        }
    }
    batches
}
