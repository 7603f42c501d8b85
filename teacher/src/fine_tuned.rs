//! The M-step of a policy whose weights are elsewhere and whose endpoint tunes models: accepted edits go up
//! as a training file, and the new model is the policy.
//!
//! Such a policy is a name at an endpoint. What it was made of is stored under the digest of its content,
//! which is the policy's digest. That its model is what came of that file is the endpoint's word.
//!
//! **Invariant:** only what verified verdicts accepted is in a training file, with the very prompts it was
//! written for.

use std::path::Path;

use seal_endpoint::{Example, FineTuningConfig, TuningOrder};
use seal_protocol::Digest;
use seal_service::store::{ContentStore, StoreError};
use seal_trust::{digest_of, sha256};
use serde::{Deserialize, Serialize};

use crate::backends::{BackendConfig, Prompt};
use crate::error::TeacherError;
use crate::policy_update::{Learned, Lesson};
use crate::teacher::{Report, Teacher};

/// A policy: which model, and what it was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FineTunedPolicy {
    /// Base URL of the endpoint.
    pub(crate) endpoint: String,
    /// The model, as the endpoint calls it.
    pub(crate) model: String,
    /// The model that it was made of.
    pub(crate) parent: String,
    /// The job that made it.
    pub(crate) job: String,
    /// SHA-256 of the training file as it left.
    pub(crate) training_file: Digest,
    /// The edits in it, in the order of its lines.
    pub(crate) edits: Vec<Digest>,
}

/// The recipe as it is hashed.
#[derive(Serialize)]
struct Recipe<'a> {
    version: u32,
    kind: &'a str,
    n_epochs: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    learning_rate_multiplier: Option<f64>,
}

/// The folder of such policies.
#[derive(Debug)]
pub(crate) struct FineTunedPolicies(ContentStore);

impl FineTunedPolicies {
    /// Opens the folder in the state folder.
    pub(crate) fn open(state: &Path) -> Result<Self, TeacherError> {
        let folder = state.join("fine-tuned");
        let store = ContentStore::new(&folder);
        let store = store.map_err(|source| TeacherError::Write { path: folder, source })?;
        Ok(Self(store.with_extension("json")))
    }

    /// A policy by digest; its file is hashed anew.
    fn get(&self, digest: &Digest) -> Result<FineTunedPolicy, TeacherError> {
        let bytes = self.0.get(digest).map_err(|error| match error {
            StoreError::Missing { .. } => TeacherError::PolicyUnknown(*digest),
            other => TeacherError::Damaged { path: self.0.path(digest), reason: other.to_string() },
        })?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    fn put(&self, policy: &FineTunedPolicy) -> Result<Digest, TeacherError> {
        let bytes = serde_json::to_vec(policy)?;
        let path = self.0.path(&sha256(&bytes));
        self.0.put(&bytes).map_err(|source| TeacherError::Write { path, source })
    }
}

impl Teacher {
    /// The model that a policy is at an API; `None` for the one that the config names, and where no API writes.
    pub(crate) fn model_of(&self, policy: &Digest) -> Result<Option<String>, TeacherError> {
        let BackendConfig::OpenAi(api) = &self.config.backend else { return Ok(None) };
        // With exemplars a later policy is the same model with more to show.
        if *policy == self.backend.first_policy() || self.config.exemplars.is_some() {
            return Ok(None);
        }
        let tuned = self.fine_tuned_policies.get(policy)?;
        match tuned.endpoint == api.base_url {
            true => Ok(Some(tuned.model)),
            false => Err(TeacherError::Config(format!(
                "the policy {} is a model of `{}`; set `base_url` under [backend] to it again, or begin \
                 a new run",
                policy.short(),
                tuned.endpoint
            ))),
        }
    }

    /// Has the endpoint tune the model that `parent` is on these lessons.
    pub(crate) fn tune(
        &mut self,
        settings: &FineTuningConfig,
        parent: Digest,
        lessons: &[Lesson],
        seed: u64,
        report: Report<'_>,
    ) -> Result<Learned, TeacherError> {
        let BackendConfig::OpenAi(api) = &self.config.backend else {
            return Err(TeacherError::NoWeights);
        };
        let endpoint = api.base_url.clone();
        let parent = self.model_of(&parent)?;
        let examples = self.examples(lessons)?;
        let order = TuningOrder { model: parent.as_deref(), examples: &examples, settings, seed };
        let tuner = self.backend.endpoint().ok_or(TeacherError::NoWeights)?;
        let tuned = tuner.fine_tune(&order, report)?;
        let policy_digest = self.fine_tuned_policies.put(&FineTunedPolicy {
            endpoint,
            model: tuned.model,
            parent: tuned.parent,
            job: tuned.job,
            training_file: tuned.training_file,
            edits: lessons.iter().map(|lesson| lesson.edit_digest).collect(),
        })?;
        let FineTuningConfig { n_epochs, batch_size, learning_rate_multiplier, .. } = *settings;
        let (version, kind) = (1, "fine_tuning");
        let recipe = Recipe { version, kind, n_epochs, batch_size, learning_rate_multiplier };
        Ok(Learned { policy_digest, recipe_digest: digest_of(&recipe)? })
    }

    /// Each lesson with the prompt that its edit says it was written for.
    fn examples(&mut self, lessons: &[Lesson]) -> Result<Vec<Example>, TeacherError> {
        let mut examples = Vec::with_capacity(lessons.len());
        for lesson in lessons {
            let context = self.context(&lesson.context_digest)?;
            let Prompt::Words(prompt) = self.asking.prompt(context, &[], &[])?.0 else {
                return Err(TeacherError::NoWeights);
            };
            let endpoint = self.backend.endpoint().ok_or(TeacherError::NoWeights)?;
            if endpoint.digest_of(&prompt) != lesson.prompt_digest {
                return Err(TeacherError::Config(format!(
                    "the prompt of edit {} would be another one now, and is not learned; restore \
                     `prompt_family`, `layout` and `redact` as they were when it was written, or begin a \
                     new run",
                    lesson.edit_digest.short()
                )));
            }
            examples.push(Example { prompt, reply: lesson.reply.text.clone() });
        }
        Ok(examples)
    }
}
