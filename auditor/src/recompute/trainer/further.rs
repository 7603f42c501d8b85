//! Further runs of edits: trained by the auditor's own tables, handed to nobody.

use seal_model::{Adapter, ModelError};
use seal_recipe::Planned;
use seal_training::{InnerJob, TrainError, TrainOptions, inner_updates_with};

use super::plan::is_the_edits;
use super::{Trainer, is_the_claims};
use crate::measure::MeasureError;
use crate::recompute::{Lesson, MeasuredBase};

/// A planned lesson with its number.
type Numbered = (usize, Planned);

impl Trainer {
    /// What each lesson comes to, in order; nothing where by these tables nobody would train on its edit,
    /// or where training leads nowhere.
    ///
    /// # Errors
    /// The model failed as a whole, or the time of the audit is over.
    pub(crate) fn train(
        &self,
        base: &MeasuredBase<'_>,
        lessons: &[Lesson<'_>],
    ) -> Result<Vec<Option<Adapter>>, MeasureError> {
        let mut batches: Vec<Vec<Numbered>> = Vec::new();
        for (number, lesson) in lessons.iter().enumerate() {
            let planner = self.planner(base);
            let planned = match planner.inner_update(lesson.digest, lesson.edit, lesson.seed) {
                Ok(planned) => planned,
                Err(error) if is_the_edits(&error) => continue,
                Err(error) => return Err(MeasureError::Failed(error.to_string())),
            };
            let fits = |batch: &&mut Vec<Numbered>| {
                batch.len() < self.tables.candidates_per_batch
                    && batch[0].1.recipe_digest == planned.recipe_digest
            };
            match batches.iter_mut().find(fits) {
                Some(batch) => batch.push((number, planned)),
                None => batches.push(vec![(number, planned)]),
            }
        }
        let mut trained: Vec<Option<Adapter>> = lessons.iter().map(|_| None).collect();
        for batch in &batches {
            for (number, adapter) in self.taught(base, lessons, batch)? {
                trained[number] = Some(adapter);
            }
        }
        Ok(trained)
    }

    /// The adapters of a batch of one recipe, by number.
    fn taught(
        &self,
        base: &MeasuredBase<'_>,
        lessons: &[Lesson<'_>],
        batch: &[Numbered],
    ) -> Result<Vec<(usize, Adapter)>, MeasureError> {
        let Some((_, first)) = batch.first() else { return Ok(Vec::new()) };
        let job = |(number, planned): &Numbered| InnerJob {
            sequences: planned.sequences.clone(),
            seed: lessons[*number].seed,
            start: None,
        };
        let jobs: Vec<InnerJob> = batch.iter().map(job).collect();
        let options = TrainOptions {
            gradient_checkpointing: self.tables.gradient_checkpointing,
            saves: None,
        };
        let recipe = first.recipe.engine();
        match inner_updates_with(base.decoder, &jobs, &recipe, &options, &mut |_, _| {}) {
            Ok(outcomes) => {
                let each = batch.iter().zip(outcomes);
                let led_somewhere = each.filter_map(|((number, _), outcome)| {
                    outcome.ok().map(|trained| (*number, trained.adapter))
                });
                Ok(led_somewhere.collect())
            }
            // One that cannot be trained at all must not decide about the others.
            Err(error) if is_the_claims(&error) => match batch {
                [_] => Ok(Vec::new()),
                many => {
                    let alone = many.iter().map(std::slice::from_ref);
                    let each = alone.map(|one| self.taught(base, lessons, one));
                    Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
                }
            },
            Err(TrainError::Model(ModelError::OutOfTime)) => Err(MeasureError::OutOfTime),
            Err(error) => Err(MeasureError::Failed(error.to_string())),
        }
    }
}
