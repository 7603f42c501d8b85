//! The job "policy update", the M-step of ReST^EM: a policy learns from edits that were accepted, by
//! its weights or, where these are elsewhere, by examples in its prompts or by the endpoint's own
//! fine-tuning.
//!
//! **Invariant:** the policy learns from verified verdicts alone, each on one edit that this teacher
//! wrote, for this base, and used by no other request. If one verdict fails, nothing is trained.
//! **Invariant:** the same request leads to the same policy, after a crash too.

use std::collections::BTreeSet;

use seal_protocol::{
    Digest, Envelope, PolicyUpdate, PolicyUpdateRequest, PolicyUpdated, SelfEdit, Subject, Verdict,
    VerdictKind,
};
use seal_service::store::private_folder;
use seal_trust::{
    Expectation, Verified, check_binding, check_verdicts, digest_of, envelope_from_file_bytes,
    envelope_to_bytes, payload_digest,
};

use crate::backends::Written;
use crate::edits::{self, Reply, unwritable};
use crate::error::TeacherError;
use crate::seeds::update_seed;
use crate::teacher::{Report, Teacher};

/// What came of a policy update.
pub(crate) struct Learned {
    pub(crate) policy_digest: Digest,
    pub(crate) recipe_digest: Digest,
}

/// One accepted edit as the policy learns it.
pub(crate) struct Lesson {
    /// One of each auditor that judged it.
    pub(crate) verdict_digests: Vec<Digest>,
    pub(crate) edit_digest: Digest,
    pub(crate) context_digest: Digest,
    pub(crate) prompt_digest: Digest,
    pub(crate) reply: Reply,
}

impl Teacher {
    /// Lets a policy learn from accepted edits and signs the receipt.
    ///
    /// # Errors
    /// No verdict; a verdict that does not verify, is of another kind or for another base, was used
    /// by another request, or is about an edit that this teacher did not write; an unknown parent.
    pub fn policy_update(
        &mut self,
        request: &PolicyUpdateRequest,
        report: Report<'_>,
    ) -> Result<PolicyUpdated, TeacherError> {
        let id = digest_of(request)?;
        if let Some((policy_digest, receipt)) = self.state.updated(&id)? {
            let update = envelope_from_file_bytes(&receipt)?;
            return Ok(PolicyUpdated { update, policy_digest });
        }
        if request.verdicts.is_empty() {
            return Err(TeacherError::NoVerdict);
        }
        let verdicts = self.checked_verdicts(&request.verdicts)?;
        let lessons = self.lessons(&verdicts)?;
        let mut seen = self.state.seen()?;
        seen.check_and_insert(id, &verdicts.iter().flatten().collect::<Vec<_>>())?;
        self.witness.demand_shown(&request.verdicts)?;
        let parent_policy_digest = self.policy_digest(request.parent_policy_digest)?;
        let seed = update_seed(request.seed, &request.stage);
        let (exemplars, tuning) = (self.config.exemplars.clone(), self.config.fine_tuning.clone());
        let learned = match (exemplars, tuning) {
            (Some(settings), _) => self.show_more(&settings, parent_policy_digest, &lessons)?,
            (None, Some(settings)) => {
                self.tune(&settings, parent_policy_digest, &lessons, seed, report)?
            }
            (None, None) => self.train(id, parent_policy_digest, &lessons, seed, report)?,
        };
        let Learned { policy_digest, recipe_digest } = learned;
        let update = PolicyUpdate {
            stage: request.stage.clone(),
            parent_policy_digest,
            policy_digest,
            verdict_digests: lessons.iter().flat_map(|l| l.verdict_digests.clone()).collect(),
            edit_digests: lessons.iter().map(|lesson| lesson.edit_digest).collect(),
            recipe_digest,
            seed,
        };
        let (update, _) = self.sign(Subject::new("policy", policy_digest), update)?;
        self.state.commit(&id, &policy_digest, &envelope_to_bytes(&update), &seen)?;
        tracing::info!(policy.digest = %policy_digest, edits = lessons.len(), "policy updated");
        self.restore_receipts()?;
        self.clear_unfinished()?;
        Ok(PolicyUpdated { update, policy_digest })
    }

    /// Verdicts by the request they answer, each group a quorum on one edit of this teacher.
    fn checked_verdicts(
        &self,
        envelopes: &[Envelope],
    ) -> Result<Vec<Vec<Verified<Verdict>>>, TeacherError> {
        let expected = self.expectation();
        let groups = check_verdicts(&self.root, envelopes, &expected, self.now())?;
        // A second look binds each verdict to the context its edit was written for.
        for verdict in groups.iter().flatten() {
            let contexts = [self.own_edit(&only_edit(verdict)?)?.context_digest];
            let bound = Expectation { context_digests: Some(&contexts), ..expected };
            check_binding(verdict, &bound)?;
        }
        Ok(groups)
    }

    fn expectation(&self) -> Expectation<'static> {
        Expectation {
            base_model_digest: Some(self.base_digest),
            tokenizer_digest: Some(self.tokenizer_digest),
            ..Expectation::of(VerdictKind::Edit)
        }
    }

    /// An edit that this teacher wrote and signed.
    fn own_edit(&self, digest: &Digest) -> Result<SelfEdit, TeacherError> {
        let envelope = self.edits.edit(digest)?.ok_or(TeacherError::EditUnknown(*digest))?;
        let edit = self.root.verify::<SelfEdit>(&envelope, self.now())?.statement.predicate;
        match digest_of(&edit)? == *digest {
            true => Ok(edit),
            false => Err(self.edits.edit_damaged(digest)),
        }
    }

    /// What the verdicts teach, in the order of the edits' digests: those follow from the run's seed,
    /// while a verdict's digest holds a time and would make each run another one.
    fn lessons(&self, groups: &[Vec<Verified<Verdict>>]) -> Result<Vec<Lesson>, TeacherError> {
        let mut lessons =
            groups.iter().map(|group| self.lesson(group)).collect::<Result<Vec<_>, _>>()?;
        lessons.sort_by_key(|lesson| lesson.edit_digest);
        Ok(lessons)
    }

    fn lesson(&self, group: &[Verified<Verdict>]) -> Result<Lesson, TeacherError> {
        // A quorum agrees on its edit; no group is empty.
        let edit_digest = only_edit(group.first().ok_or(TeacherError::NoVerdict)?)?;
        let edit = self.own_edit(&edit_digest)?;
        let reply = self.edits.reply(&edit_digest)?.ok_or(TeacherError::NoReply(edit_digest))?;
        let context = self.context(&edit.context_digest)?;
        // What is learned must be what was signed and judged, word for word.
        let written = Written {
            text: reply.text.clone(),
            tokens: reply.tokens.clone(),
            prompt_digest: edit.origin.prompt_digest,
            schema: edit.origin.reply_schema,
        };
        match self.asking.read(context, edit.proposal, &written) {
            Ok(body) if body.examples == edit.examples && body.directives == edit.directives => {
                Ok(Lesson {
                    verdict_digests: group.iter().map(|v| v.payload_digest).collect(),
                    edit_digest,
                    context_digest: edit.context_digest,
                    prompt_digest: edit.origin.prompt_digest,
                    reply,
                })
            }
            _ => Err(self.edits.reply_damaged(&edit_digest)),
        }
    }

    /// Writes the receipts' files, where a crash kept them from being written.
    pub(crate) fn restore_receipts(&self) -> Result<(), TeacherError> {
        let folder = self.config.state.join("policy-updates");
        private_folder(&folder).map_err(|source| unwritable(&folder, source))?;
        for receipt in self.state.receipts()? {
            let digest = payload_digest(&envelope_from_file_bytes(&receipt)?)?;
            edits::put(&folder.join(format!("{digest}.json")), &receipt)?;
        }
        Ok(())
    }
}

/// The one edit a verdict is about.
fn only_edit(verdict: &Verified<Verdict>) -> Result<Digest, TeacherError> {
    let edits: BTreeSet<Digest> =
        verdict.statement.predicate.edit_digests.iter().copied().collect();
    match (edits.len(), edits.first()) {
        (1, Some(edit)) => Ok(*edit),
        (count, _) => Err(TeacherError::NotOneEdit(count)),
    }
}
