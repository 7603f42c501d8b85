//! The recipe of an update: everything, beside base, edits and seed, that fixes an adapter's bytes.
//!
//! Key names are those of PEFT and the `transformers` trainer.
//!
//! **Invariant:** two updates with the same recipe digest differ by their edits and seed alone;
//! replay files enter it by the digest of their content.

use seal_model::chat::ChatSettings;
use seal_model::lora::target_modules;
use seal_model::{LoraInit, LoraSpec, Projection};
use seal_protocol::Digest;
use seal_training::{InnerRecipe, OptimRecipe, Schedule, TrainError, TrainSequence};
use seal_trust::{CanonicalError, digest_of};
use serde::{Deserialize, Serialize};

use crate::replay::{ReplayQuota, ReplaySource, ResolvedQuota, resolved};
use crate::sequences::LINES;

/// `[inner_update]` of `student.toml`, and what `[consolidation]` resolves to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateRecipe {
    /// LoRA rank.
    pub r: usize,
    /// LoRA scale numerator: the adapter's output is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Multiply by `lora_alpha / √r` instead.
    #[serde(default)]
    pub use_rslora: bool,
    /// Share of factor A's inputs that each step leaves out.
    #[serde(default)]
    pub lora_dropout: f64,
    /// Which projections carry an adapter: their names, or `"all-linear"`.
    #[serde(deserialize_with = "target_modules")]
    pub target_modules: Vec<Projection>,
    /// How factor A starts; factor B starts at zero.
    pub init_lora_weights: LoraInit,
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    /// Optimizer steps; left out where `num_train_epochs` says.
    #[serde(default)]
    pub steps: usize,
    /// Passes over the sequences in place of `steps`. Edits of different length then train for
    /// different numbers of steps, and only those of equal length side by side.
    #[serde(default)]
    pub num_train_epochs: Option<usize>,
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
    /// Steps in which the learning rate rises from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// The same as a share of all steps; `warmup_steps` overrides it.
    #[serde(default)]
    pub warmup_ratio: f64,
    /// Sequences per optimizer step; absent: all of them in every step.
    #[serde(default)]
    pub sequences_per_step: Option<usize>,
    /// Parts that the sequences of a step are computed in, one after another: less memory, the same
    /// adapter.
    #[serde(default = "once")]
    pub gradient_accumulation_steps: usize,
    /// Most tokens of one forward; what exceeds it is computed in further ones. Absent: no limit.
    #[serde(default)]
    pub max_tokens_per_forward: Option<usize>,
    /// A candidate is given up when its loss stays above so many times its first one; absent: only
    /// when it is no number any more.
    #[serde(default)]
    pub loss_watchdog_threshold: Option<f64>,
    /// Steps in a row that the loss must stay there.
    #[serde(default = "default_patience")]
    pub loss_watchdog_patience: u64,
    /// How often each line of an edit comes among the sequences.
    #[serde(default = "once")]
    pub edit_repeats: usize,
    /// Whether the contexts themselves are trained on, beside what was written about them.
    #[serde(default = "yes")]
    pub contexts: bool,
    /// Lines that are mixed in so that the model keeps what it knew. Hashed by their files' content.
    #[serde(skip_serializing)]
    pub replay: Vec<ReplayQuota>,
}

pub(crate) fn once() -> usize {
    1
}

pub(crate) fn default_patience() -> u64 {
    OptimRecipe::default().loss_watchdog_patience
}

fn yes() -> bool {
    true
}

/// The recipe as it is hashed. What was added to it later is hashed only where it is not in its
/// neutral position, so that recipes without it keep the digests that were published.
#[derive(Serialize)]
struct Resolved<'a> {
    version: u32,
    loss: &'a str,
    r: usize,
    lora_alpha: f64,
    #[serde(skip_serializing_if = "is_neutral")]
    use_rslora: bool,
    #[serde(skip_serializing_if = "is_neutral")]
    lora_dropout: f64,
    target_modules: &'a [Projection],
    init_lora_weights: LoraInit,
    learning_rate: f64,
    steps: usize,
    adam_betas: [f64; 2],
    adam_epsilon: f64,
    weight_decay: f64,
    max_grad_norm: Option<f64>,
    lr_scheduler_type: Schedule,
    #[serde(skip_serializing_if = "is_neutral")]
    warmup_steps: u64,
    #[serde(skip_serializing_if = "is_neutral")]
    warmup_ratio: f64,
    sequences_per_step: Option<usize>,
    #[serde(skip_serializing_if = "is_once")]
    gradient_accumulation_steps: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens_per_forward: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss_watchdog: Option<(f64, u64)>,
    edit_repeats: usize,
    contexts: bool,
    replay: Vec<ResolvedQuota>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat: Option<&'a ChatSettings>,
}

fn is_neutral<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_once(count: &usize) -> bool {
    *count == 1
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
            dropout: self.lora_dropout,
            use_rslora: self.use_rslora,
        }
    }

    /// The recipe as the engine takes it.
    #[must_use]
    pub fn engine(&self) -> InnerRecipe {
        InnerRecipe {
            lora: self.lora(),
            learning_rate: self.learning_rate,
            steps: self.steps as u64,
            betas: self.adam_betas.into(),
            eps: self.adam_epsilon,
            weight_decay: self.weight_decay,
            clip: self.max_grad_norm,
            schedule: self.lr_scheduler_type,
            warmup_steps: self.warmup_steps,
            warmup_ratio: self.warmup_ratio,
            sequences_per_step: self.sequences_per_step,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            max_tokens_per_forward: self.max_tokens_per_forward,
            loss_watchdog_threshold: self.loss_watchdog_threshold,
            loss_watchdog_patience: self.loss_watchdog_patience,
        }
    }

    /// The recipe for so many sequences: passes become steps. Its digest is that of the same recipe with
    /// these steps.
    #[must_use]
    pub fn sized(mut self, sequences: usize) -> Self {
        if let Some(epochs) = self.num_train_epochs.take() {
            let per_step = self.sequences_per_step.unwrap_or(sequences).max(1);
            self.steps = epochs.saturating_mul(sequences.div_ceil(per_step));
        }
        self
    }

    /// Refuses a recipe that no update could have, whatever its edit.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), TrainError> {
        if self.num_train_epochs.is_some() && self.steps > 0 {
            let problem = "leave it out where `num_train_epochs` says how long to train";
            return Err(TrainError::Recipe { field: "steps", problem });
        }
        self.clone().sized(1).engine().check()
    }

    /// The sequences of an edit as often as the recipe wants them, then the replay lines.
    #[must_use]
    pub fn mix(&self, edit: Vec<TrainSequence>, replay: &[TrainSequence]) -> Vec<TrainSequence> {
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

    /// Digest of the recipe with the content of its replay files and the chat format, if any.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn digest(
        &self,
        replay: &[ReplaySource],
        chat: Option<&ChatSettings>,
    ) -> Result<Digest, CanonicalError> {
        digest_of(&Resolved {
            version: 1,
            loss: LOSS,
            r: self.r,
            lora_alpha: self.lora_alpha,
            use_rslora: self.use_rslora,
            lora_dropout: self.lora_dropout,
            target_modules: &self.target_modules,
            init_lora_weights: self.init_lora_weights,
            learning_rate: self.learning_rate,
            steps: self.steps,
            adam_betas: self.adam_betas,
            adam_epsilon: self.adam_epsilon,
            weight_decay: self.weight_decay,
            max_grad_norm: self.max_grad_norm,
            lr_scheduler_type: self.lr_scheduler_type,
            warmup_steps: self.warmup_steps,
            warmup_ratio: self.warmup_ratio,
            sequences_per_step: self.sequences_per_step,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            max_tokens_per_forward: self.max_tokens_per_forward,
            loss_watchdog: self
                .loss_watchdog_threshold
                .map(|threshold| (threshold, self.loss_watchdog_patience)),
            edit_repeats: self.edit_repeats,
            contexts: self.contexts,
            replay: resolved(replay),
            chat,
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
            use_rslora: false,
            lora_dropout: 0.0,
            target_modules: vec![Projection::Q, Projection::Down],
            init_lora_weights: LoraInit::Gaussian,
            learning_rate: 5e-3,
            steps: 3,
            num_train_epochs: None,
            adam_betas: [0.9, 0.99],
            adam_epsilon: 1e-8,
            weight_decay: 0.0,
            max_grad_norm: None,
            lr_scheduler_type: Schedule::Linear,
            warmup_steps: 0,
            warmup_ratio: 0.0,
            sequences_per_step: None,
            gradient_accumulation_steps: 1,
            max_tokens_per_forward: None,
            loss_watchdog_threshold: None,
            loss_watchdog_patience: default_patience(),
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
        let digest = recipe().digest(&[source([0; 32])], None).unwrap();
        assert_eq!(digest, recipe().digest(&[source([0; 32])], None).unwrap());
        assert_ne!(digest, recipe().digest(&[source([1; 32])], None).unwrap());
        let mut longer = recipe();
        longer.steps += 1;
        assert_ne!(digest, longer.digest(&[source([0; 32])], None).unwrap());
    }

    #[test]
    fn every_field_of_the_recipe_reaches_its_digest() {
        let plain = recipe();
        let patient = UpdateRecipe { loss_watchdog_threshold: Some(4.0), ..recipe() };
        let mut recipes = vec![
            plain.clone(),
            UpdateRecipe { use_rslora: true, ..recipe() },
            UpdateRecipe { lora_dropout: 0.1, ..recipe() },
            UpdateRecipe { warmup_steps: 1, ..recipe() },
            UpdateRecipe { warmup_ratio: 0.1, ..recipe() },
            UpdateRecipe { gradient_accumulation_steps: 2, ..recipe() },
            UpdateRecipe { max_tokens_per_forward: Some(64), ..recipe() },
            UpdateRecipe { loss_watchdog_patience: 5, ..patient.clone() },
            patient,
        ];
        let count = recipes.len();
        recipes.sort_by_cached_key(|recipe| recipe.digest(&[], None).unwrap().to_string());
        recipes.dedup_by_key(|recipe| recipe.digest(&[], None).unwrap());
        assert_eq!(recipes.len(), count);
        let idle = UpdateRecipe { loss_watchdog_patience: 9, ..recipe() };
        let digest = |recipe: &UpdateRecipe, chat| recipe.digest(&[], chat).unwrap();
        assert_eq!(digest(&idle, None), digest(&plain, None), "nothing to wait for");
        let settings = ChatSettings::default();
        assert_ne!(digest(&plain, Some(&settings)), digest(&plain, None), "asked in another way");
        let brief = ChatSettings { system: Some("Be brief.".to_owned()), ..settings.clone() };
        assert_ne!(digest(&plain, Some(&brief)), digest(&plain, Some(&settings)));
    }

    #[test]
    fn recipes_of_before_keep_their_digests() {
        let known = "f4582e6307bca0145ade923c2706d43c08a103dfe4b977e23effe52c7e38b92b";
        assert_eq!(recipe().digest(&[source([0; 32])], None).unwrap().to_string(), known);
    }

    #[test]
    fn a_recipe_that_no_run_can_have_is_refused() {
        assert!(recipe().check().is_ok());
        let endless = UpdateRecipe { learning_rate: f64::INFINITY, ..recipe() };
        assert!(endless.check().is_err());
        let idle = UpdateRecipe { steps: 0, ..recipe() };
        assert!(idle.check().is_err());
        let both = UpdateRecipe { num_train_epochs: Some(10), ..recipe() };
        assert!(both.check().unwrap_err().to_string().contains("num_train_epochs"));
        let never = UpdateRecipe { steps: 0, num_train_epochs: Some(0), ..recipe() };
        assert!(never.check().is_err());
    }

    #[test]
    fn passes_become_steps_that_grow_with_the_sequences() {
        let steps = |per_step, sequences| {
            let recipe = UpdateRecipe {
                steps: 0,
                num_train_epochs: Some(10),
                sequences_per_step: per_step,
                ..recipe()
            };
            assert!(recipe.check().is_ok());
            recipe.sized(sequences).steps
        };
        assert_eq!([steps(Some(1), 9), steps(Some(4), 9), steps(None, 9)], [90, 30, 10]);
        let sized = UpdateRecipe { steps: 0, num_train_epochs: Some(1), ..recipe() }.sized(9);
        assert_eq!(sized, UpdateRecipe { steps: 1, ..recipe() });
    }
}
