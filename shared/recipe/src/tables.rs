//! The tables of `student.toml` that fix what an edit becomes.

use std::path::{Path, PathBuf};

use seal_model::chat::ChatSettings;
use seal_model::fit::Work;
use seal_protocol::Digest;
use seal_training::TrainError;
use seal_trust::{CanonicalError, digest_of};
use serde::{Deserialize, Serialize};

use crate::consolidation::{ConsolidationConfig, Size};
use crate::directives::DirectiveLimits;
use crate::replay::{ReplaySource, ResolvedQuota, resolved};
use crate::update::UpdateRecipe;

/// What a reader of `student.toml` needs who is not the student. Keys that fix no adapter are the
/// student's own and are skipped; within these tables an unknown key is an error.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct UpdateTables {
    /// Candidates that train side by side; bounds memory, changes no result.
    pub candidates_per_batch: usize,
    /// Less memory, more time, the same adapters.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Longest training sequence; an edit with a longer one is refused.
    pub max_sequence_tokens: usize,
    /// The update that turns one edit into an adapter.
    pub inner_update: UpdateRecipe,
    /// The update that turns all accepted edits into one adapter.
    pub consolidation: ConsolidationConfig,
    /// How far an edit may move the inner update.
    pub directives: DirectiveLimits,
    /// The base model's chat format, if edits are written in that.
    #[serde(default)]
    pub chat: Option<ChatSettings>,
}

impl UpdateTables {
    /// Takes relative paths from `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        let quotas = self.inner_update.replay.iter_mut().chain(&mut self.consolidation.replay);
        quotas.for_each(|quota| quota.file = folder.join(&quota.file));
    }

    /// Every replay file.
    pub fn replay_files(&self) -> Vec<PathBuf> {
        let quotas = self.inner_update.replay.iter().chain(&self.consolidation.replay);
        quotas.map(|quota| quota.file.clone()).collect()
    }

    /// Refuses recipes that no run can have.
    ///
    /// # Errors
    /// The table, and the first field of it that is wrong.
    pub fn check(&self) -> Result<(), (&'static str, TrainError)> {
        let named = |section| move |error| (section, error);
        self.inner_update.check().map_err(named("inner_update"))?;
        let consolidation = self.consolidation.recipe(Size::ONE_EDIT);
        consolidation.check().map_err(named("consolidation"))
    }

    /// Names everything here that fixes an adapter, replay by its content.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn digest(
        &self,
        inner_replay: &[ReplaySource],
        consolidation_replay: &[ReplaySource],
    ) -> Result<Digest, CanonicalError> {
        digest_of(&Fixing {
            max_sequence_tokens: self.max_sequence_tokens,
            inner_update: &self.inner_update,
            consolidation: &self.consolidation,
            directives: &self.directives,
            chat: self.chat.as_ref(),
            inner_replay: resolved(inner_replay),
            consolidation_replay: resolved(consolidation_replay),
        })
    }

    /// The training that must fit into memory.
    pub fn works(&self) -> Vec<Work> {
        let Self { inner_update, consolidation, max_sequence_tokens, .. } = self;
        let batch = (self.candidates_per_batch, self.gradient_checkpointing);
        training_works(inner_update, consolidation, *max_sequence_tokens, batch)
    }
}

/// The tables as they are hashed.
#[derive(Serialize)]
struct Fixing<'a> {
    max_sequence_tokens: usize,
    inner_update: &'a UpdateRecipe,
    consolidation: &'a ConsolidationConfig,
    directives: &'a DirectiveLimits,
    chat: Option<&'a ChatSettings>,
    inner_replay: Vec<ResolvedQuota>,
    consolidation_replay: Vec<ResolvedQuota>,
}

/// A batch of inner updates and a consolidation. Of each the least that the config stands for: how
/// many lines an edit has, and how long they are, is known only when it comes. `batch` is how many
/// train side by side, and whether layers are computed again instead of kept.
pub fn training_works(
    inner_update: &UpdateRecipe,
    consolidation: &ConsolidationConfig,
    step_tokens: usize,
    (candidates, checkpointing): (usize, bool),
) -> Vec<Work> {
    let one = consolidation.recipe(Size::ONE_EDIT);
    [(candidates, inner_update.lora()), (1, one.lora())]
        .map(|(candidates, lora)| Work::InnerUpdate {
            candidates,
            step_tokens,
            lora,
            checkpointing,
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shipped() -> &'static str {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/miniature/student.toml")
    }

    #[test]
    fn the_students_own_config_is_read_and_its_other_keys_are_skipped() {
        let text = std::fs::read_to_string(shipped()).unwrap();
        let mut tables: UpdateTables = toml::from_str(&text).unwrap();
        tables.resolve(Path::new("/run"));
        assert_eq!((tables.inner_update.r, tables.max_sequence_tokens), (16, 256));
        assert_eq!(tables.replay_files().len(), 4);
        assert!(tables.replay_files()[0].starts_with("/run"));
        assert!(tables.check().is_ok());
        assert_eq!(tables.works().len(), 2);
    }

    #[test]
    fn what_fixes_an_adapter_is_named_and_what_only_costs_memory_is_not() {
        let text = std::fs::read_to_string(shipped()).unwrap();
        let tables: UpdateTables = toml::from_str(&text).unwrap();
        let digest =
            |tables: &UpdateTables, replay: &[ReplaySource]| tables.digest(&[], replay).unwrap();
        let plain = digest(&tables, &[]);
        let costly = UpdateTables { gradient_checkpointing: true, ..tables.clone() };
        assert_eq!(digest(&costly, &[]), plain);
        let mut wider = tables.clone();
        wider.directives.lora_rank = [1, 64];
        let mut longer = tables.clone();
        longer.consolidation.steps_per_edit += 1;
        let replay = ReplaySource {
            name: "world.jsonl".to_owned(),
            sha256: Digest::from_bytes([1; 32]),
            lines: Vec::new(),
            quota: 3,
        };
        let others = [digest(&wider, &[]), digest(&longer, &[]), digest(&tables, &[replay])];
        assert!(others.iter().all(|other| *other != plain), "{others:?}");
    }

    #[test]
    fn a_misspelt_key_and_a_recipe_that_no_run_can_have_are_named() {
        let text = std::fs::read_to_string(shipped()).unwrap();
        let misspelt = text.replacen("steps = 14", "step = 14", 1);
        let refused = toml::from_str::<UpdateTables>(&misspelt).unwrap_err().to_string();
        assert!(refused.contains("`step`"), "{refused}");
        let idle: UpdateTables = toml::from_str(&text.replacen("r = 32", "r = 0", 1)).unwrap();
        assert_eq!(idle.check().unwrap_err().0, "consolidation");
    }
}
