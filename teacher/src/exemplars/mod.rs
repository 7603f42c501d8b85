//! The M-step of a policy whose weights are elsewhere: accepted edits become examples in its prompts.
//!
//! Such a policy is a set of accepted edits. It is stored under the digest of its content, which is the
//! policy's digest; a prompt shows the edits whose contexts are most like the one in question.
//!
//! **Invariant:** a set grows by edits that verified verdicts accepted, and by nothing else.
//! **Invariant:** no context is shown its own edit: what it learned from would come back word for word.

mod similarity;
mod teach;

use std::path::Path;

use seal_protocol::Digest;
use seal_service::store::{ContentStore, StoreError};
use serde::{Deserialize, Serialize};

use self::similarity::most_similar;
use crate::contexts::Context;
use crate::error::TeacherError;

/// `[exemplars]` of `teacher.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExemplarSettings {
    /// Most examples in one prompt.
    pub per_prompt: usize,
    /// Longest examples together, in bytes of contexts and replies.
    pub max_bytes: usize,
}

/// A policy: who writes, and the edits it is shown, in the order of their digests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExemplarPolicy {
    pub(crate) writer: Digest,
    pub(crate) edits: Vec<Digest>,
}

/// An accepted edit as a prompt shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exemplar {
    pub(crate) context: Digest,
    pub(crate) reply: String,
}

/// The folder of such policies.
#[derive(Debug)]
pub(crate) struct ExemplarPolicies(ContentStore);

impl ExemplarPolicies {
    /// Opens the folder in the state folder.
    pub(crate) fn open(state: &Path) -> Result<Self, TeacherError> {
        let folder = state.join("exemplars");
        let store = ContentStore::new(&folder);
        let store = store.map_err(|source| TeacherError::Write { path: folder, source })?;
        Ok(Self(store.with_extension("json")))
    }

    /// A policy by digest; its file is hashed anew.
    pub(crate) fn get(&self, digest: &Digest) -> Result<ExemplarPolicy, TeacherError> {
        let bytes = self.0.get(digest).map_err(|error| match error {
            StoreError::Missing { .. } => TeacherError::PolicyUnknown(*digest),
            other => TeacherError::Damaged { path: self.0.path(digest), reason: other.to_string() },
        })?;
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Stores the policy that comes of `parent` and these edits; returns its digest.
    pub(crate) fn grow(
        &self,
        parent: ExemplarPolicy,
        edits: impl IntoIterator<Item = Digest>,
    ) -> Result<Digest, TeacherError> {
        let mut edits: Vec<Digest> = parent.edits.into_iter().chain(edits).collect();
        edits.sort();
        edits.dedup();
        let bytes = serde_json::to_vec(&ExemplarPolicy { writer: parent.writer, edits })?;
        let folder = self.0.path(&parent.writer);
        self.0.put(&bytes).map_err(|source| TeacherError::Write { path: folder, source })
    }
}

/// The exemplars for a context: those most like it, as many as settings allow.
pub(crate) fn choose<'a>(
    settings: &ExemplarSettings,
    (digest, text): (&Digest, &str),
    known: Vec<(&'a Exemplar, &'a Context)>,
) -> Vec<(&'a Exemplar, &'a Context)> {
    let others: Vec<_> =
        known.into_iter().filter(|(exemplar, _)| exemplar.context != *digest).collect();
    let texts: Vec<&str> = others.iter().map(|(_, context)| context.text.as_str()).collect();
    let mut room = settings.max_bytes;
    let mut chosen = Vec::new();
    for at in most_similar(text, &texts) {
        let (exemplar, context) = others[at];
        let length = exemplar.reply.len() + context.text.len();
        if chosen.len() < settings.per_prompt && length <= room {
            room -= length;
            chosen.push((exemplar, context));
        }
    }
    // The most similar one stands last, nearest to the question.
    chosen.reverse();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal_trust::sha256;

    #[test]
    fn a_policy_grows_and_is_named_by_what_is_in_it() {
        let state = tempfile::tempdir().unwrap();
        let policies = ExemplarPolicies::open(state.path()).unwrap();
        let first = || ExemplarPolicy { writer: sha256(b"writer"), edits: vec![] };
        let [a, b] = [sha256(b"a"), sha256(b"b")];
        let one = policies.grow(first(), [b, a]).unwrap();
        assert_eq!(policies.grow(first(), [a, b]).unwrap(), one);
        let two = policies.grow(policies.get(&one).unwrap(), [sha256(b"c")]).unwrap();
        assert_eq!(policies.get(&two).unwrap().edits.len(), 3);
        assert!(matches!(policies.get(&a), Err(TeacherError::PolicyUnknown(_))));
    }

    #[test]
    fn the_most_similar_ones_that_fit_are_shown_and_never_its_own() {
        let known = ["the old bridge", "a copper market", "the new bridge"].map(|text| {
            let context = sha256(text.as_bytes());
            let exemplar = Exemplar { context, reply: "reply".to_owned() };
            let [id, title] = [String::new(), String::new()];
            (exemplar, Context { id, title, text: text.to_owned() })
        });
        let texts = |per_prompt, max_bytes| {
            let settings = ExemplarSettings { per_prompt, max_bytes };
            let own = sha256(b"the old bridge");
            let known = known.iter().map(|(exemplar, context)| (exemplar, context)).collect();
            let chosen = choose(&settings, (&own, "the old bridge"), known);
            chosen.into_iter().map(|(_, context)| context.text.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(texts(1, 1000), ["the new bridge"]);
        assert_eq!(texts(9, 1000), ["a copper market", "the new bridge"]);
        assert_eq!(texts(9, 19), ["the new bridge"]);
        assert!(texts(0, 1000).is_empty() && texts(9, 3).is_empty());
    }
}
