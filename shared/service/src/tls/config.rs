//! `[tls]` of a role's config and of `run.toml`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What proves who we are, and who may speak to us. Files are PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The first part of every name: `spiffe://<trust_domain>/<role>/<id>`.
    pub trust_domain: String,
    /// Certificates of the CAs whose certificates are accepted; no others are.
    pub ca: PathBuf,
    /// Revocation lists of those CAs. Where it is named, every CA of a chain needs a list here that has
    /// not expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<PathBuf>,
    /// Our certificate, followed by those between it and the CA, if there are any.
    pub certificate: PathBuf,
    /// Its private key, mode 0600.
    pub key: PathBuf,
}

impl TlsConfig {
    /// Relative paths are taken from `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        let named = [&mut self.ca, &mut self.certificate, &mut self.key];
        for path in named.into_iter().chain(&mut self.revoked) {
            *path = folder.join(&path);
        }
    }
}
