//! Why the student did not do what it was asked. Every refusal has a stable code.

use std::path::PathBuf;

use seal_model::chat::ChatError;
use seal_model::{AdapterError, ModelError};
use seal_protocol::{Digest, ErrorBody};
use seal_recipe::{PlanError, ReplayError};
use seal_service::store::StoreError;
use seal_training::TrainError;
use seal_trust::{CanonicalError, VerdictError, VerifyError};
use seal_witness::{HeadsError, OwnKeyError, RootInForceError};

use crate::serving::ServingError;
use crate::state::StateError;

/// A request without effect.
#[derive(Debug, thiserror::Error)]
pub enum StudentError {
    /// A signed message was not believed, or a verdict does not allow this.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The serving state does not allow it.
    #[error(transparent)]
    Serving(#[from] ServingError),
    /// Nothing was handed in.
    #[error("the request holds no {0}: send at least one")]
    Empty(&'static str),
    /// A verdict whose edit is missing.
    #[error("edit {} is missing: send every edit that the verdicts accept", .0.short())]
    MissingEdit(Digest),
    /// The student refuses an edit that its consolidation needs.
    #[error("edit {}: {reason}", .edit.short())]
    RefusedEdit {
        /// Which edit.
        edit: Digest,
        /// Why.
        reason: String,
    },
    /// Edits that nobody judged, for anything but a measurement.
    #[error(
        "one adapter on edits that nobody judged is measured and nothing else: ask with purpose \
         `evaluation`, or consolidate what was accepted"
    )]
    OnlyMeasured,
    /// A step of a sequence that is not about one edit.
    #[error("a sequence learns one accepted edit at a time, and these verdicts accept {0}")]
    NotOneEdit(usize),
    /// A step that would learn the same again.
    #[error("edit {} was learned by an earlier step of this sequence", .0.short())]
    AlreadyLearned(Digest),
    /// A parent that is no step of a sequence on this base.
    #[error(
        "`parent` is no step of a sequence on this base: send the audit request of the step before"
    )]
    NoStep,
    /// The adapter of a verdict was never made here, or was deleted.
    #[error("adapter file {} is not in this student's store: train it again", .0.short())]
    AdapterMissing(Digest),
    /// A recipe that no run can have.
    #[error("[{section}] in student.toml: {source}")]
    Recipe {
        /// Which table.
        section: &'static str,
        /// Which field, and what it may be.
        source: TrainError,
    },
    /// A body that does not read.
    #[error("the request body does not read: {0}")]
    Body(#[from] serde_json::Error),
    /// A kind of work that this role does not do.
    #[error("the student does no work of kind `{0}`")]
    UnknownWork(String),
    /// A question beyond the limits of `[serving]`.
    #[error("{0}")]
    Question(String),
    /// A file of the student's own state.
    #[error("cannot write `{}`: {source}; check free space and permissions", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A stored file did not come back.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
    /// A message that cannot be signed.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The student's own key.
    #[error(transparent)]
    Key(#[from] OwnKeyError),
    /// The auditor's ledger, or the memory of it.
    #[error(transparent)]
    Ledger(#[from] HeadsError),
    /// The trust root.
    #[error(transparent)]
    Root(#[from] RootInForceError),
    /// Replay files.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A verdict on a request that this student never made.
    #[error("the verdict answers request {}, which this student did not make: train and audit here", .0.short())]
    RequestUnknown(Digest),
    /// An adapter that does not fit the base.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// Model folder or generation.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The base model's chat format.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Training.
    #[error(transparent)]
    Training(#[from] TrainError),
    /// The config contradicts the files it names.
    #[error("{0}")]
    Config(String),
}

impl From<PlanError> for StudentError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::NoEdit => Self::Empty("accepted edit"),
            PlanError::Edit { edit, source } => {
                Self::RefusedEdit { edit, reason: source.to_string() }
            }
            PlanError::Canonical(error) => error.into(),
            // A consolidation follows no directives, and replay lines come from the config.
            PlanError::Directive(_) | PlanError::Replay { .. } => Self::Config(error.to_string()),
        }
    }
}

impl From<VerdictError> for StudentError {
    fn from(error: VerdictError) -> Self {
        Self::Verify(error.into())
    }
}

impl StudentError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Verify(error) => error.code(),
            Self::Serving(error) => error.code(),
            Self::Empty("verdict") => "no_verdict",
            Self::Empty(_) => "nothing_to_do",
            Self::MissingEdit(_) => "edit_missing",
            Self::RefusedEdit { .. } => "edit_refused",
            Self::OnlyMeasured => "only_measured",
            Self::NotOneEdit(_) => "not_one_edit",
            Self::AlreadyLearned(_) => "edit_already_learned",
            Self::NoStep => "parent_unusable",
            Self::AdapterMissing(_) => "adapter_missing",
            Self::Body(_) => "body_malformed",
            Self::UnknownWork(_) => "unknown_work",
            Self::Question(_) => "question_refused",
            Self::Write { .. } | Self::Store(_) | Self::State(_) => "storage_failed",
            Self::Canonical(_) => "not_canonical",
            Self::Key(_) => "key_unusable",
            Self::Replay(_) | Self::Config(_) | Self::Recipe { .. } | Self::Chat(_) => {
                "config_unusable"
            }
            Self::Ledger(error) => error.code(),
            Self::Root(_) => "trust_root_unusable",
            Self::RequestUnknown(_) => "request_unknown",
            Self::Adapter(_) => "adapter_unusable",
            Self::Training(TrainError::Diverged(_)) => "training_diverged",
            Self::Model(_) | Self::Training(_) => "model_failed",
        }
    }

    /// The error as a daemon answers it.
    pub fn to_body(&self) -> ErrorBody {
        ErrorBody { code: self.code().to_owned(), message: self.to_string() }
    }
}
