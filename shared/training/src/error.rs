//! Why a training run was refused or given up.

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
    /// A candidate whose sequences train no token.
    #[error(
        "candidate {candidate} trains no token; give it a sequence of at least two tokens with a positive weight"
    )]
    NothingToTrain {
        /// Which job.
        candidate: usize,
    },
    /// The loss is no longer a number.
    #[error(
        "candidate {candidate} diverged at step {step}: its loss is {loss}; lower the learning rate"
    )]
    Diverged {
        /// Which job.
        candidate: usize,
        /// The step, from 0.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// The model refused an input or a computation.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// The result of everything in this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;
