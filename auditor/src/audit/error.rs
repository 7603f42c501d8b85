//! Why an audit gave no answer. Everything that could be judged is a ledger row instead.

use seal_protocol::{Digest, ErrorBody};
use seal_trust::VerifyError;

use crate::ledger::LedgerError;
use crate::measure::MeasureError;

/// No verdict and no row.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Nobody who may ask asked this.
    #[error("the audit request does not verify: {0}")]
    Request(#[source] VerifyError),
    /// It verifies but asks for nothing that can be judged.
    #[error("the audit request cannot be judged: {0}")]
    Malformed(String),
    /// Upload first.
    #[error("adapter file {0} was not uploaded; PUT it, then send the same request again")]
    FileMissing(Digest),
    /// A promotion is compared with the version accepted last, and its files are gone or damaged.
    #[error(
        "the files of the adapter that was accepted last are gone from the auditor's state or damaged; \
         restore `adapters` in the state folder from a copy"
    )]
    AcceptedGone,
    /// The model failed.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The state folder failed.
    #[error("the auditor's state folder refused: {0}; check disk and owner")]
    Io(#[from] std::io::Error),
}

impl AuditError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Request(error) => error.code(),
            Self::Malformed(_) => "request_malformed",
            Self::FileMissing(_) => "adapter_file_missing",
            Self::AcceptedGone => "accepted_adapter_gone",
            Self::Measure(_) => "measurement_failed",
            Self::Ledger(LedgerError::NonceUsed) => "nonce_used",
            Self::Ledger(LedgerError::ClockWentBack { .. }) => "clock_went_back",
            Self::Ledger(_) => "ledger_failed",
            Self::Io(_) => "state_failed",
        }
    }

    /// The error as the daemon answers it. Says nothing of τ, suites or rules.
    pub fn to_body(&self) -> ErrorBody {
        ErrorBody { code: self.code().to_owned(), message: self.to_string() }
    }
}
