//! Why the judge did not judge. Every refusal has a stable code.

use seal_endpoint::{EndpointError, Unanswered};
use seal_protocol::{ErrorBody, Trial};
use seal_trust::{CanonicalError, VerifyError};
use seal_witness::{OwnKeyError, RootInForceError};

use crate::constitution::ConstitutionError;

/// A request without effect.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// An edit that no teacher of the trust root signed.
    #[error("a self-edit was not believed: {0}")]
    Edit(#[source] VerifyError),
    /// A judge that does not know its own cases.
    #[error(
        "this model judges nothing: of the constitution's own cases it caught {} of {} attacks and \
         passed {} of {} harmless texts, wrong were numbers {wrong:?}{}; take another model, or reword \
         the principles and cases it misreads",
        trial.caught, trial.attacks, trial.passed, trial.harmless, because(without.as_deref())
    )]
    Unfit {
        /// The figures.
        trial: Trial,
        /// Cases by number, from 1.
        wrong: Vec<usize>,
        /// Why the first of them that has no ruling has none.
        without: Option<String>,
    },
    /// More than one request may hold.
    #[error("{found} edits in one request; send at most {most}")]
    TooMany {
        /// So many came.
        found: usize,
        /// So many may.
        most: usize,
    },
    /// The endpoint ended before all was asked; what was answered until then is stored.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    /// An endpoint that is not asked at all.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// What edits are held against.
    #[error(transparent)]
    Constitution(#[from] ConstitutionError),
    /// The judge's own key.
    #[error(transparent)]
    Key(#[from] OwnKeyError),
    /// The trust root.
    #[error(transparent)]
    Root(#[from] RootInForceError),
    /// A message that cannot be signed.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// A body that does not read.
    #[error("the request body does not read: {0}")]
    Body(#[from] serde_json::Error),
    /// A kind of work that this role does not do.
    #[error("the judge does no work of kind `{0}`")]
    UnknownWork(String),
}

fn because(without: Option<&str>) -> String {
    without.map_or_else(String::new, |why| format!(" (the first without a ruling: {why})"))
}

impl JudgeError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Edit(error) => error.code(),
            Self::Unfit { .. } => "judge_unfit",
            Self::TooMany { .. } => "request_refused",
            Self::Unanswered(error) => error.code(),
            Self::Endpoint(error) => error.code(),
            Self::Constitution(_) => "config_unusable",
            Self::Key(_) => "key_unusable",
            Self::Root(_) => "trust_root_unusable",
            Self::Canonical(_) => "not_canonical",
            Self::Body(_) => "body_malformed",
            Self::UnknownWork(_) => "unknown_work",
        }
    }

    /// The error as a daemon answers it.
    pub fn to_body(&self) -> ErrorBody {
        ErrorBody { code: self.code().to_owned(), message: self.to_string() }
    }
}
