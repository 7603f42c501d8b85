//! `judge.toml`. Relative paths are taken from the file's own folder.

use std::path::{Path, PathBuf};

use seal_endpoint::{EgressConfig, OpenAiConfig};
use seal_protocol::Digest;
use seal_service::config::ConfigError;
use seal_service::confine::ConfinementConfig;
use seal_service::endpoint::Endpoint;
use seal_service::http::Limits;
use seal_service::tls::TlsConfig;
use serde::Deserialize;

/// All settings of the judge.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeConfig {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Certificates, for an endpoint `tls:host:port`.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Bounds on requests and connections.
    #[serde(default)]
    pub limits: Limits,
    /// Its own folder: jobs, the record of what left, paid answers.
    pub state: PathBuf,
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
    /// What edits are held against.
    pub constitution: PathBuf,
    /// Who answers, for people: stands in every judgement.
    pub name: String,
    /// Longest edit that is judged, in bytes of its texts; a longer one goes without, and is refused.
    #[serde(default = "longest_edit")]
    pub max_edit_bytes: usize,
    /// Longest answer, in tokens.
    #[serde(default = "longest_answer")]
    pub max_answer_tokens: usize,
    /// The endpoint that is asked, as for a teacher with `kind = "openai"`.
    pub backend: OpenAiConfig,
    /// What may leave this machine.
    #[serde(default)]
    pub egress: EgressConfig,
    /// What the kernel enforces on this process.
    pub confinement: ConfinementConfig,
}

const fn longest_edit() -> usize {
    64 << 10
}

const fn longest_answer() -> usize {
    512
}

impl JudgeConfig {
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
        let own = [&mut self.state, &mut self.key, &mut self.trust_root, &mut self.constitution];
        let paths =
            own.into_iter().chain(&mut self.backend.api_key_file).chain(&mut self.egress.ca_file);
        paths.for_each(|path| *path = folder.join(&path));
        self.tls.iter_mut().for_each(|tls| tls.resolve(folder));
        self.endpoint = self.endpoint.clone().under(folder);
        self.confinement.resolve(folder);
    }
}
