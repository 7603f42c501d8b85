//! Why a model was not tuned. Each end has a stable code and its mend.
//!
//! **Invariant:** as for faults, no free text of the endpoint: its words are in the egress record.

use std::path::PathBuf;

use crate::fault::Fault;
use crate::stop::Stop;

/// No model came of it; the policy stays what it was.
#[derive(Debug, thiserror::Error)]
pub enum NotTuned {
    /// The endpoint does not know the call.
    #[error(
        "the endpoint makes no fine-tuning jobs for this model (status {0}); name one for which it does, or use [exemplars] instead of [fine_tuning]"
    )]
    Unsupported(u16),
    /// It does not take the file or the order.
    #[error(
        "the endpoint refused the training file or the job (status {0}); `seal egress` shows its words. Often the edits are too few (OpenAI wants 10): ask for more proposals, or take more contexts into a round"
    )]
    Refused(u16),
    /// The job ended without a model.
    #[error(
        "the fine-tuning job {job} {how}; `seal egress` shows the endpoint's words. Asked again, a new job is made and paid for"
    )]
    Ended {
        /// As the endpoint calls it.
        job: String,
        /// In words.
        how: &'static str,
    },
    /// The job goes on.
    #[error(
        "the fine-tuning job {job} did not end within {waited_s} s (`longest_wait_s`); it goes on at the endpoint: ask again to wait for the same job"
    )]
    Unfinished {
        /// As the endpoint calls it.
        job: String,
        /// How long was waited.
        waited_s: u64,
    },
    /// There is no model of the name that the job gave.
    #[error(
        "the fine-tuning job {job} ended, and its model {model} is not there after {waited_s} s (`longest_wait_s`); ask again to look for it once more"
    )]
    ModelMissing {
        /// As the endpoint calls it.
        job: String,
        /// The same.
        model: String,
        /// How long was waited.
        waited_s: u64,
    },
    /// It does not fit the budget.
    #[error(
        "the fine-tuning job may train {tokens} tokens at a cost of {:.6}, more than the budget has left; raise it under [backend.budget], or lower `n_epochs`", *cost_micro as f64 / 1e6
    )]
    TooDear {
        /// As we estimate, upwards.
        tokens: u64,
        /// In millionths of the config's currency.
        cost_micro: u64,
    },
    /// No request would be answered.
    #[error("{0}; ask again to go on from there")]
    Stopped(Stop),
    /// Our own disk.
    #[error("cannot keep how far the fine-tuning job came in `{}`: {source}; check free space and permissions, or restore the file from a copy", path.display())]
    Storage {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl NotTuned {
    /// What a fault means that is not waited for.
    pub(super) fn by(fault: &Fault) -> Self {
        match fault {
            Fault::Denied(status @ (404 | 405)) | Fault::Server(status @ 501, _) => {
                Self::Unsupported(*status)
            }
            Fault::BadRequest(status) => Self::Refused(*status),
            fault => Self::Stopped(Stop::refused(fault)),
        }
    }

    /// Whether it is the endpoint's word on what it was sent: then nothing there is worth going on from.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Unsupported(_) | Self::Refused(_) | Self::Ended { .. })
    }

    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsupported(_) => "fine_tuning_unsupported",
            Self::Refused(_) => "fine_tuning_refused",
            Self::Ended { .. } => "fine_tuning_failed",
            Self::Unfinished { .. } => "fine_tuning_unfinished",
            Self::ModelMissing { .. } => "fine_tuned_model_missing",
            Self::TooDear { .. } => "budget_reached",
            Self::Stopped(stop) => stop.code(),
            Self::Storage { .. } => "storage_failed",
        }
    }
}
