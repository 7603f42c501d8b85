//! The teacher's side of exemplars: which ones a policy has, which ones a prompt shows, how it grows.

use seal_protocol::Digest;
use seal_trust::digest_of;
use serde::Serialize;

use super::{Exemplar, ExemplarPolicy, ExemplarSettings, choose};
use crate::contexts::Context;
use crate::error::TeacherError;
use crate::policy_update::{Learned, Lesson};
use crate::teacher::Teacher;

/// The recipe as it is hashed.
#[derive(Serialize)]
struct Recipe<'a> {
    version: u32,
    kind: &'a str,
    settings: &'a ExemplarSettings,
}

impl Teacher {
    /// The exemplars of a policy: none before its first update, none where weights learn.
    pub(crate) fn exemplars(&self, policy: &Digest) -> Result<Vec<Exemplar>, TeacherError> {
        if self.config.exemplars.is_none() || *policy == self.backend.first_policy() {
            return Ok(Vec::new());
        }
        let edits = self.exemplar_policies.get(policy)?.edits;
        let exemplar = |edit: Digest| {
            let reply = self.edits.reply(&edit)?.ok_or(TeacherError::NoReply(edit))?;
            Ok(Exemplar { context: reply.context_digest, reply: reply.text })
        };
        edits.into_iter().map(exemplar).collect()
    }

    /// Those that the prompt for a context shows. One whose context is no longer held is left out.
    pub(crate) fn shown<'a>(
        &'a self,
        digest: &Digest,
        context: &Context,
        known: &'a [Exemplar],
    ) -> Vec<(&'a Exemplar, &'a Context)> {
        let Some(settings) = &self.config.exemplars else { return Vec::new() };
        let held = known.iter().filter_map(|exemplar| {
            self.contexts.get(&exemplar.context).map(|context| (exemplar, context))
        });
        choose(settings, (digest, &context.text), held.collect())
    }

    /// The policy that also shows these lessons.
    pub(crate) fn show_more(
        &self,
        settings: &ExemplarSettings,
        parent: Digest,
        lessons: &[Lesson],
    ) -> Result<Learned, TeacherError> {
        let first = self.backend.first_policy();
        let parent = match parent == first {
            true => ExemplarPolicy { writer: first, edits: Vec::new() },
            false => self.exemplar_policies.get(&parent)?,
        };
        let edits = lessons.iter().map(|lesson| lesson.edit_digest);
        let policy_digest = self.exemplar_policies.grow(parent, edits)?;
        let recipe_digest = digest_of(&Recipe { version: 1, kind: "exemplars", settings })?;
        Ok(Learned { policy_digest, recipe_digest })
    }
}
