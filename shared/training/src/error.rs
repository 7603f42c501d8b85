//! Why a training run was refused or given up.

use crate::saved::SaveError;
use crate::watchdog::Diverged;
use seal_model::ModelError;

/// No variant leaves a half-trained result behind.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A recipe that cannot be run.
    #[error("recipe: `{field}` {problem}")]
    Recipe {
        /// The field.
        field: &'static str,
        /// What it must be.
        problem: &'static str,
    },
    /// A sequence that cannot be trained on.
    #[error("candidate {candidate}, sequence {sequence}: {problem}")]
    Sequence {
        /// Which job.
        candidate: usize,
        /// Which of its sequences.
        sequence: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A sequence that trains no token.
    #[error(
        "candidate {candidate}, sequence {sequence} trains no token; leave it out, or give one of its tokens after the first a positive weight"
    )]
    Untrained {
        /// Which job.
        candidate: usize,
        /// Which of its sequences.
        sequence: usize,
    },
    /// A sequence that would teach the model never to stop.
    #[error(
        "candidate {candidate}, sequence {sequence}: the end-of-turn token {token} carries no loss after a token that does, so the model would not learn to stop; give it a weight and let it be the last trained token, or mark the sequence as truncated"
    )]
    EndUnlearned {
        /// Which job.
        candidate: usize,
        /// Which of its sequences.
        sequence: usize,
        /// The token that ends a turn.
        token: u32,
    },
    /// A candidate without sequences.
    #[error("candidate {candidate} has nothing to train on; give it a sequence")]
    NothingToTrain {
        /// Which job.
        candidate: usize,
    },
    /// Training no longer leads anywhere.
    #[error(transparent)]
    Diverged(#[from] Diverged),
    /// An unfinished run could not be kept.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// The model refused an input or a computation.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Model(error.into())
    }
}

/// The result of everything in this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
