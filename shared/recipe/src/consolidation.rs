//! `[consolidation]` of `student.toml`: a recipe that grows with the number of accepted edits.
//!
//! A few edits want few steps, or the model forgets; many edits want many, or it does not learn
//! them. Edit lines are repeated until they have their share among the replay lines.

use seal_model::lora::target_modules;
use seal_model::{LoraInit, Projection};
use seal_training::Schedule;
use serde::{Deserialize, Serialize};

use crate::replay::ReplayQuota;
use crate::update::{UpdateRecipe, default_patience, once};

/// Key names are those of [`UpdateRecipe`] where they mean the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsolidationConfig {
    /// LoRA rank.
    pub r: usize,
    /// LoRA scale numerator.
    pub lora_alpha: f64,
    /// As in [`UpdateRecipe`].
    #[serde(default)]
    pub use_rslora: bool,
    /// As in [`UpdateRecipe`].
    #[serde(default)]
    pub lora_dropout: f64,
    /// Which projections carry an adapter: their names, or `"all-linear"`.
    #[serde(deserialize_with = "target_modules")]
    pub target_modules: Vec<Projection>,
    /// How factor A starts.
    pub init_lora_weights: LoraInit,
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    /// Optimizer steps beside those that come with the edits.
    pub steps: usize,
    /// Optimizer steps for each accepted edit.
    pub steps_per_edit: usize,
    /// Most optimizer steps.
    pub max_steps: usize,
    /// Sequences per optimizer step.
    pub sequences_per_step: usize,
    /// Share of the edits' lines among all sequences, reached by repeating them, in (0, 1).
    pub edit_share: f64,
    /// Whether the contexts themselves are trained on.
    pub contexts: bool,
    /// AdamW's β₁ and β₂.
    pub adam_betas: [f64; 2],
    /// AdamW's ε.
    pub adam_epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Clips the gradient's global norm; absent: no clipping.
    #[serde(default)]
    pub max_grad_norm: Option<f64>,
    /// Course of the learning rate.
    pub lr_scheduler_type: Schedule,
    /// As in [`UpdateRecipe`].
    #[serde(default)]
    pub warmup_steps: u64,
    /// As in [`UpdateRecipe`].
    #[serde(default)]
    pub warmup_ratio: f64,
    /// As in [`UpdateRecipe`].
    #[serde(default = "once")]
    pub gradient_accumulation_steps: usize,
    /// As in [`UpdateRecipe`].
    #[serde(default)]
    pub max_tokens_per_forward: Option<usize>,
    /// As in [`UpdateRecipe`].
    #[serde(default)]
    pub loss_watchdog_threshold: Option<f64>,
    /// As in [`UpdateRecipe`].
    #[serde(default = "default_patience")]
    pub loss_watchdog_patience: u64,
    /// Lines of what the model must keep. Hashed by their files' content.
    #[serde(skip_serializing)]
    pub replay: Vec<ReplayQuota>,
}

/// What a consolidation is about to learn.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Accepted edits.
    pub edits: usize,
    /// Their lines, each once.
    pub edit_lines: usize,
    /// Replay lines that are drawn.
    pub replay_lines: usize,
}

impl Size {
    /// Enough to try a consolidation's recipe.
    pub const ONE_EDIT: Self = Self { edits: 1, edit_lines: 1, replay_lines: 1 };
}

impl ConsolidationConfig {
    /// The recipe for so many edits.
    pub fn recipe(&self, size: Size) -> UpdateRecipe {
        let steps = self.steps.saturating_add(self.steps_per_edit.saturating_mul(size.edits));
        UpdateRecipe {
            r: self.r,
            lora_alpha: self.lora_alpha,
            use_rslora: self.use_rslora,
            lora_dropout: self.lora_dropout,
            target_modules: self.target_modules.clone(),
            init_lora_weights: self.init_lora_weights,
            learning_rate: self.learning_rate,
            steps: steps.min(self.max_steps),
            num_train_epochs: None,
            adam_betas: self.adam_betas,
            adam_epsilon: self.adam_epsilon,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            lr_scheduler_type: self.lr_scheduler_type,
            warmup_steps: self.warmup_steps,
            warmup_ratio: self.warmup_ratio,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            max_tokens_per_forward: self.max_tokens_per_forward,
            loss_watchdog_threshold: self.loss_watchdog_threshold,
            loss_watchdog_patience: self.loss_watchdog_patience,
            sequences_per_step: Some(self.sequences_per_step),
            edit_repeats: self.edit_repeats(size),
            contexts: self.contexts,
            replay: self.replay.clone(),
        }
    }

    /// The fewest repeats that reach the share, and at least one.
    fn edit_repeats(&self, size: Size) -> usize {
        let wanted = size.replay_lines as f64 * self.edit_share / (1.0 - self.edit_share);
        let repeats = (wanted / size.edit_lines.max(1) as f64).ceil();
        // A share that is no share saturates here instead of asking for endless memory.
        (repeats as usize).clamp(1, 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ConsolidationConfig {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/miniature/student.toml");
        let text = std::fs::read_to_string(file).unwrap();
        let config: crate::UpdateTables = toml::from_str(&text).unwrap();
        ConsolidationConfig {
            steps: 60,
            steps_per_edit: 4,
            max_steps: 300,
            edit_share: 0.25,
            ..config.consolidation
        }
    }

    #[track_caller]
    fn check(edits: usize, edit_lines: usize, replay_lines: usize, expected: (usize, usize)) {
        let recipe = config().recipe(Size { edits, edit_lines, replay_lines });
        assert_eq!((recipe.steps, recipe.edit_repeats), expected);
    }

    #[test]
    fn steps_grow_with_the_edits_up_to_a_limit_and_lines_reach_their_share() {
        check(3, 22, 3120, (72, 48));
        check(52, 472, 3120, (268, 3));
        check(500, 4000, 3120, (300, 1));
        check(1, 1, 3120, (64, 100));
    }
}
