//! Why the teacher did not do what it was asked. Every refusal has a stable code.

use std::path::PathBuf;

use seal_endpoint::{EndpointError, NotTuned, Unanswered};
use seal_model::ModelError;
use seal_protocol::{Digest, ErrorBody};
use seal_recipe::ReplayError;
use seal_training::TrainError;
use seal_trust::{CanonicalError, VerdictError, VerifyError};
use seal_witness::{HeadsError, OwnKeyError, RootInForceError};

use crate::backends::RecordedError;
use crate::contexts::ContextsError;
use crate::prompt::PromptError;
use crate::state::StateError;

/// A request without effect.
#[derive(Debug, thiserror::Error)]
pub enum TeacherError {
    /// A verdict was not believed, or does not allow this.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// An M-step on nothing.
    #[error("the policy learns from accepted edits only: send at least one verdict")]
    NoVerdict,
    /// A verdict about an edit that this teacher did not write.
    #[error("edit {} was not written by this teacher: send verdicts on its own edits", .0.short())]
    EditUnknown(Digest),
    /// A verdict that is not about exactly one edit.
    #[error("the verdict accepts {0} edits; the policy learns from verdicts on one edit each")]
    NotOneEdit(usize),
    /// An edit that no policy wrote.
    #[error("edit {} was written without a policy, so there is nothing to learn from it", .0.short())]
    NoReply(Digest),
    /// A policy whose weights are elsewhere.
    #[error(
        "the weights of this teacher's policy are not here, or nothing says how to train them; use `kind = \"local\"` under [backend] and [policy_update], [exemplars] or [fine_tuning] with an API, or a run without policy updates"
    )]
    NoWeights,
    /// A stored edit or reply that does not fit its digest any more.
    #[error("`{}` is damaged: {reason}; restore it from a copy", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A context that this teacher does not hold.
    #[error("no context has a text of digest {}: add it to the contexts file", .0.short())]
    ContextUnknown(Digest),
    /// No policy of that digest.
    #[error("there is no policy {}: name one that this teacher holds, or none for the first", .0.short())]
    PolicyUnknown(Digest),
    /// The endpoint ended before its orders did; what was written until then is stored.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// The endpoint tuned no model.
    #[error(transparent)]
    NotTuned(#[from] NotTuned),
    /// An endpoint that is not asked at all.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The recorded edits.
    #[error(transparent)]
    Recorded(#[from] RecordedError),
    /// A request beyond the teacher's limits.
    #[error("{0}")]
    Request(String),
    /// A body that does not read.
    #[error("the request body does not read: {0}")]
    Body(#[from] serde_json::Error),
    /// A kind of work that this role does not do.
    #[error("the teacher does no work of kind `{0}`")]
    UnknownWork(String),
    /// A prompt that cannot be written.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A file of the teacher's own state.
    #[error("cannot write `{}`: {source}; check free space and permissions", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database.
    #[error(transparent)]
    State(#[from] StateError),
    /// A message that cannot be signed.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The teacher's own key.
    #[error(transparent)]
    Key(#[from] OwnKeyError),
    /// The auditor's ledger, or the memory of it.
    #[error(transparent)]
    Ledger(#[from] HeadsError),
    /// The trust root.
    #[error(transparent)]
    Root(#[from] RootInForceError),
    /// The contexts file.
    #[error(transparent)]
    Contexts(#[from] ContextsError),
    /// Replay files.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Model folder or generation.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Training.
    #[error(transparent)]
    Training(#[from] TrainError),
    /// The config contradicts the files it names.
    #[error("{0}")]
    Config(String),
}

impl From<VerdictError> for TeacherError {
    fn from(error: VerdictError) -> Self {
        Self::Verify(error.into())
    }
}

impl TeacherError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Verify(error) => error.code(),
            Self::NoVerdict => "no_verdict",
            Self::EditUnknown(_) => "edit_unknown",
            Self::NotOneEdit(_) => "verdict_not_one_edit",
            Self::NoReply(_) => "edit_without_reply",
            Self::NoWeights => "policy_without_weights",
            Self::ContextUnknown(_) => "context_unknown",
            Self::PolicyUnknown(_) => "policy_unknown",
            Self::Unanswered(error) => error.code(),
            Self::NotTuned(error) => error.code(),
            Self::Endpoint(error) => error.code(),
            Self::Recorded(_) => "config_unusable",
            Self::Request(_) => "request_refused",
            Self::Body(_) => "body_malformed",
            Self::UnknownWork(_) => "unknown_work",
            Self::Prompt(_) => "prompt_refused",
            Self::Damaged { .. } | Self::Write { .. } | Self::State(_) => "storage_failed",
            Self::Canonical(_) => "not_canonical",
            Self::Key(_) => "key_unusable",
            Self::Ledger(error) => error.code(),
            Self::Root(_) => "trust_root_unusable",
            Self::Contexts(_) | Self::Replay(_) | Self::Config(_) => "config_unusable",
            Self::Model(_) | Self::Training(_) => "model_failed",
        }
    }

    /// The error as a daemon answers it.
    pub fn to_body(&self) -> ErrorBody {
        ErrorBody { code: self.code().to_owned(), message: self.to_string() }
    }
}
