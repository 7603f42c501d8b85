//! The teacher: contexts, policies, key, trust root, stores. Its work is in the modules beside this.
//!
//! **Invariant:** nothing here opens a connection, reads τ, or touches the student's weights.

use std::path::Path;
use std::sync::Arc;

use seal_model::{Tokenizer, folder_digest};
use seal_protocol::{Digest, Envelope, Predicate, Role, Statement, Subject, UnixSeconds};
use seal_service::clock::Clock;
use seal_trust::{SigningKey, TrustRoot, TrustedRoot, payload_digest, sha256_file, sign_statement};

use crate::config::TeacherConfig;
use crate::contexts::{Context, Contexts};
use crate::edits::{EditStore, unwritable};
use crate::error::TeacherError;
use crate::memory::works;
use crate::policies::Policies;
use crate::prompt::Prompter;
use crate::replay::{self, ReplayLines};
use crate::state::State;

/// Reports units done and units in all.
pub type Report<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Everything the teacher's work needs.
pub struct Teacher {
    pub(crate) config: TeacherConfig,
    pub(crate) contexts: Contexts,
    pub(crate) prompter: Prompter,
    pub(crate) policies: Policies,
    pub(crate) edits: EditStore,
    pub(crate) state: State,
    pub(crate) replay: Vec<ReplayLines>,
    pub(crate) root: TrustedRoot,
    pub(crate) base_digest: Digest,
    pub(crate) tokenizer_digest: Digest,
    key: SigningKey,
    clock: Arc<dyn Clock>,
}

/// What is read before the process is confined, because afterwards it cannot be read again.
pub struct Identity {
    pub(crate) key: SigningKey,
    pub(crate) root: TrustedRoot,
}

impl Identity {
    /// Reads the key and the trust root.
    ///
    /// # Errors
    /// A key that is unreadable or holds another role, a trust root that is not to be trusted.
    pub fn read(config: &TeacherConfig, now: UnixSeconds) -> Result<Self, TeacherError> {
        let key = SigningKey::read(&config.key)?;
        let root = read_root(config, now)?;
        if root.role_of(&key.public()) == Some(Role::Teacher) {
            return Ok(Self { key, root });
        }
        Err(TeacherError::Config(format!(
            "the key `{}` is no teacher key of the trust root `{}`: use the key that was made with it",
            config.key.display(),
            config.trust_root.display()
        )))
    }
}

impl Teacher {
    /// Opens the stores, loads the first policy, reads contexts and replay files.
    ///
    /// # Errors
    /// A state folder that cannot be written or is damaged; a model folder, contexts or replay file
    /// that cannot be used; a prompt family that does not fit the tokenizer.
    pub fn load(
        config: TeacherConfig,
        identity: Identity,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TeacherError> {
        // A recipe that no run can have would fail every update; it fails the start instead.
        config.policy_update.optimizer().check()?;
        let opened = config.device.open()?;
        if let Some(note) = opened.note {
            tracing::warn!("{note}");
        }
        let device = opened.device;
        let first = config.first_policy();
        let tokenizer_file = config.base_model.join("tokenizer.json");
        let teacher = Self {
            contexts: Contexts::read(&config.contexts)?,
            prompter: Prompter::new(config.prompt_family.clone(), Tokenizer::load(first)?)?,
            policies: Policies::open(first, config.state.join("policies"), device, works(&config))?,
            edits: EditStore::open(&config.state)?,
            state: State::open(&config.state.join("state.sqlite"))?,
            replay: config
                .policy_update
                .replay
                .iter()
                .map(replay::read)
                .collect::<Result<_, _>>()?,
            base_digest: Digest::from_bytes(folder_digest(&config.base_model)?),
            tokenizer_digest: sha256_file(&tokenizer_file)
                .map_err(|source| unwritable(&tokenizer_file, source))?,
            root: identity.root,
            key: identity.key,
            clock,
            config,
        };
        teacher.restore_receipts()?;
        Ok(teacher)
    }

    /// Digest of the base model that edits are meant for.
    pub fn base_model_digest(&self) -> Digest {
        self.base_digest
    }

    /// Digest of the policy before any update.
    pub fn first_policy_digest(&self) -> Digest {
        self.policies.first_digest()
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    pub(crate) fn context(&self, digest: &Digest) -> Result<&Context, TeacherError> {
        self.contexts.get(digest).ok_or(TeacherError::ContextUnknown(*digest))
    }

    /// Which policy a request means.
    pub(crate) fn policy_digest(&self, asked: Option<Digest>) -> Result<Digest, TeacherError> {
        match asked {
            None => Ok(self.policies.first_digest()),
            Some(digest) if digest == self.policies.first_digest() => Ok(digest),
            Some(digest) if self.state.has_policy(&digest)? => Ok(digest),
            Some(digest) => Err(TeacherError::PolicyUnknown(digest)),
        }
    }

    /// Signs a statement in the teacher's name; returns it with the digest of its payload.
    pub(crate) fn sign<P: Predicate>(
        &self,
        subject: Subject,
        predicate: P,
    ) -> Result<(Envelope, Digest), TeacherError> {
        let envelope = sign_statement(&self.key, &Statement::new(vec![subject], predicate))?;
        let digest = payload_digest(&envelope)?;
        Ok((envelope, digest))
    }
}

fn read_root(config: &TeacherConfig, now: UnixSeconds) -> Result<TrustedRoot, TeacherError> {
    let path: &Path = &config.trust_root;
    let bytes = std::fs::read(path).map_err(|source| {
        TeacherError::Config(format!(
            "cannot read the trust root `{}`: {source}; set `trust_root` to an existing file",
            path.display()
        ))
    })?;
    Ok(TrustRoot::open(&bytes, config.trust_root_sha256, now)?)
}
