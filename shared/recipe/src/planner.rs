//! One adapter's training, planned.

use seal_model::chat::ChatSettings;
use seal_protocol::{Digest, SelfEdit};
use seal_training::TrainSequence;
use seal_trust::CanonicalError;

use crate::consolidation::{ConsolidationConfig, Size};
use crate::directives::{DirectiveError, DirectiveLimits};
use crate::replay::{ReplaySource, draw, replay_seed};
use crate::sequences::{LINES, SequenceError, Sequencer};
use crate::update::UpdateRecipe;

/// Everything beside edits and seed that fixes what is trained.
#[derive(Clone, Copy)]
pub struct Planner<'a> {
    /// Of the base model.
    pub sequencer: Sequencer<'a>,
    /// The update that turns one edit into an adapter.
    pub inner_update: &'a UpdateRecipe,
    /// The update that turns all accepted edits into one adapter.
    pub consolidation: &'a ConsolidationConfig,
    /// How far an edit may move the inner update.
    pub directives: &'a DirectiveLimits,
    /// Replay of the inner update.
    pub inner_replay: &'a [ReplaySource],
    /// Replay of the consolidation.
    pub consolidation_replay: &'a [ReplaySource],
    /// As it enters the recipe's digest.
    pub chat: Option<&'a ChatSettings>,
}

/// What a trainer is given, beside base and seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// The recipe, directives within their limits and passes counted as steps.
    pub recipe: UpdateRecipe,
    /// Names it.
    pub recipe_digest: Digest,
    /// What is trained on, replay among it.
    pub sequences: Vec<TrainSequence>,
}

/// An adapter that nobody trains.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is no edit.
    #[error("there is no edit to train on")]
    NoEdit,
    /// A directive that is not followed.
    #[error(transparent)]
    Directive(#[from] DirectiveError),
    /// An edit that cannot be trained on.
    #[error("edit {}: {source}", .edit.short())]
    Edit {
        /// Which.
        edit: Digest,
        /// Why.
        source: SequenceError,
    },
    /// A replay line that cannot be trained on: the fault of whoever wrote the config.
    #[error("replay line `{line}`: {source}")]
    Replay {
        /// The line.
        line: String,
        /// Why.
        source: SequenceError,
    },
    /// A recipe that has no digest.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

impl PlanError {
    /// Why the edit is not trained on, if it is the edit's fault.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Directive(error) => Some(error.to_string()),
            Self::Edit { source, .. } => Some(source.to_string()),
            Self::NoEdit | Self::Replay { .. } | Self::Canonical(_) => None,
        }
    }
}

impl Planner<'_> {
    /// The inner update of one edit.
    ///
    /// # Errors
    /// A directive beyond the limits, an edit or replay line that cannot be trained on.
    pub fn inner_update(
        &self,
        digest: Digest,
        edit: &SelfEdit,
        seed: u64,
    ) -> Result<Planned, PlanError> {
        let recipe = self.directives.resolve(self.inner_update, &edit.directives)?;
        let replay = self.replay(self.inner_replay, seed)?;
        let learned = self.sequences(digest, edit)?;
        let sequences = recipe.mix(learned, &replay);
        let recipe = recipe.sized(sequences.len());
        Ok(Planned {
            recipe_digest: recipe.digest(self.inner_replay, self.chat)?,
            recipe,
            sequences,
        })
    }

    /// One adapter from many edits, in the order of their digests.
    ///
    /// # Errors
    /// No edit; an edit or replay line that cannot be trained on.
    pub fn consolidation(
        &self,
        edits: &[(Digest, &SelfEdit)],
        seed: u64,
    ) -> Result<Planned, PlanError> {
        let replay = self.replay(self.consolidation_replay, seed)?;
        let learned = self.merged(edits)?;
        let recipe = self.consolidation.recipe(Size {
            edits: edits.len(),
            edit_lines: learned.iter().filter(|sequence| sequence.part == LINES).count(),
            replay_lines: replay.len(),
        });
        let sequences = recipe.mix(learned, &replay);
        Ok(Planned {
            recipe_digest: recipe.digest(self.consolidation_replay, self.chat)?,
            recipe,
            sequences,
        })
    }

    /// One adapter from many edits by the recipe of the inner update: continued pre-training. It
    /// follows no directives, for they were meant for one edit each. A single edit is its inner update.
    ///
    /// # Errors
    /// As [`Planner::consolidation`].
    pub fn joint(&self, edits: &[(Digest, &SelfEdit)], seed: u64) -> Result<Planned, PlanError> {
        if let [(digest, edit)] = edits {
            return self.inner_update(*digest, edit, seed);
        }
        let replay = self.replay(self.inner_replay, seed)?;
        let sequences = self.inner_update.mix(self.merged(edits)?, &replay);
        let recipe = self.inner_update.clone().sized(sequences.len());
        Ok(Planned {
            recipe_digest: recipe.digest(self.inner_replay, self.chat)?,
            recipe,
            sequences,
        })
    }

    /// Every edit's sequences as one edit, so that what several of them say is trained once.
    fn merged(&self, edits: &[(Digest, &SelfEdit)]) -> Result<Vec<TrainSequence>, PlanError> {
        let (digest, first) = *edits.first().ok_or(PlanError::NoEdit)?;
        for (digest, edit) in edits {
            self.sequences(*digest, edit)?;
        }
        let examples = edits.iter().flat_map(|(_, edit)| edit.examples.clone()).collect();
        self.sequences(digest, &SelfEdit { examples, ..first.clone() })
    }

    fn sequences(&self, digest: Digest, edit: &SelfEdit) -> Result<Vec<TrainSequence>, PlanError> {
        self.sequencer.edit(edit).map_err(|source| PlanError::Edit { edit: digest, source })
    }

    /// The replay lines that belong to a seed, as sequences.
    fn replay(&self, sources: &[ReplaySource], seed: u64) -> Result<Vec<TrainSequence>, PlanError> {
        let sequence = |line: &str| {
            let line_of = |source| PlanError::Replay { line: line.to_owned(), source };
            self.sequencer.replay(line).map_err(line_of)
        };
        draw(sources, replay_seed(seed)).into_iter().map(sequence).collect()
    }
}
