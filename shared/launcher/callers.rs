//! `[tls]` of `run.toml`: with which certificates the daemons of other hosts are called.

use std::path::{Path, PathBuf};

use anyhow::Result;
use seal_conductor::client::Client;
use seal_service::endpoint::Endpoint;
use seal_service::tls::{Party, TlsClient, TlsConfig};
use serde::{Deserialize, Serialize};

/// `[tls]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CallersConfig {
    pub(crate) trust_domain: String,
    pub(crate) ca: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revoked: Option<PathBuf>,
    /// The conductor's, which `seal run` shows; on an operator's machine the operator's.
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// What `seal ask`, `promote` and `rollback` show; absent: the pair above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operator: Option<Pair>,
}

/// `[tls.operator]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Makes clients for one kind of caller.
pub(crate) struct Callers {
    tls: Option<TlsClient>,
}

impl Callers {
    /// Those of `seal run`, or with [`Party::Operator`] of the commands on what serves. Without
    /// `[tls]` daemons of this machine alone can be called.
    pub(crate) fn read(
        config: Option<&CallersConfig>,
        acting: Party,
        folder: &Path,
    ) -> Result<Self> {
        let Some(config) = config else { return Ok(Self { tls: None }) };
        let operator = config.operator.as_ref().filter(|_| acting == Party::Operator);
        let (certificate, key) = match operator {
            Some(pair) => (&pair.certificate, &pair.key),
            None => (&config.certificate, &config.key),
        };
        let mut tls = TlsConfig {
            trust_domain: config.trust_domain.clone(),
            ca: config.ca.clone(),
            revoked: config.revoked.clone(),
            certificate: certificate.clone(),
            key: key.clone(),
        };
        tls.resolve(folder);
        // Where there is one pair for everything, the daemons say what it may not do.
        let parties: &[Party] = match acting {
            Party::Operator => &[Party::Operator, Party::Conductor],
            _ => &[Party::Conductor],
        };
        Ok(Self { tls: Some(TlsClient::read(&tls, parties)?) })
    }

    pub(crate) fn client(&self, endpoint: &Endpoint, daemon: Party) -> Client {
        let client = Client::new(endpoint);
        match &self.tls {
            Some(tls) => client.over_tls(tls, daemon),
            None => client,
        }
    }
}
