//! `auditor.toml`. Relative paths are taken from the file's own folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use seal_model::DeviceChoice;
use seal_model::chat::ChatSettings;
use seal_protocol::Digest;
use seal_service::config::ConfigError;
use seal_service::confine::ConfinementConfig;
use seal_service::endpoint::Endpoint;
use seal_service::http::Limits;
use seal_service::tls::TlsConfig;
use serde::Deserialize;

use crate::gate::GateSettings;
use crate::grading::Gradings;
use crate::recompute::{RecomputationConfig, Share};

/// All settings of the auditor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditorConfig {
    /// Where it listens. It connects to nothing.
    pub endpoint: Endpoint,
    /// Certificates, for an endpoint `tls:host:port`.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Bounds on requests and connections.
    #[serde(default)]
    pub limits: Limits,
    /// Its own folder: ledger, verdicts, annexes, adapters under audit.
    pub state: PathBuf,
    /// Folder of the base model.
    pub base_model: PathBuf,
    /// What computes: `cpu`, `auto`, `cuda` or `cuda:N`.
    #[serde(default)]
    pub device: DeviceChoice,
    /// Its private key, for verdicts.
    pub key: PathBuf,
    /// The ledger's private key, for checkpoints.
    pub ledger_key: PathBuf,
    /// Name of the ledger in its checkpoints.
    #[serde(default = "default_origin")]
    pub ledger_origin: String,
    /// End when the process that started this one does.
    #[serde(default)]
    pub exit_with_parent: bool,
    /// The trust root's file.
    pub trust_root: PathBuf,
    /// SHA-256 of the trust root's file; absent: the file is taken as it is.
    #[serde(default)]
    pub trust_root_sha256: Option<Digest>,
    /// How an item is asked; `{question}` stands for its question. With `[chat]` it is the user's turn.
    pub prompt: String,
    /// Ask in the base model's own chat format. Absent: in plain text.
    #[serde(default)]
    pub chat: Option<ChatSettings>,
    /// Life of a verdict, in seconds; at most the trust root's limit.
    pub verdict_ttl_s: u64,
    /// Which adapters are trained again before they are measured.
    #[serde(default)]
    pub recompute: Share,
    /// By which tables, and how they are compared; needed unless `recompute` is `"never"`.
    #[serde(default)]
    pub recomputation: Option<RecomputationConfig>,
    /// Longest time that one audit may take, in seconds: training again and measuring. What is not over
    /// by then is refused by name.
    #[serde(default = "default_audit_limit_s")]
    pub audit_time_limit_s: u64,
    /// What only this role may read.
    pub vault: VaultConfig,
    /// How answers are judged, by suite.
    #[serde(default)]
    pub grading: Gradings,
    /// Levels and limits of the gate, and the selection rule.
    #[serde(default)]
    pub gate: GateSettings,
    /// A judge who holds every edit against a constitution; absent: none is demanded.
    #[serde(default)]
    pub judge: Option<JudgeConfig>,
    /// Written policy, asked after the gate; absent: none is.
    #[serde(default)]
    pub policy: Option<PolicyConfig>,
    /// What the kernel enforces on this process.
    pub confinement: ConfinementConfig,
}

/// `[vault]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// τ of every context.
    pub tau: PathBuf,
    /// Suite of knowledge that must survive.
    pub retention: PathBuf,
    /// Suite of protected behaviour on entities that no context is about; may be left out only where
    /// `[gate.protected]` says `demanded = false`.
    #[serde(default)]
    pub refusals: Option<PathBuf>,
    /// Suite of harmless questions that look as if they had to be refused; the gold of each is the
    /// refusal that must not come. Absent: over-refusal is not measured.
    #[serde(default)]
    pub benign: Option<PathBuf>,
    /// Text rules on edits.
    pub rules: PathBuf,
    /// Items of the retention suite, from its start, that an edit is measured on. A promotion is
    /// measured on all.
    pub retention_items_per_edit: usize,
    /// The same for the refusal suite, and for the harmless one.
    pub refusal_items_per_edit: usize,
}

/// `[judge]`. The judge is a process of its own; this one takes its signed judgements in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeConfig {
    /// The constitution: the same file, byte for byte, as the judge's.
    pub constitution: PathBuf,
}

/// `[policy]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyConfig {
    /// Folder of Rego files, tests among them.
    pub bundle: PathBuf,
    /// Longest time for one decision, in milliseconds; a decision takes a few. What takes longer is
    /// refused.
    #[serde(default = "default_policy_limit_ms")]
    pub time_limit_ms: u64,
}

impl PolicyConfig {
    /// Longest time for one decision.
    pub fn time_limit(&self) -> Duration {
        Duration::from_millis(self.time_limit_ms)
    }
}

/// Below the hour after which a conductor gives a job up, so that the refusal is there before that.
pub(crate) const fn default_audit_limit_s() -> u64 {
    2_700
}

/// A decision takes a few milliseconds; a machine under load may take a hundred times that.
const fn default_policy_limit_ms() -> u64 {
    2_000
}

/// Name of a ledger that nobody named.
pub const DEFAULT_ORIGIN: &str = "seal.internal/auditor";

fn default_origin() -> String {
    DEFAULT_ORIGIN.to_owned()
}

impl AuditorConfig {
    /// Longest time that one audit may take.
    pub fn audit_time_limit(&self) -> Duration {
        Duration::from_secs(self.audit_time_limit_s)
    }

    /// Reads a config file.
    ///
    /// # Errors
    /// A file that is missing, malformed, or holds an unknown key.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = seal_service::config::load(path)?;
        config.resolve(path.parent().unwrap_or_else(|| Path::new("")));
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        let own = [
            &mut self.state,
            &mut self.base_model,
            &mut self.key,
            &mut self.ledger_key,
            &mut self.trust_root,
            &mut self.vault.tau,
            &mut self.vault.retention,
            &mut self.vault.rules,
        ];
        let constitution = self.judge.as_mut().map(|judge| &mut judge.constitution);
        let bundle = self.policy.as_mut().map(|policy| &mut policy.bundle);
        let refusals = self.vault.refusals.iter_mut().chain(&mut self.vault.benign);
        let tables = self.recomputation.as_mut().map(|settings| &mut settings.update_tables);
        let paths = own.into_iter().chain(bundle).chain(constitution).chain(refusals).chain(tables);
        paths.for_each(|path| *path = folder.join(&path));
        self.tls.iter_mut().for_each(|tls| tls.resolve(folder));
        self.endpoint = self.endpoint.clone().under(folder);
        self.confinement.resolve(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Rules;

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/miniature")
    }

    #[test]
    fn the_miniature_config_parses_and_its_paths_start_at_its_folder() {
        let config = AuditorConfig::load(&folder().join("auditor.toml")).unwrap();
        assert!(config.state.starts_with(folder()));
        assert!(config.vault.tau.starts_with(folder()));
        assert!(matches!(config.endpoint, Endpoint::Unix(path) if path.starts_with(folder())));
        assert!(config.gate.checked().is_ok());
    }

    #[test]
    fn the_miniature_rules_pass_their_own_examples() {
        Rules::load(&folder().join("rules.toml")).unwrap();
    }

    #[test]
    fn the_chat_table_of_the_shipped_config_parses_once_it_is_no_comment() {
        let shipped =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/miniature/auditor.toml");
        let text = std::fs::read_to_string(shipped).unwrap();
        let (before, rest) = text.split_once("# [chat]\n").unwrap();
        let (table, after) = rest.split_once("\n\n").unwrap();
        let table: String = table.lines().map(|line| line.replacen("# ", "", 1) + "\n").collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auditor.toml");
        std::fs::write(&path, format!("{before}[chat]\n{table}\n{after}")).unwrap();
        let chat = AuditorConfig::load(&path).unwrap().chat.unwrap();
        assert_eq!(chat.system.as_deref(), Some("Answer briefly."));
        assert_eq!(chat.date.unwrap().to_string(), "2024-07-26");
        assert!(chat.variables.contains_key("enable_thinking"));
    }
}
