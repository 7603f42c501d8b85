//! The recipe of an update: everything, beside base, edits and seed, that fixes an adapter's bytes.
//!
//! Key names are those of PEFT and the `transformers` trainer.
//!
//! **Invariant:** two updates with the same recipe digest differ by their edits and seed alone;
//! replay files enter it by the digest of their content.

use seal_model::{LoraInit, LoraSpec, Projection};
use seal_protocol::Digest;
use seal_training::{InnerRecipe, Schedule, TrainSequence};
use seal_trust::{CanonicalError, digest_of};
use serde::{Deserialize, Serialize};

use crate::replay::{ReplayQuota, ReplaySource, ResolvedQuota, resolved};
use crate::sequences::LINES;

/// `[inner_update]` of `student.toml`, and what `[consolidation]` resolves to.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateRecipe {
    /// LoRA rank.
    pub r: usize,
    /// LoRA scale numerator: the adapter's output is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Which projections carry an adapter.
    pub target_modules: Vec<Projection>,
    /// How factor A starts; factor B starts at zero.
    pub init_lora_weights: LoraInit,
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    /// Optimizer steps.
    pub steps: usize,
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
    /// Sequences per optimizer step; absent: all of them in every step.
    #[serde(default)]
    pub sequences_per_step: Option<usize>,
    /// How often each line of an edit comes among the sequences.
    #[serde(default = "once")]
    pub edit_repeats: usize,
    /// Whether the contexts themselves are trained on, beside what was written about them.
    #[serde(default = "yes")]
    pub contexts: bool,
    /// Lines that are mixed in so that the model keeps what it knew.
    pub replay: Vec<ReplayQuota>,
}

fn once() -> usize {
    1
}

fn yes() -> bool {
    true
}

/// The recipe as it is hashed.
#[derive(Serialize)]
struct Resolved<'a> {
    version: u32,
    loss: &'a str,
    r: usize,
    lora_alpha: f64,
    target_modules: &'a [Projection],
    init_lora_weights: LoraInit,
    learning_rate: f64,
    steps: usize,
    adam_betas: [f64; 2],
    adam_epsilon: f64,
    weight_decay: f64,
    max_grad_norm: Option<f64>,
    lr_scheduler_type: Schedule,
    sequences_per_step: Option<usize>,
    edit_repeats: usize,
    contexts: bool,
    replay: Vec<ResolvedQuota>,
}

const LOSS: &str = "mean over edit and replay tokens + mean over context tokens";

impl UpdateRecipe {
    /// The shape of the adapter.
    pub fn lora(&self) -> LoraSpec {
        LoraSpec {
            r: self.r,
            alpha: self.lora_alpha,
            targets: self.target_modules.clone(),
            init: self.init_lora_weights,
            dropout: 0.0,
            use_rslora: false,
        }
    }

    /// The recipe as the engine takes it.
    pub(crate) fn engine(&self) -> InnerRecipe {
        InnerRecipe {
            lora: self.lora(),
            learning_rate: self.learning_rate,
            steps: self.steps as u64,
            betas: self.adam_betas.into(),
            eps: self.adam_epsilon,
            weight_decay: self.weight_decay,
            clip: self.max_grad_norm,
            schedule: self.lr_scheduler_type,
            warmup_steps: 0,
            sequences_per_step: self.sequences_per_step,
        }
    }

    /// The sequences of an edit as often as the recipe wants them, then the replay lines.
    pub(crate) fn mix(
        &self,
        edit: Vec<TrainSequence>,
        replay: &[TrainSequence],
    ) -> Vec<TrainSequence> {
        let (lines, mut contexts): (Vec<_>, Vec<_>) =
            edit.into_iter().partition(|sequence| sequence.part == LINES);
        if !self.contexts {
            contexts.clear();
        }
        let mut mixed = vec![lines; self.edit_repeats].concat();
        mixed.append(&mut contexts);
        mixed.extend_from_slice(replay);
        mixed
    }

    /// Digest of the recipe with the content of its replay files.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn digest(&self, replay: &[ReplaySource]) -> Result<Digest, CanonicalError> {
        digest_of(&Resolved {
            version: 1,
            loss: LOSS,
            r: self.r,
            lora_alpha: self.lora_alpha,
            target_modules: &self.target_modules,
            init_lora_weights: self.init_lora_weights,
            learning_rate: self.learning_rate,
            steps: self.steps,
            adam_betas: self.adam_betas,
            adam_epsilon: self.adam_epsilon,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            lr_scheduler_type: self.lr_scheduler_type,
            sequences_per_step: self.sequences_per_step,
            edit_repeats: self.edit_repeats,
            contexts: self.contexts,
            replay: resolved(replay),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn recipe() -> UpdateRecipe {
        UpdateRecipe {
            r: 2,
            lora_alpha: 4.0,
            target_modules: vec![Projection::Q, Projection::Down],
            init_lora_weights: LoraInit::Gaussian,
            learning_rate: 5e-3,
            steps: 3,
            adam_betas: [0.9, 0.99],
            adam_epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: None,
            lr_scheduler_type: Schedule::Linear,
            sequences_per_step: None,
            edit_repeats: 1,
            contexts: true,
            replay: Vec::new(),
        }
    }

    fn source(sha256: [u8; 32]) -> ReplaySource {
        ReplaySource {
            name: "world.jsonl".to_owned(),
            sha256: Digest::from_bytes(sha256),
            lines: Vec::new(),
            quota: 18,
        }
    }

    #[test]
    fn any_change_of_recipe_or_replay_changes_the_digest() {
        let digest = recipe().digest(&[source([0; 32])]).unwrap();
        assert_eq!(digest, recipe().digest(&[source([0; 32])]).unwrap());
        assert_ne!(digest, recipe().digest(&[source([1; 32])]).unwrap());
        let mut longer = recipe();
        longer.steps += 1;
        assert_ne!(digest, longer.digest(&[source([0; 32])]).unwrap());
    }

    #[test]
    fn a_recipe_that_no_run_can_have_is_refused() {
        assert!(recipe().engine().check().is_ok());
        let endless = UpdateRecipe { learning_rate: f64::INFINITY, ..recipe() };
        assert!(endless.engine().check().is_err());
        let idle = UpdateRecipe { steps: 0, ..recipe() };
        assert!(idle.engine().check().is_err());
    }
}
