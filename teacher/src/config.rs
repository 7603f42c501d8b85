//! `teacher.toml`. Relative paths are taken from the file's own folder.

use std::path::{Path, PathBuf};

use seal_endpoint::{EgressConfig, FineTuningConfig};
use seal_model::chat::ChatSettings;
use seal_model::gguf::is_gguf;
use seal_model::{DeviceChoice, LoraSpec};
use seal_protocol::Digest;
use seal_recipe::ReplayQuota;
use seal_service::config::ConfigError;
use seal_service::confine::ConfinementConfig;
use seal_service::endpoint::Endpoint;
use seal_service::http::Limits;
use seal_service::tls::TlsConfig;
use seal_training::{InnerRecipe, OptimRecipe, Schedule, TrainError};
use seal_witness::LedgerConfig;
use serde::Deserialize;

use crate::backends::BackendConfig;
use crate::exemplars::ExemplarSettings;
use crate::family::{Layout, TextFamily};
use crate::family_choice::FamilyChoice;
use crate::first_policy::PolicySource;
use crate::sampling::SamplingSettings;

/// All settings of the teacher.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TeacherConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Certificates, for an endpoint `tls:host:port`.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Bounds on requests and connections.
    #[serde(default)]
    pub limits: Limits,
    /// Its own folder: database, edits, replies, policies.
    pub state: PathBuf,
    /// Folder of the base model that edits are meant for.
    pub base_model: PathBuf,
    /// What computes: `cpu`, `auto`, `cuda` or `cuda:N`.
    #[serde(default)]
    pub device: DeviceChoice,
    /// The policy before any update, a model folder or a GGUF file; absent: the base model itself.
    #[serde(default)]
    pub policy: Option<PathBuf>,
    /// End when the process that started this one does.
    #[serde(default)]
    pub exit_with_parent: bool,
    /// Its private key.
    pub key: PathBuf,
    /// The trust root's file.
    pub trust_root: PathBuf,
    /// SHA-256 of the trust root's file; absent: the file is taken as it is.
    #[serde(default)]
    pub trust_root_sha256: Option<Digest>,
    /// The contexts, JSON Lines.
    pub contexts: PathBuf,
    /// Who writes replies.
    #[serde(default)]
    pub backend: BackendConfig,
    /// What may leave this machine.
    #[serde(default)]
    pub egress: EgressConfig,
    /// Backend and model, as recorded in every edit.
    pub writer: String,
    /// How prompts are written and replies are read: the name or file of a text family, or a table of
    /// words.
    pub prompt_family: FamilyChoice,
    /// How a text family's prompts look.
    #[serde(default)]
    pub layout: Layout,
    /// How a local policy is talked to in the layout `chat`.
    #[serde(default)]
    pub chat: ChatSettings,
    /// How replies are drawn.
    pub sampling: SamplingSettings,
    /// The M-step; absent where the policy's weights are elsewhere.
    #[serde(default)]
    pub policy_update: Option<PolicyUpdateSettings>,
    /// The M-step of a policy whose weights are elsewhere; absent: it does not learn.
    #[serde(default)]
    pub exemplars: Option<ExemplarSettings>,
    /// The same by the endpoint's own fine-tuning, where it has one.
    #[serde(default)]
    pub fine_tuning: Option<FineTuningConfig>,
    /// Which ledgers this teacher goes by, and how it cosigns them.
    #[serde(default)]
    pub ledger: LedgerConfig,
    /// What the kernel enforces on this process.
    pub confinement: ConfinementConfig,
}

/// `[policy_update]`. Key names are those of the `transformers` trainer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyUpdateSettings {
    /// Peak learning rate of AdamW.
    pub learning_rate: f64,
    /// Course of the learning rate.
    pub lr_scheduler_type: Schedule,
    /// Steps in which the learning rate rises from 0.
    #[serde(default)]
    pub warmup_steps: u64,
    /// The same as a share of all steps; `warmup_steps` overrides it.
    #[serde(default)]
    pub warmup_ratio: f64,
    /// AdamW's β₁ and β₂.
    pub adam_betas: [f64; 2],
    /// AdamW's ε.
    pub adam_epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Clips the gradient's global norm; absent: no clipping.
    #[serde(default)]
    pub max_grad_norm: Option<f64>,
    /// Accepted edits per step.
    pub batch: usize,
    /// Parts that a step is computed in, one after another: less memory, the same update within
    /// rounding.
    #[serde(default = "one")]
    pub gradient_accumulation_steps: usize,
    /// Most tokens of one forward; what exceeds it is computed in further ones, as above. Absent:
    /// what fits the engine.
    #[serde(default)]
    pub max_tokens_per_forward: Option<usize>,
    /// Keep only each layer's input during training and compute the rest again: less memory, more
    /// time, the same policy.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Steps between two saves of an unfinished update, from which a restarted teacher goes on; a
    /// save is three times as large as the policy. 0: none.
    #[serde(default)]
    pub save_steps: u64,
    /// Passes over the accepted edits.
    pub epochs: usize,
    /// Loss weight of a directive; any other word of a reply weighs 1.
    pub directive_weight: f32,
    /// Lines mixed into every step.
    pub replay: Vec<ReplayQuota>,
    /// An adapter is trained instead of all weights, and stacked on those of earlier updates.
    #[serde(default)]
    pub lora: Option<LoraSpec>,
}

fn one() -> usize {
    1
}

impl PolicyUpdateSettings {
    /// The optimizer's part, as the engine takes it.
    pub(crate) fn optimizer(&self) -> OptimRecipe {
        OptimRecipe {
            learning_rate: self.learning_rate,
            betas: self.adam_betas.into(),
            eps: self.adam_epsilon,
            weight_decay: self.weight_decay,
            clip: self.max_grad_norm,
            schedule: self.lr_scheduler_type,
            warmup_steps: self.warmup_steps,
            warmup_ratio: self.warmup_ratio,
            gradient_accumulation_steps: self.gradient_accumulation_steps,
            max_tokens_per_forward: self.max_tokens_per_forward,
            ..OptimRecipe::default()
        }
    }
}

impl PolicyUpdateSettings {
    /// Optimizer steps over so many accepted edits.
    pub(crate) fn steps(&self, lessons: usize) -> usize {
        self.epochs.saturating_mul(lessons.div_ceil(self.batch.max(1)))
    }

    /// The recipe of an adapter, where one is trained.
    pub(crate) fn adapter_recipe(&self, lessons: usize) -> Option<InnerRecipe> {
        let optimizer = self.optimizer();
        let kept: usize = self.replay.iter().map(|quota| quota.lines).sum();
        self.lora.clone().map(|lora| InnerRecipe {
            lora,
            learning_rate: optimizer.learning_rate,
            steps: self.steps(lessons) as u64,
            betas: optimizer.betas,
            eps: optimizer.eps,
            weight_decay: optimizer.weight_decay,
            clip: optimizer.clip,
            schedule: optimizer.schedule,
            warmup_steps: optimizer.warmup_steps,
            warmup_ratio: optimizer.warmup_ratio,
            sequences_per_step: Some(self.batch.max(1) + kept),
            gradient_accumulation_steps: optimizer.gradient_accumulation_steps,
            max_tokens_per_forward: optimizer.max_tokens_per_forward,
            ..InnerRecipe::default()
        })
    }

    /// Refuses a recipe that no update could have.
    pub(crate) fn check(&self) -> Result<(), TrainError> {
        self.optimizer().check()?;
        self.adapter_recipe(1).map_or(Ok(()), |recipe| recipe.check())
    }
}

impl TeacherConfig {
    /// Reads a config file.
    ///
    /// # Errors
    /// A file that is missing, malformed, or holds an unknown key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = seal_service::config::load(path)?;
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        config.resolve(folder);
        if let FamilyChoice::Named(name) = &config.prompt_family {
            config.prompt_family = FamilyChoice::Texts(TextFamily::find(name, folder)?);
        }
        Ok(config)
    }

    /// What serde cannot see.
    pub(crate) fn check(&self) -> Result<(), String> {
        let local = matches!(self.backend, BackendConfig::Local(_));
        self.sampling.check(local)?;
        self.check_tuning()?;
        match (local, &self.exemplars, &self.policy_update) {
            (true, Some(_), _) => {
                Err("[exemplars] is for policies whose weights are elsewhere; a \
                                       local policy learns by [policy_update]"
                    .to_owned())
            }
            (false, _, Some(_)) => {
                Err("[policy_update] trains weights, and this backend has none; \
                                        use [exemplars] or [fine_tuning], or leave all out"
                    .to_owned())
            }
            _ if is_gguf(&self.base_model) => Err(format!(
                "`base_model` = \"{}\" is what the student trains and the auditor measures, which no \
                 GGUF file can be; name the model folder, and the file as `policy`",
                self.base_model.display()
            )),
            _ if self.chat != ChatSettings::default() && !(local && self.layout == Layout::Chat) => {
                Err("[chat] is for a local policy that is asked in turns; set `layout = \"chat\"`, \
                     or leave the table out"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_tuning(&self) -> Result<(), String> {
        let Some(tuning) = &self.fine_tuning else { return Ok(()) };
        let wrong = |reason: &str| Err(format!("[fine_tuning] {reason}"));
        match &self.backend {
            BackendConfig::Local(_) => wrong(
                "is for models that an endpoint tunes; a local policy learns by [policy_update]",
            ),
            BackendConfig::Recorded(_) => wrong(
                "is for models that an endpoint tunes, and recorded replies have none; leave it out",
            ),
            BackendConfig::OpenAi(_) if self.exemplars.is_some() => {
                wrong("and [exemplars] are two ways for one policy to learn; keep one")
            }
            BackendConfig::OpenAi(_) if self.egress.offline => wrong(
                "sends accepted edits to the endpoint, and `offline = true` under [egress] lets nothing \
                 leave; leave out one of them",
            ),
            BackendConfig::OpenAi(api) => tuning.check(api),
        }
    }

    /// The policy before any update.
    pub fn first_policy(&self) -> &Path {
        self.policy.as_deref().unwrap_or(&self.base_model)
    }

    /// Where that lies, with what reads its texts.
    pub fn policy_source(&self) -> PolicySource {
        let tokenizer = match &self.backend {
            BackendConfig::Local(local) => local.tokenizer.clone(),
            BackendConfig::OpenAi(_) | BackendConfig::Recorded(_) => None,
        };
        PolicySource { model: self.first_policy().to_owned(), tokenizer }
    }

    fn resolve(&mut self, folder: &Path) {
        let replay = self.policy_update.iter_mut().flat_map(|update| &mut update.replay);
        let paths = [
            &mut self.state,
            &mut self.base_model,
            &mut self.key,
            &mut self.trust_root,
            &mut self.contexts,
        ];
        let paths = paths
            .into_iter()
            .chain(&mut self.policy)
            .chain(replay.map(|quota| &mut quota.file))
            .chain(self.backend.files())
            .chain(&mut self.egress.ca_file);
        paths.for_each(|path| *path = folder.join(&path));
        self.ledger.resolve(folder);
        self.tls.iter_mut().for_each(|tls| tls.resolve(folder));
        self.endpoint = self.endpoint.clone().under(folder);
        self.confinement.resolve(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_miniature_config_parses_and_its_paths_start_at_its_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/miniature");
        let config = TeacherConfig::load(&folder.join("teacher.toml")).unwrap();
        assert!(config.contexts.starts_with(&folder));
        assert_eq!(config.first_policy(), folder.join("base"));
        let FamilyChoice::Words(family) = &config.prompt_family else { panic!("words") };
        assert_eq!(family.directive_prefixes, ["plan_", "size_"]);
        assert!(matches!(config.backend, BackendConfig::Local(_)), "a config without [backend]");
        assert_eq!(config.egress, EgressConfig::default());
        assert!(config.policy_update.unwrap().replay[0].file.starts_with(&folder));
    }
}
