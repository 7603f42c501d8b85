//! SFT of a policy on accepted edits: of all its weights, or of an adapter over them.
//!
//! **Invariant:** the same lessons lead to the same policy; a long update goes on from where it was
//! last saved.
//!
//! Source: arXiv:2506.10943, section 3.1. Differences: all weights are trained where the config names no
//! adapter, directives weigh more, and replay lines keep the policy's other abilities. An adapter is
//! stacked on those of earlier updates, where the authors merge it into rounded weights.

use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::path::PathBuf;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use seal_model::{Adapter, Decoder, LoraSpec};
use seal_protocol::Digest;
use seal_recipe::{ResolvedQuota, resolved};
use seal_service::store::sync_folder;
use seal_training::{
    InnerJob, InnerRecipe, OptimRecipe, SaveError, Saves, TrainError, TrainOptions, TrainSequence,
    fine_tune_with, inner_updates_with,
};
use seal_trust::digest_of;
use serde::Serialize;

use crate::batches::{batches, replay_lines};
use crate::config::PolicyUpdateSettings;
use crate::edits::unwritable;
use crate::error::TeacherError;
use crate::policy_update::{Learned, Lesson};
use crate::teacher::{Report, Teacher};

/// The recipe as it is hashed.
#[derive(Serialize)]
struct Recipe<'a> {
    version: u32,
    loss: &'a str,
    optimizer: &'a OptimRecipe,
    batch: usize,
    epochs: usize,
    directive_weight: f32,
    replay: Vec<ResolvedQuota>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lora: Option<&'a LoraSpec>,
}

const LOSS: &str = "mean over reply tokens + mean over replay tokens";

impl Teacher {
    /// Trains a policy on lessons and stores what came of it. `request` names the update.
    pub(crate) fn train(
        &mut self,
        request: Digest,
        parent: Digest,
        lessons: &[Lesson],
        seed: u64,
        report: Report<'_>,
    ) -> Result<Learned, TeacherError> {
        let decoder = self.trainable()?.get(parent)?;
        let recipe_digest = self.policy_recipe_digest()?;
        let identity = [request, parent, recipe_digest].map(|digest| *digest.as_bytes()).concat();
        let policy_digest = match self.update_settings()?.adapter_recipe(lessons.len()) {
            None => {
                let trained = self.fine_tune(&decoder, lessons, seed, &identity, report)?;
                self.trainable()?.put(&trained)?
            }
            Some(recipe) => {
                let job = self.adapter_job(lessons, seed)?;
                let adapter = self.adapt(&decoder, &job, &recipe, &identity, report)?;
                self.trainable()?.put_adapter(parent, &adapter)?
            }
        };
        Ok(Learned { policy_digest, recipe_digest })
    }

    /// The lessons, and for each step of a pass as many replay lines as the config asks for.
    fn adapter_job(&self, lessons: &[Lesson], seed: u64) -> Result<InnerJob, TeacherError> {
        let settings = self.update_settings()?;
        let mut sequences = self.lesson_rows(lessons, settings.directive_weight)?;
        let steps = lessons.len().div_ceil(settings.batch.max(1));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1);
        for (lines, quota) in self.replay_rows()? {
            let drawn = replay_lines(lines.len(), quota.saturating_mul(steps), &mut rng);
            sequences.extend(drawn.into_iter().map(|line| lines[line].clone()));
        }
        Ok(InnerJob { sequences, seed, start: None })
    }

    fn adapt(
        &self,
        parent: &Decoder,
        job: &InnerJob,
        recipe: &InnerRecipe,
        identity: &[u8],
        report: Report<'_>,
    ) -> Result<Adapter, TeacherError> {
        let (settings, unfinished) = (self.update_settings()?, self.unfinished());
        let options = options(settings, identity, &unfinished);
        let jobs = std::slice::from_ref(job);
        let trained = inner_updates_with(parent, jobs, recipe, &options, report)?;
        let adapters: Vec<Adapter> = trained
            .into_iter()
            .map(|outcome| outcome.map(|trained| trained.adapter).map_err(TrainError::from))
            .collect::<Result<_, _>>()?;
        adapters.into_iter().next().ok_or(TeacherError::NoWeights)
    }

    fn fine_tune(
        &self,
        parent: &Decoder,
        lessons: &[Lesson],
        seed: u64,
        identity: &[u8],
        report: Report<'_>,
    ) -> Result<Decoder, TeacherError> {
        let settings = self.update_settings()?;
        let learned = self.lesson_rows(lessons, settings.directive_weight)?;
        let steps = batches(learned.len(), settings.batch, settings.epochs, seed);
        let replay = self.replay_rows()?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(1);
        let mut next = |step: u64| {
            let rows = usize::try_from(step).ok().and_then(|step| steps.get(step));
            let rows = rows.into_iter().flatten().map(|row| learned[*row].clone());
            let kept = replay.iter().flat_map(|(lines, quota)| {
                let drawn = replay_lines(lines.len(), *quota, &mut rng);
                drawn.into_iter().map(|line| lines[line].clone()).collect::<Vec<_>>()
            });
            rows.chain(kept).collect()
        };
        let (optimizer, unfinished) = (settings.optimizer(), self.unfinished());
        let options = options(settings, identity, &unfinished);
        let count = steps.len() as u64;
        let (trained, _) = fine_tune_with(parent, &mut next, &optimizer, count, &options, report)?;
        Ok(trained)
    }

    fn lesson_rows(
        &self,
        lessons: &[Lesson],
        directive_weight: f32,
    ) -> Result<Vec<TrainSequence>, TeacherError> {
        let row = |lesson: &Lesson| {
            let context = self.context(&lesson.context_digest)?;
            self.asking.lesson(context, &lesson.reply.tokens, directive_weight)
        };
        lessons.iter().map(row).collect()
    }

    /// Every replay file's rows with the number drawn from it in each step.
    fn replay_rows(&self) -> Result<Vec<(Vec<TrainSequence>, usize)>, TeacherError> {
        let row = |line: &String| self.asking.replay(line);
        let rows = |lines: &[String]| lines.iter().map(row).collect::<Result<_, TeacherError>>();
        self.replay.iter().map(|file| Ok((rows(&file.lines)?, file.quota))).collect()
    }

    fn policy_recipe_digest(&self) -> Result<Digest, TeacherError> {
        let settings = self.update_settings()?;
        Ok(digest_of(&Recipe {
            version: 1,
            loss: LOSS,
            optimizer: &settings.optimizer(),
            batch: settings.batch,
            epochs: settings.epochs,
            directive_weight: settings.directive_weight,
            replay: resolved(&self.replay),
            lora: settings.lora.as_ref(),
        })?)
    }

    fn update_settings(&self) -> Result<&PolicyUpdateSettings, TeacherError> {
        self.config.policy_update.as_ref().ok_or(TeacherError::NoWeights)
    }

    /// The file of an update that was not finished. One is under way at a time.
    fn unfinished(&self) -> PathBuf {
        self.config.state.join("unfinished-policy.safetensors")
    }

    pub(crate) fn clear_unfinished(&self) -> Result<(), TeacherError> {
        let file = self.unfinished();
        let removed = match std::fs::remove_file(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        };
        let for_good = removed.and_then(|()| sync_folder(&self.config.state));
        for_good.map_err(|error| unwritable(&file, error))
    }
}

fn options<'a>(
    settings: &PolicyUpdateSettings,
    identity: &'a [u8],
    unfinished: &'a PathBuf,
) -> TrainOptions<'a> {
    TrainOptions {
        gradient_checkpointing: settings.gradient_checkpointing,
        saves: NonZeroU64::new(settings.save_steps).map(|every_steps| Saves {
            every_steps,
            identity,
            files: std::slice::from_ref(unfinished),
            unusable: &|error: &SaveError| tracing::warn!("{error}"),
        }),
    }
}
