//! The student: base model, key, trust root, stores. Its work is in the modules beside this one.
//!
//! **Invariant:** nothing here opens a connection or reads τ; the process only listens.

use std::path::Path;
use std::sync::Arc;

use seal_model::chat::ChatFormat;
use seal_model::folder::hub_revision;
use seal_model::{BaseModel, Decoder, Tokenizer, folder_digest};
use seal_protocol::{Digest, Envelope, Predicate, Role, SelfEdit, Statement, Subject, UnixSeconds};
use seal_recipe::{Planner, ReplaySource, Sequencer, Size, read_all};
use seal_service::clock::Clock;
use seal_service::store::{ContentStore, private_folder};
use seal_trust::{
    SigningKey, TrustedRoot, digest_of, envelope_to_bytes, payload_digest, sha256_file,
    sign_statement,
};
use seal_witness::{RootSource, Witness, own_key};

use crate::config::StudentConfig;
use crate::error::StudentError;
use crate::groups::CheckedEdit;
use crate::memory::works;
use crate::signed_files::SignedFiles;
use crate::state::State;

/// Reports units done and units in all.
pub type Report<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// Everything the student's work needs.
pub struct Student {
    pub(crate) config: StudentConfig,
    pub(crate) base: Decoder,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) chat: Option<ChatFormat>,
    end: u32,
    pub(crate) base_digest: Digest,
    pub(crate) tokenizer_digest: Digest,
    pub(crate) inner_replay: Vec<ReplaySource>,
    pub(crate) consolidation_replay: Vec<ReplaySource>,
    pub(crate) adapters: Arc<ContentStore>,
    pub(crate) requests: SignedFiles,
    pub(crate) state: Arc<State>,
    pub(crate) root: TrustedRoot,
    pub(crate) witness: Arc<Witness>,
    key: SigningKey,
    clock: Arc<dyn Clock>,
}

/// What is read before the process is confined, because afterwards it cannot be read again.
pub struct Identity {
    pub(crate) key: SigningKey,
    /// For cosigning the auditor's checkpoints.
    pub(crate) witness_key: Option<SigningKey>,
    pub(crate) root: TrustedRoot,
}

impl Identity {
    /// Reads the key and the trust root.
    ///
    /// # Errors
    /// A key that is unreadable, revoked or holds another role, a trust root that is not to be trusted.
    pub fn read(config: &StudentConfig, now: UnixSeconds) -> Result<Self, StudentError> {
        let root = RootSource {
            file: &config.trust_root,
            pinned: config.trust_root_sha256,
            state: &config.state,
        };
        let root = root.in_force(now)?.newest().clone();
        let key = own_key(&root, Role::Student, &config.key)?;
        let witness_key = config.ledger.read_key(&root)?;
        Ok(Self { key, witness_key, root })
    }
}

impl Student {
    /// Opens the stores, loads the base model and the replay files.
    ///
    /// # Errors
    /// A state folder that cannot be written or is damaged; a model folder, tokenizer or replay file
    /// that cannot be used.
    pub fn load(
        config: StudentConfig,
        identity: Identity,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StudentError> {
        // A recipe that no run can have would fail every job; it fails the start instead.
        let recipe = |section| move |source| StudentError::Recipe { section, source };
        config.inner_update.check().map_err(recipe("inner_update"))?;
        let consolidation = config.consolidation.recipe(Size::ONE_EDIT).engine();
        consolidation.check().map_err(recipe("consolidation"))?;
        let state_folder = &config.state;
        let failed = |source| unwritable(state_folder, source);
        let adapters = ContentStore::new(state_folder.join("adapter-files")).map_err(failed)?;
        let unfinished = state_folder.join("unfinished");
        private_folder(&unfinished).map_err(failed)?;
        let state = Arc::new(State::open(&state_folder.join("state.sqlite"))?);
        let requests = SignedFiles::open(&state_folder.join("requests"))?;
        let folder = &config.base_model;
        let tokenizer_file = folder.join("tokenizer.json");
        let here = Path::new("");
        let tokenizer = Tokenizer::load(folder)?;
        let witness = Witness::open(
            state_folder,
            identity.root.clone(),
            config.ledger.clone(),
            identity.witness_key,
            Arc::clone(&clock),
        )?;
        let student = Self {
            witness: Arc::new(witness),
            base: load_base(&config)?,
            end: end_token(&tokenizer, folder)?,
            chat: chat_format(&config, &tokenizer)?,
            tokenizer,
            base_digest: Digest::from_bytes(folder_digest(folder)?),
            tokenizer_digest: sha256_file(&tokenizer_file)
                .map_err(|source| unwritable(&tokenizer_file, source))?,
            inner_replay: read_all(here, &config.inner_update.replay)?,
            consolidation_replay: read_all(here, &config.consolidation.replay)?,
            adapters: Arc::new(adapters),
            requests,
            state,
            root: identity.root,
            key: identity.key,
            clock,
            config,
        };
        student.check_stop_words()?;
        student.restore_serving_files()?;
        Ok(student)
    }

    /// Its memory of the auditor's ledger.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Digest of the base model's files.
    pub fn base_model_digest(&self) -> Digest {
        self.base_digest
    }

    /// The base as adapters name it.
    pub(crate) fn base_model(&self) -> BaseModel<'_> {
        BaseModel {
            name: &self.config.base_name,
            revision: hub_revision(&self.config.base_model),
            digest: self.base_digest.as_bytes(),
        }
    }

    pub(crate) fn now(&self) -> UnixSeconds {
        self.clock.now()
    }

    /// What an edit is trained on, and by which recipe.
    pub(crate) fn planner(&self) -> Planner<'_> {
        Planner {
            sequencer: Sequencer {
                tokenizer: &self.tokenizer,
                start: self.tokenizer.bos(),
                end: self.end,
                max_tokens: self.config.max_sequence_tokens,
                chat: self.chat.as_ref(),
            },
            inner_update: &self.config.inner_update,
            consolidation: &self.config.consolidation,
            directives: &self.config.directives,
            inner_replay: &self.inner_replay,
            consolidation_replay: &self.consolidation_replay,
            chat: self.config.chat.as_ref(),
        }
    }

    /// Signs a statement in the student's name; returns it with the digest of its payload.
    pub(crate) fn sign<P: Predicate>(
        &self,
        subject: Vec<Subject>,
        predicate: P,
    ) -> Result<(Envelope, Digest), StudentError> {
        let envelope = sign_statement(&self.key, &Statement::new(subject, predicate))?;
        let digest = payload_digest(&envelope)?;
        Ok((envelope, digest))
    }

    /// Believes edits that a teacher of the trust root signed.
    ///
    /// # Errors
    /// Any of them that does not verify: then none is used.
    pub(crate) fn verified_edits(
        &self,
        envelopes: &[Envelope],
    ) -> Result<Vec<CheckedEdit>, StudentError> {
        let now = self.now();
        let check = |envelope: &Envelope| {
            let verified = self.root.verify::<SelfEdit>(envelope, now)?;
            let edit = verified.statement.predicate;
            Ok(CheckedEdit { digest: digest_of(&edit)?, edit })
        };
        envelopes.iter().map(check).collect()
    }
}

fn end_token(tokenizer: &Tokenizer, folder: &Path) -> Result<u32, StudentError> {
    tokenizer.eos().ok_or_else(|| {
        StudentError::Config(format!(
            "the model folder `{}` names no `eos_token_id`; add it to generation_config.json",
            folder.display()
        ))
    })
}

fn chat_format(
    config: &StudentConfig,
    tokenizer: &Tokenizer,
) -> Result<Option<ChatFormat>, StudentError> {
    let Some(settings) = config.chat.clone() else { return Ok(None) };
    Ok(Some(ChatFormat::load(&config.base_model, tokenizer, settings)?))
}

pub(crate) fn unwritable(path: &Path, source: std::io::Error) -> StudentError {
    StudentError::Write { path: path.to_owned(), source }
}

/// The envelope in its file form.
pub(crate) fn file_form(envelope: &Envelope) -> Vec<u8> {
    envelope_to_bytes(envelope)
}

/// The base model on the device that the config asks for.
fn load_base(config: &StudentConfig) -> Result<Decoder, StudentError> {
    let opened = config.device.open()?;
    if let Some(note) = opened.note {
        tracing::warn!("{note}");
    }
    let base = Decoder::load_for(&config.base_model, &opened.device, &works(config))?;
    Ok(base.computing(opened.products))
}
