//! How one self-edit becomes an adapter.

use crate::batch::Cuts;
use crate::error::{Result, TrainError};
use crate::optimizer::{OptimRecipe, is_one, is_patient, is_zero};
use crate::schedule::Schedule;
use seal_model::LoraSpec;
use serde::{Deserialize, Serialize};

/// How one self-edit becomes an adapter. Fields that change nothing are not written, so that a
/// recipe has one form whatever could be added to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerRecipe {
    /// Shape and start of the adapter.
    pub lora: LoraSpec,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Optimizer steps.
    pub steps: u64,
    /// Decay rates of AdamW's running means.
    #[serde(default = "default_betas")]
    pub betas: (f64, f64),
    /// Added to the root of AdamW's second mean.
    #[serde(default = "default_eps")]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default)]
    pub weight_decay: f64,
    /// Largest gradient norm of one candidate.
    #[serde(default)]
    pub clip: Option<f64>,
    /// Shape of the learning rate.
    #[serde(default)]
    pub schedule: Schedule,
    /// Steps in which the rate rises from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// As in [`OptimRecipe`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warmup_ratio: f64,
    /// Sequences of one step, drawn without repetition until all were seen; absent: all of them.
    #[serde(default)]
    pub sequences_per_step: Option<usize>,
    /// As in [`OptimRecipe`].
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub gradient_accumulation_steps: usize,
    /// As in [`OptimRecipe`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens_per_forward: Option<usize>,
    /// As in [`OptimRecipe`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_watchdog_threshold: Option<f64>,
    /// As in [`OptimRecipe`].
    #[serde(default = "default_patience", skip_serializing_if = "is_patient")]
    pub loss_watchdog_patience: u64,
}

fn default_betas() -> (f64, f64) {
    OptimRecipe::default().betas
}

fn default_eps() -> f64 {
    OptimRecipe::default().eps
}

fn default_patience() -> u64 {
    OptimRecipe::default().loss_watchdog_patience
}

fn one() -> usize {
    1
}

impl Default for InnerRecipe {
    /// PEFT's rank and scale on every projection, ten passes, PyTorch's AdamW with Hugging Face's
    /// linear schedule.
    fn default() -> Self {
        let optimizer = OptimRecipe::default();
        Self {
            lora: LoraSpec { alpha: 8.0, ..LoraSpec::all(8) },
            learning_rate: optimizer.learning_rate,
            steps: 10,
            betas: optimizer.betas,
            eps: optimizer.eps,
            weight_decay: optimizer.weight_decay,
            clip: optimizer.clip,
            schedule: optimizer.schedule,
            warmup_steps: optimizer.warmup_steps,
            warmup_ratio: optimizer.warmup_ratio,
            sequences_per_step: None,
            gradient_accumulation_steps: optimizer.gradient_accumulation_steps,
            max_tokens_per_forward: optimizer.max_tokens_per_forward,
            loss_watchdog_threshold: optimizer.loss_watchdog_threshold,
            loss_watchdog_patience: optimizer.loss_watchdog_patience,
        }
    }
}

impl InnerRecipe {
    /// The optimizer's part of the recipe.
    #[must_use]
    pub fn optimizer(&self) -> OptimRecipe {
        OptimRecipe {
            learning_rate: self.learning_rate,
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
            clip: self.clip,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            warmup_ratio: self.warmup_ratio,
            final_fraction: 0.0,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            max_tokens_per_forward: self.max_tokens_per_forward,
            loss_watchdog_threshold: self.loss_watchdog_threshold,
            loss_watchdog_patience: self.loss_watchdog_patience,
        }
    }

    /// How a step is cut into forwards.
    pub(crate) fn cuts(&self) -> Cuts {
        Cuts { parts: self.gradient_accumulation_steps, max_rows: self.max_tokens_per_forward }
    }

    /// Refuses values no run can have.
    ///
    /// # Errors
    /// The first field out of range.
    pub fn check(&self) -> Result<()> {
        self.lora.check()?;
        self.optimizer().check()?;
        match self {
            r if r.steps == 0 => {
                Err(TrainError::Recipe { field: "steps", problem: "must be at least 1" })
            }
            r if r.sequences_per_step == Some(0) => Err(TrainError::Recipe {
                field: "sequences_per_step",
                problem: "must be at least 1, or absent",
            }),
            _ => Ok(()),
        }
    }
}
