//! When a candidate is given up.
//!
//! **Invariant:** pure, and a function of the candidate's own losses and gradient: giving one up
//! changes no other.

use crate::optimizer::OptimRecipe;

/// A candidate that was given up. Nothing of it is kept; the others went on.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("candidate {candidate} diverged at step {step}: {why}; lower the learning rate")]
pub struct Diverged {
    /// Which job.
    pub candidate: usize,
    /// The step, from 0.
    pub step: u64,
    /// What was seen.
    pub why: Divergence,
}

/// What shows that training no longer leads anywhere.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Divergence {
    /// The loss is no longer a number.
    #[error("its loss is {0}")]
    Loss(f64),
    /// The norm of the gradient is no longer a number.
    #[error("the norm of its gradient is {0}")]
    Gradient(f64),
    /// The loss stayed high.
    #[error(
        "its loss of {loss} nats was above {threshold} times the first one for {steps} steps (`loss_watchdog_threshold`)"
    )]
    Watchdog {
        /// Loss of the last step, in nats.
        loss: f64,
        /// As in the recipe.
        threshold: f64,
        /// As in the recipe.
        steps: u64,
    },
}

/// What `losses`, of all steps up to this one, say against going on.
pub(crate) fn judge(losses: &[f32], recipe: &OptimRecipe) -> Option<Divergence> {
    let (first, last) = (f64::from(*losses.first()?), f64::from(*losses.last()?));
    if !last.is_finite() {
        return Some(Divergence::Loss(last));
    }
    let threshold = recipe.loss_watchdog_threshold?;
    let steps = recipe.loss_watchdog_patience;
    let patience = usize::try_from(steps).unwrap_or(usize::MAX);
    let latest = losses.len().checked_sub(patience).map(|from| &losses[from..])?;
    let is_high = |loss: &f32| f64::from(*loss) > threshold * first;
    latest.iter().all(is_high).then_some(Divergence::Watchdog { loss: last, threshold, steps })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(losses: &[f32], given_up: bool) {
        let recipe = OptimRecipe {
            loss_watchdog_threshold: Some(2.0),
            loss_watchdog_patience: 3,
            ..OptimRecipe::default()
        };
        assert_eq!(judge(losses, &recipe).is_some(), given_up, "{losses:?}");
        let finite = losses.last().is_none_or(|loss| loss.is_finite());
        assert_eq!(judge(losses, &OptimRecipe::default()).is_none(), finite);
    }

    #[test]
    fn a_loss_that_stays_high_is_given_up_and_one_that_comes_back_is_not() {
        check(&[], false);
        check(&[1.0, 2.5, 2.5], false);
        check(&[1.0, 2.5, 2.5, 2.5], true);
        check(&[1.0, 2.5, 2.5, 2.0, 2.5], false);
        check(&[1.0, 0.5, 2.1, 2.2, 2.3], true);
        check(&[1.0, f32::NAN], true);
        check(&[1.0, f32::INFINITY], true);
    }
}
