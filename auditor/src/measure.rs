//! What the worker needs of a model: load an adapter, score items, train an adapter again.
//!
//! A trait, so that decisions can be tested without weights. The real one is in `model`.

use std::path::Path;
use std::time::Instant;

use seal_model::ModelError;
use seal_protocol::Digest;

use crate::gate::Outcome;
use crate::grading::Grading;
use crate::items::Item;
use crate::recompute::{Claim, Lesson, Recomputed};

/// One question to one model.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Index of the adapter; `None` for the base.
    pub adapter: Option<usize>,
    /// What to ask.
    pub item: &'a Item,
    /// How the answer is judged.
    pub grading: &'a Grading,
}

/// Nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The model failed. The verdict is absent then, not "reject".
    #[error("the measurement failed: {0}")]
    Failed(String),
    /// The moment came at which the audit was to end.
    #[error("the time of the audit is over")]
    OutOfTime,
}

impl From<ModelError> for MeasureError {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::OutOfTime => Self::OutOfTime,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Loads adapters and scores items under base and adapters.
pub trait Measurer {
    /// A loaded adapter.
    type Adapter;

    /// Digest of the base that is loaded.
    fn base_model_digest(&self) -> Digest;

    /// Digest of its tokenizer.
    fn tokenizer_digest(&self) -> Digest;

    /// Loads the adapter in `folder`: `adapter_config.json` and `adapter_model.safetensors`, bytes
    /// already checked against their digests.
    ///
    /// # Errors
    /// A file that is no adapter for this base, in words for the log.
    fn load(&mut self, folder: &Path) -> Result<Self::Adapter, String>;

    /// What comes of each claim when it is trained again, in order. Those that `until` comes before are
    /// [`Recomputed::out_of_time`].
    ///
    /// # Errors
    /// The model failed as a whole, or this measurer trains nothing.
    fn recompute(
        &mut self,
        claims: &[Claim<'_, Self::Adapter>],
        until: Instant,
    ) -> Result<Vec<Recomputed>, MeasureError>;

    /// What each edit comes to when it is trained here, in order; nothing where training leads nowhere.
    ///
    /// # Errors
    /// As [`Measurer::recompute`]; `until` came before all were trained.
    fn train(
        &mut self,
        lessons: &[Lesson<'_>],
        until: Instant,
    ) -> Result<Vec<Option<Self::Adapter>>, MeasureError>;

    /// What each model writes to each question, in the order asked: greedy, to its end token or to
    /// `max_new_tokens`. Nothing from a model that yields no numbers, and nothing where the text could
    /// not be read as an answer again. `None` asks the base. A gold answer is not looked at.
    ///
    /// # Errors
    /// As [`Measurer::score`].
    fn write(
        &mut self,
        adapters: &[Self::Adapter],
        asked: &[(Option<usize>, &Item)],
        max_new_tokens: usize,
        until: Instant,
    ) -> Result<Vec<String>, MeasureError>;

    /// One outcome per wanted item, in order. All of one group come in one call, so that base and
    /// candidates are measured under the same conditions.
    ///
    /// # Errors
    /// The model failed as a whole; `until` came before all was measured. A single number that is none
    /// is an outcome without it.
    fn score(
        &mut self,
        adapters: &[Self::Adapter],
        wanted: &[Wanted<'_>],
        until: Instant,
    ) -> Result<Vec<Outcome>, MeasureError>;
}
