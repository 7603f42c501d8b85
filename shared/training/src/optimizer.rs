//! How gradients become updates: what every kind of training has in common.

use crate::error::{Result, TrainError};
use crate::schedule::{Schedule, factor};
use serde::{Deserialize, Serialize};

/// How gradients become updates. Fields added later are not written where they change nothing, so
/// that the digest of a recipe stays what it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimRecipe {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Decay rates of the two running means.
    pub betas: (f64, f64),
    /// Added to the root of the second mean.
    pub eps: f64,
    /// Decoupled weight decay per unit of learning rate.
    pub weight_decay: f64,
    /// Largest global gradient norm; larger ones are scaled down to it.
    pub clip: Option<f64>,
    /// Shape of the learning rate.
    pub schedule: Schedule,
    /// Steps in which the rate rises from 0.
    pub warmup_steps: u64,
    /// The same as a share of all steps, rounded up; `warmup_steps` above 0 overrides it, as in
    /// Hugging Face's trainer.
    #[serde(skip_serializing_if = "is_zero")]
    pub warmup_ratio: f64,
    /// Fraction of the peak rate that a falling schedule ends at.
    pub final_fraction: f64,
    /// Parts that the sequences of a step are computed in, one after another. Gradients are summed
    /// and weights normalised over the whole step, so more parts need less memory for the same
    /// update: to the bit for adapters, within rounding for a decoder whose shards they cut.
    #[serde(skip_serializing_if = "is_one")]
    pub gradient_accumulation_steps: usize,
    /// Most tokens of one forward; what exceeds it is computed in further ones, as above. A longer
    /// sequence is a forward of its own. Absent: as many as fit the engine best.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens_per_forward: Option<usize>,
    /// A candidate is given up when its loss stays above so many times its first one. (Axolotl's
    /// option of this name is an absolute loss.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_watchdog_threshold: Option<f64>,
    /// Steps in a row that the loss must stay there.
    #[serde(skip_serializing_if = "is_patient")]
    pub loss_watchdog_patience: u64,
}

/// As in Axolotl.
const PATIENCE: u64 = 3;

#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_zero(ratio: &f64) -> bool {
    *ratio == 0.0
}

#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_one(parts: &usize) -> bool {
    *parts == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
pub(crate) fn is_patient(patience: &u64) -> bool {
    *patience == PATIENCE
}

impl Default for OptimRecipe {
    /// PyTorch's AdamW with Hugging Face's linear schedule.
    fn default() -> Self {
        Self {
            learning_rate: 1e-3,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            clip: None,
            schedule: Schedule::Linear,
            warmup_steps: 0,
            warmup_ratio: 0.0,
            final_fraction: 0.0,
            gradient_accumulation_steps: 1,
            max_tokens_per_forward: None,
            loss_watchdog_threshold: None,
            loss_watchdog_patience: PATIENCE,
        }
    }
}

impl OptimRecipe {
    /// Refuses values no run can have.
    ///
    /// # Errors
    /// The first field out of range.
    pub fn check(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let not_negative = |x: f64| x.is_finite() && x >= 0.0;
        let in_unit = |x: f64| (0.0..1.0).contains(&x);
        let rules = [
            ("learning_rate", not_negative(self.learning_rate), "must be 0 or more"),
            (
                "betas",
                in_unit(self.betas.0) && in_unit(self.betas.1),
                "must be at least 0 and below 1",
            ),
            ("eps", positive(self.eps), "must be above 0"),
            ("weight_decay", not_negative(self.weight_decay), "must be 0 or more"),
            ("clip", self.clip.is_none_or(positive), "must be above 0, or absent"),
            ("warmup_ratio", (0.0..=1.0).contains(&self.warmup_ratio), "must be 0 to 1"),
            ("final_fraction", (0.0..=1.0).contains(&self.final_fraction), "must be 0 to 1"),
            (
                "gradient_accumulation_steps",
                self.gradient_accumulation_steps > 0,
                "must be at least 1",
            ),
            (
                "max_tokens_per_forward",
                self.max_tokens_per_forward != Some(0),
                "must be at least 1, or absent",
            ),
            (
                "loss_watchdog_threshold",
                self.loss_watchdog_threshold.is_none_or(|t| t.is_finite() && t >= 1.0),
                "must be at least 1, or absent",
            ),
            ("loss_watchdog_patience", self.loss_watchdog_patience > 0, "must be at least 1"),
        ];
        match rules.into_iter().find(|(_, holds, _)| !holds) {
            Some((field, _, problem)) => Err(TrainError::Recipe { field, problem }),
            None => Ok(()),
        }
    }

    /// The learning rate at `step` of `steps`, both from 0.
    #[must_use]
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        let warmup = self.warmup(steps);
        self.learning_rate * factor(self.schedule, step, steps, warmup, self.final_fraction)
    }

    /// Steps in which the rate rises, of `steps`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    fn warmup(&self, steps: u64) -> u64 {
        match self.warmup_steps {
            0 => (steps as f64 * self.warmup_ratio).ceil() as u64,
            given => given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_out_of_range_are_refused_by_field() {
        let good = OptimRecipe::default;
        for (recipe, field) in [
            (OptimRecipe { learning_rate: f64::NAN, ..good() }, "learning_rate"),
            (OptimRecipe { betas: (0.9, 1.0), ..good() }, "betas"),
            (OptimRecipe { clip: Some(0.0), ..good() }, "clip"),
            (OptimRecipe { warmup_ratio: 1.5, ..good() }, "warmup_ratio"),
            (OptimRecipe { gradient_accumulation_steps: 0, ..good() }, "gradient_accumulation"),
            (OptimRecipe { max_tokens_per_forward: Some(0), ..good() }, "max_tokens_per_forward"),
            (OptimRecipe { loss_watchdog_threshold: Some(0.5), ..good() }, "watchdog_threshold"),
            (OptimRecipe { loss_watchdog_patience: 0, ..good() }, "watchdog_patience"),
        ] {
            assert!(recipe.check().unwrap_err().to_string().contains(field), "{field}");
        }
    }

    #[test]
    fn a_recipe_without_later_fields_is_written_as_before_they_were_added() {
        let text = r#"{"learning_rate":0.001,"betas":[0.9,0.999],"eps":1e-8,"weight_decay":0.0,"clip":null,"schedule":"linear","warmup_steps":0,"final_fraction":0.0}"#;
        assert_eq!(serde_json::to_string(&OptimRecipe::default()).unwrap(), text);
        assert_eq!(serde_json::from_str::<OptimRecipe>(text).unwrap(), OptimRecipe::default());
    }

    #[test]
    fn warm_up_is_given_in_steps_or_as_a_share_of_them() {
        let share = OptimRecipe { warmup_ratio: 0.1, ..OptimRecipe::default() };
        assert_eq!((share.warmup(100), share.warmup(11), share.warmup(1)), (10, 2, 1));
        let steps = OptimRecipe { warmup_steps: 7, ..share };
        assert_eq!(steps.warmup(100), 7);
    }
}
