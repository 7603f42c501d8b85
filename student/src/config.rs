//! `student.toml`. Relative paths are taken from the file's own folder.

use std::path::{Path, PathBuf};

use seal_model::DeviceChoice;
use seal_model::chat::ChatSettings;
use seal_protocol::Digest;
use seal_recipe::{ConsolidationConfig, DirectiveLimits, UpdateRecipe};
use seal_service::config::ConfigError;
use seal_service::confine::ConfinementConfig;
use seal_service::endpoint::Endpoint;
use seal_service::http::Limits;
use seal_service::tls::TlsConfig;
use seal_witness::LedgerConfig;
use serde::Deserialize;

/// All settings of the student.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StudentConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Certificates, for an endpoint `tls:host:port`.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Bounds on requests and connections.
    #[serde(default)]
    pub limits: Limits,
    /// Its own folder: database, adapters, signed messages.
    pub state: PathBuf,
    /// Folder of the base model.
    pub base_model: PathBuf,
    /// What computes: `cpu`, `auto`, `cuda` or `cuda:N`.
    #[serde(default)]
    pub device: DeviceChoice,
    /// Name of the base model, written into every adapter for those who load it elsewhere.
    pub base_name: String,
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
    /// Candidates that train side by side; bounds memory, changes no result.
    pub candidates_per_batch: usize,
    /// Keep only each layer's input during training and compute the rest again: less memory, more
    /// time, the same adapters.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Optimizer steps between two saves of an unfinished update, from which a restarted student
    /// goes on; 0: none.
    #[serde(default = "fifty")]
    pub save_steps: u64,
    /// Longest training sequence; an edit with a longer one is refused.
    pub max_sequence_tokens: usize,
    /// Keep the adapters of all candidates. Otherwise a promotion deletes every adapter file that
    /// no version uses: by then the auditor has judged them and keeps its own copies.
    pub keep_candidates: bool,
    /// The update that turns one edit into an adapter.
    pub inner_update: UpdateRecipe,
    /// The update that turns all accepted edits into one adapter.
    pub consolidation: ConsolidationConfig,
    /// Which ledgers this student goes by, and how it cosigns them.
    #[serde(default)]
    pub ledger: LedgerConfig,
    /// How far an edit may move the inner update.
    pub directives: DirectiveLimits,
    /// Talk to the base model in its own chat format: questions, prompts with completions, and
    /// conversations. Absent: in plain text.
    #[serde(default)]
    pub chat: Option<ChatSettings>,
    /// How questions are answered.
    pub serving: ServingConfig,
    /// What the kernel enforces on this process.
    pub confinement: ConfinementConfig,
}

/// `[serving]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingConfig {
    /// The prompt; `{question}` stands for the user's words. With `[chat]` it is the user's turn.
    pub prompt: String,
    /// Tokens that end an answer; they are not part of it.
    pub stop: Vec<String>,
    /// How the next word is chosen.
    #[serde(default)]
    pub sampling: AnswerSampling,
    /// Longest answer that may be asked for.
    pub max_new_tokens: u32,
    /// Longest question, in characters.
    pub max_question_chars: usize,
}

/// How the words of an answer are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerSampling {
    /// Always the most likely one.
    #[default]
    Greedy,
    /// As generation_config.json of the base model says, with the same seed for every question.
    Model,
}

fn fifty() -> u64 {
    50
}

impl StudentConfig {
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
        let replay = self.inner_update.replay.iter_mut().chain(&mut self.consolidation.replay);
        let paths = [&mut self.state, &mut self.base_model, &mut self.key, &mut self.trust_root];
        let paths = paths.into_iter().chain(replay.map(|quota| &mut quota.file));
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
        let config = StudentConfig::load(&folder.join("student.toml")).unwrap();
        assert!(config.state.starts_with(&folder));
        assert!(config.inner_update.replay[0].file.starts_with(&folder));
        assert!(matches!(config.endpoint, Endpoint::Unix(path) if path.starts_with(&folder)));
        assert_eq!((config.inner_update.r, config.inner_update.steps), (16, 14));
    }

    #[test]
    fn the_chat_table_of_the_shipped_config_parses_once_it_is_no_comment() {
        let shipped =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/miniature/student.toml");
        let text = std::fs::read_to_string(shipped).unwrap();
        let (before, rest) = text.split_once("# [chat]\n").unwrap();
        let (table, after) = rest.split_once("\n\n").unwrap();
        let table: String = table.lines().map(|line| line.replacen("# ", "", 1) + "\n").collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("student.toml");
        std::fs::write(&path, format!("{before}[chat]\n{table}\n{after}")).unwrap();
        let chat = StudentConfig::load(&path).unwrap().chat.unwrap();
        assert_eq!(chat.system.as_deref(), Some("Answer briefly."));
        assert_eq!(chat.date.unwrap().to_string(), "2024-07-26");
        assert!(chat.variables.contains_key("enable_thinking"));
    }
}
