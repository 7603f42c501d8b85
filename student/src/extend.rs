//! The job "extension": one more accepted edit on top of those that a sequence learned before.
//!
//! A fresh adapter is trained with the earlier ones merged into the base, then stacked on them: one
//! adapter over the base that everyone hashed, whose first ranks are the step before, bit by bit. The
//! auditor measures it on every context of the sequence.
//!
//! **Invariant:** it learns exactly the edit that verified edit verdicts on this base accept, after
//! exactly what the step before had learned.
//! **Invariant:** a step asks to be measured and nothing else. What is to serve is consolidated.
//!
//! Source: the continual self-edits of arXiv:2506.10943, where each adapter is merged into the weights.

use std::collections::BTreeSet;

use seal_model::Adapter;
use seal_protocol::{
    AuditPurpose, AuditRequest, Candidate, Digest, Envelope, ExtendRequest, InnerUpdated,
};
use seal_training::TrainError;
use seal_trust::digest_of;

use crate::consolidate::Acceptance;
use crate::error::StudentError;
use crate::groups::CheckedEdit;
use crate::one_candidate::Asked;
use crate::seeds::group_seed;
use crate::student::{Report, Student};
use crate::training::{Parent, Task};

impl Student {
    /// Learns the accepted edit on top of the step before and signs the audit request.
    ///
    /// # Errors
    /// Verdicts as for a consolidation; verdicts on more than one edit; a parent that is no step of this
    /// student on this base, whose files are gone, or that has learned the edit; an edit that cannot be
    /// trained on; a training that diverges.
    pub fn extend(
        &self,
        request: &ExtendRequest,
        report: Report<'_>,
    ) -> Result<InnerUpdated, StudentError> {
        let before = request.parent.as_ref().map(|parent| self.step(parent)).transpose()?;
        let edits = self.accepted_edits(&Acceptance {
            consumer: format!("extension/{}", request.stage),
            request: digest_of(request)?,
            verdicts: &request.verdicts,
            edits: &request.edits,
        })?;
        let [edit] = edits.as_slice() else { return Err(StudentError::NotOneEdit(edits.len())) };
        let task = self.step_task(request, edit, before)?;
        let asked =
            Asked { purpose: AuditPurpose::Evaluation, stage: &request.stage, seed: request.seed };
        let envelope = self.one_candidate(&task, &asked, report)?.map_err(TrainError::from)?;
        Ok(InnerUpdated { requests: vec![envelope], refused: Vec::new() })
    }

    /// The candidate of a step that this student made.
    fn step(&self, envelope: &Envelope) -> Result<Candidate, StudentError> {
        let verified = self.root.verify::<AuditRequest>(envelope, self.now())?;
        let request = verified.statement.predicate;
        match <[Candidate; 1]>::try_from(request.candidates) {
            Ok([one])
                if request.purpose == AuditPurpose::Evaluation
                    && one.base_model_digest == self.base_digest =>
            {
                Ok(one)
            }
            _ => Err(StudentError::NoStep),
        }
    }

    fn step_task(
        &self,
        request: &ExtendRequest,
        edit: &CheckedEdit,
        before: Option<Candidate>,
    ) -> Result<Task, StudentError> {
        let learned = before.as_ref().map_or(&[][..], |before| &before.edit_digests);
        if learned.contains(&edit.digest) {
            return Err(StudentError::AlreadyLearned(edit.digest));
        }
        let edits: BTreeSet<Digest> = learned.iter().copied().chain([edit.digest]).collect();
        let seen = before.as_ref().map_or(&[][..], |before| &before.context_digests);
        let contexts = seen.iter().copied().chain([edit.edit.context_digest]);
        let contexts: BTreeSet<Digest> = contexts.collect();
        let seed = group_seed(request.seed, &request.stage, &[edit.edit.context_digest]);
        let planned = self.planner().inner_update(edit.digest, &edit.edit, seed)?;
        let parent = before.as_ref().map(|before| self.parent(before)).transpose()?;
        let (contexts, edits) = (contexts.into_iter().collect(), edits.into_iter().collect());
        Ok(Task::new(contexts, edits, seed, planned).on(parent))
    }

    /// The adapter of a step, from this student's own store and through the gate.
    fn parent(&self, candidate: &Candidate) -> Result<Parent, StudentError> {
        let [config, tensors] = candidate.files.as_slice() else {
            return Err(StudentError::NoStep);
        };
        let stored = |digest: &Digest| match self.adapters.contains(digest) {
            true => Ok(self.adapters.get(digest)?),
            false => Err(StudentError::AdapterMissing(*digest)),
        };
        let (config, bytes) = (stored(&config.sha256)?, stored(&tensors.sha256)?);
        let base = self.base_digest;
        let adapter =
            Adapter::from_peft_bytes(&config, &bytes, self.base.config(), Some(base.as_bytes()))?;
        Ok(Parent { digest: tensors.sha256, adapter })
    }
}
