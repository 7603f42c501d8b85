//! Further runs of edits: trained by the auditor's own tables, handed to nobody.

use seal_model::Adapter;
use seal_recipe::Planned;

use super::plan::is_the_edits;
use super::{Came, Trainer, Wanted, batches};
use crate::measure::MeasureError;
use crate::recompute::{Lesson, MeasuredBase};

/// A planned lesson.
struct Run {
    /// Number of the lesson.
    lesson: usize,
    planned: Planned,
    seed: u64,
}

impl Wanted for Run {
    fn planned(&self) -> &Planned {
        &self.planned
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    /// An edit that could win continues nothing.
    fn over(&self) -> Option<&Adapter> {
        None
    }
}

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
        let planner = self.planner(base);
        let mut runs = Vec::new();
        for (number, lesson) in lessons.iter().enumerate() {
            match planner.inner_update(lesson.digest, lesson.edit, lesson.seed) {
                Ok(planned) => runs.push(Run { lesson: number, planned, seed: lesson.seed }),
                Err(error) if is_the_edits(&error) => {}
                Err(error) => return Err(MeasureError::Failed(error.to_string())),
            }
        }
        let mut trained: Vec<Option<Adapter>> = lessons.iter().map(|_| None).collect();
        for batch in batches(runs, self.tables.candidates_per_batch) {
            let all = self.together(base, &batch)?;
            for (run, came) in batch.iter().zip(all) {
                if let Came::Outcome(Ok(one)) = came {
                    trained[run.lesson] = Some(one.adapter);
                }
            }
        }
        Ok(trained)
    }
}
