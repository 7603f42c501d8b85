//! The teacher: contexts, policies, key, trust root, stores. Its work is in the modules beside this.
//!
//! **Invariant:** nothing here opens a connection, reads τ, or touches the student's weights.

use std::path::Path;
use std::sync::Arc;

use seal_endpoint::{NamedSchema, WantedReply, WayOut};
use seal_model::folder_digest;
use seal_protocol::{Digest, Envelope, Predicate, Role, Statement, Subject, UnixSeconds};
use seal_recipe::{ReplaySource, read_all};
use seal_service::clock::Clock;
use seal_trust::{SigningKey, TrustedRoot, payload_digest, sha256_file, sign_statement};
use seal_witness::{RootSource, Witness, own_key};

use crate::asking::{Asking, Texts};
use crate::backends::{Api, Backend, BackendConfig, Held, Local, Recorded};
use crate::config::TeacherConfig;
use crate::contexts::{Context, Contexts};
use crate::edits::{EditStore, unwritable};
use crate::error::TeacherError;
use crate::exemplars::ExemplarPolicies;
use crate::family::Layout;
use crate::family_choice::FamilyChoice;
use crate::fine_tuned::FineTunedPolicies;
use crate::first_policy::FirstPolicy;
use crate::memory::works;
use crate::policies::Policies;
use crate::prompt::Prompter;
use crate::state::State;

pub use seal_endpoint::Report;

/// Everything the teacher's work needs.
pub struct Teacher {
    pub(crate) config: TeacherConfig,
    pub(crate) contexts: Contexts,
    pub(crate) asking: Asking,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) exemplar_policies: ExemplarPolicies,
    pub(crate) fine_tuned_policies: FineTunedPolicies,
    pub(crate) edits: EditStore,
    pub(crate) state: State,
    pub(crate) replay: Vec<ReplaySource>,
    pub(crate) root: TrustedRoot,
    pub(crate) witness: Arc<Witness>,
    pub(crate) base_digest: Digest,
    pub(crate) tokenizer_digest: Digest,
    key: SigningKey,
    clock: Arc<dyn Clock>,
}

/// What is read before the process is confined, because afterwards it cannot be read again.
pub struct Identity {
    pub(crate) key: SigningKey,
    /// For cosigning the auditor's checkpoints.
    pub(crate) witness_key: Option<SigningKey>,
    pub(crate) root: TrustedRoot,
    /// The way to the endpoint of an API; absent: no way out.
    pub(crate) way_out: Option<WayOut>,
}

impl Identity {
    /// Reads the key and the trust root; resolves and pins the endpoint of an API and reads its key.
    ///
    /// # Errors
    /// A key that is unreadable, revoked or holds another role, a trust root that is not to be trusted, an
    /// endpoint that may not be reached.
    pub fn read(config: &TeacherConfig, now: UnixSeconds) -> Result<Self, TeacherError> {
        let root = RootSource {
            file: &config.trust_root,
            pinned: config.trust_root_sha256,
            state: &config.state,
        };
        let root = root.in_force(now)?.newest().clone();
        let key = own_key(&root, Role::Teacher, &config.key)?;
        let witness_key = config.ledger.read_key(&root)?;
        let way_out = match &config.backend {
            BackendConfig::OpenAi(api) => WayOut::prepare(api, &config.egress)?,
            BackendConfig::Local(_) | BackendConfig::Recorded(_) => None,
        };
        Ok(Self { key, witness_key, root, way_out })
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
        if let Some(update) = &config.policy_update {
            update.check()?;
        }
        config.check().map_err(TeacherError::Config)?;
        let local = matches!(config.backend, BackendConfig::Local(_));
        let first = local.then(|| FirstPolicy::open(config.policy_source())).transpose()?;
        let first = first.map(Arc::new);
        let asking = asking(&config, first.as_deref())?;
        let tokenizer_file = config.base_model.join("tokenizer.json");
        let witness = Witness::open(
            &config.state,
            identity.root.clone(),
            config.ledger.clone(),
            identity.witness_key,
            Arc::clone(&clock),
        )?;
        let teacher = Self {
            witness: Arc::new(witness),
            contexts: Contexts::read(&config.contexts)?,
            backend: backend(&config, first, &asking, identity.way_out, clock.clone())?,
            asking,
            exemplar_policies: ExemplarPolicies::open(&config.state)?,
            fine_tuned_policies: FineTunedPolicies::open(&config.state)?,
            edits: EditStore::open(&config.state)?,
            state: State::open(&config.state.join("state.sqlite"))?,
            replay: match &config.policy_update {
                // Paths in a config that was loaded are whole.
                Some(update) => read_all(Path::new(""), &update.replay)?,
                None => Vec::new(),
            },
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

    /// Its memory of the auditor's ledger.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Digest of the base model that edits are meant for.
    pub fn base_model_digest(&self) -> Digest {
        self.base_digest
    }

    /// Digest of the policy before any update.
    pub fn first_policy_digest(&self) -> Digest {
        self.backend.first_policy()
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
            None => Ok(self.backend.first_policy()),
            Some(digest) if digest == self.backend.first_policy() => Ok(digest),
            Some(digest) if self.state.has_policy(&digest)? => Ok(digest),
            Some(digest) => Err(TeacherError::PolicyUnknown(digest)),
        }
    }

    /// The policies whose weights can be trained.
    pub(crate) fn trainable(&mut self) -> Result<&mut Policies, TeacherError> {
        self.backend.policies().ok_or(TeacherError::NoWeights)
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

/// The prompt family, with the local policy's tokenizer where it needs one.
fn asking(config: &TeacherConfig, first: Option<&FirstPolicy>) -> Result<Asking, TeacherError> {
    let tokenizer = first.map(|first| first.tokenizer().clone());
    match (&config.prompt_family, tokenizer) {
        (FamilyChoice::Words(family), Some(tokenizer)) => {
            Ok(Asking::Words(Box::new(Prompter::new(family.clone(), tokenizer)?)))
        }
        (FamilyChoice::Texts(family), tokenizer) => {
            let in_turns = first.filter(|_| config.layout == Layout::Chat);
            let chat = in_turns.map(|first| first.chat(config.chat.clone())).transpose()?;
            let texts = Texts { family: family.clone(), layout: config.layout, tokenizer, chat };
            Ok(Asking::Texts(Box::new(texts)))
        }
        (FamilyChoice::Words(_), None) => Err(TeacherError::Config(
            "a table of words as `prompt_family` needs a local policy; name a text family, e.g. \
             `prompt_family = \"implications\"`"
                .to_owned(),
        )),
        (FamilyChoice::Named(name), _) => {
            Err(TeacherError::Config(format!("the prompt family `{name}` was not looked up")))
        }
    }
}

/// Who writes.
fn backend(
    config: &TeacherConfig,
    first: Option<Arc<FirstPolicy>>,
    asking: &Asking,
    way_out: Option<WayOut>,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Backend>, TeacherError> {
    Ok(match &config.backend {
        BackendConfig::Local(_) => {
            let opened = config.device.open()?;
            if let Some(note) = &opened.note {
                tracing::warn!("{note}");
            }
            let first = first.ok_or(TeacherError::NoWeights)?;
            let folder = config.state.join("policies");
            let policies = Policies::open(first.clone(), folder, opened, works(config))?;
            let settings = config.sampling.clone();
            let held = match asking.reply_schema() {
                None => Held::NoSchema,
                Some(_) if !settings.constrain => Held::Unsent,
                Some(schema) => Held::to(&schema, &first)?,
            };
            Box::new(Local::new(
                policies,
                asking.reader(first.tokenizer()),
                asking.stop(),
                settings,
                held,
            ))
        }
        BackendConfig::OpenAi(api) => {
            let max_tokens = config.sampling.max_new_tokens;
            let schema = asking.reply_schema();
            let schema = schema.map(|schema| NamedSchema { name: "self_edit", schema });
            let wanted = WantedReply { max_tokens, schema };
            Box::new(Api::open(api, &config.egress, wanted, way_out, &config.state, clock)?)
        }
        BackendConfig::Recorded(recorded) => {
            Box::new(Recorded::read(recorded)?.of_schema(asking.reply_schema().is_some()))
        }
    })
}
