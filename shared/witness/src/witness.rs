//! A role as a reader of the auditor's ledger: takes what it is shown, cosigns what it takes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use seal_protocol::{Digest, Envelope, LedgerHead, LedgerSeen, LedgerShown, Role, UnixSeconds};
use seal_service::clock::Clock;
use seal_trust::{SigningKey, TrustedRoot, cosignature, envelope_to_bytes, sha256};
use serde::Deserialize;

use crate::heads::{Heads, HeadsError, Terms};
use crate::own_key::{OwnKeyError, own_key};

/// `[ledger]` of a role that acts on verdicts.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerConfig {
    /// Ledgers whose verdicts count, by the name in their checkpoints.
    #[serde(default = "default_origins")]
    pub origins: Vec<String>,
    /// The private key with which this role cosigns the checkpoints that it accepts; absent: it
    /// remembers them and says nothing.
    #[serde(default)]
    pub witness_key: Option<PathBuf>,
    /// The name on its cosignatures.
    #[serde(default = "default_name")]
    pub witness_name: String,
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { origins: default_origins(), witness_key: None, witness_name: default_name() }
    }
}

fn default_origins() -> Vec<String> {
    vec!["seal.internal/auditor".to_owned()]
}

fn default_name() -> String {
    "seal.internal/witness".to_owned()
}

impl LedgerConfig {
    /// Takes relative paths from the config file's folder.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(path) = &mut self.witness_key {
            *path = folder.join(&*path);
        }
    }

    /// Reads the cosigning key, before the process is confined.
    ///
    /// # Errors
    /// A file that is no unrevoked witness key of the trust root.
    pub fn read_key(&self, root: &TrustedRoot) -> Result<Option<SigningKey>, OwnKeyError> {
        let read = |path: &PathBuf| own_key(root, Role::Witness, path);
        self.witness_key.as_ref().map(read).transpose()
    }
}

/// A role's memory of ledgers, with its voice.
pub struct Witness {
    heads: Heads,
    root: TrustedRoot,
    config: LedgerConfig,
    key: Option<SigningKey>,
    clock: Arc<dyn Clock>,
}

impl Witness {
    /// Opens the memory in the role's state folder.
    ///
    /// # Errors
    /// A file that does not open.
    pub fn open(
        state: &Path,
        root: TrustedRoot,
        config: LedgerConfig,
        key: Option<SigningKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, HeadsError> {
        Ok(Self { heads: Heads::open(state)?, root, config, key, clock })
    }

    /// Takes a ledger's head and rows, and cosigns the checkpoint where this role is a witness.
    ///
    /// # Errors
    /// Whatever does not hold: a signature, a rolled back or forked history, a row that is not in
    /// it. Then nothing is remembered or signed.
    pub fn take(&self, shown: &LedgerShown) -> Result<LedgerSeen, HeadsError> {
        let now = self.clock.now();
        let own = self.key.as_ref().map(|key| key.public().keyid());
        let terms = Terms {
            root: &self.root,
            origins: &self.config.origins,
            now,
            own_witness: own.as_deref(),
        };
        let taken = self.heads.take(shown, &terms)?;
        let (origin, size, root) =
            (taken.checkpoint.origin, taken.checkpoint.size, taken.checkpoint.root);
        Ok(LedgerSeen {
            head: LedgerHead { origin, size, root },
            cosignature: self.cosignature(&shown.checkpoint, now)?,
            witnesses_missing: taken.witnesses_missing as u64,
        })
    }

    fn cosignature(&self, note: &str, now: UnixSeconds) -> Result<Option<String>, HeadsError> {
        let Some(key) = &self.key else { return Ok(None) };
        Ok(Some(cosignature(key, &self.config.witness_name, note, now)?))
    }

    /// Every verdict was shown to stand in a ledger that this role goes by.
    ///
    /// # Errors
    /// `NotShown` for the first that was not.
    pub fn demand_shown<'a>(
        &self,
        verdicts: impl IntoIterator<Item = &'a Envelope>,
    ) -> Result<(), HeadsError> {
        let mut digests = verdicts.into_iter().map(file_digest);
        digests.try_for_each(|digest| self.heads.demand_shown(&digest))
    }

    /// Forgets a ledger's head by the operator's word, see [`Heads::acknowledge`].
    ///
    /// # Errors
    /// As there.
    pub fn acknowledge(
        &self,
        origin: &str,
        reason: &str,
        now: UnixSeconds,
    ) -> Result<LedgerHead, HeadsError> {
        self.heads.acknowledge(origin, reason, now)
    }

    /// Every remembered head.
    ///
    /// # Errors
    /// A row that does not read.
    pub fn known(&self) -> Result<Vec<LedgerHead>, HeadsError> {
        self.heads.known()
    }
}

fn file_digest(envelope: &Envelope) -> Digest {
    sha256(&envelope_to_bytes(envelope))
}
