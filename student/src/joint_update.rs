//! Continued pre-training: one adapter on the edits of many contexts, whether or not anyone judged them.
//!
//! **Invariant:** what comes of it asks to be measured and nothing else, so an edit without a verdict
//! reaches neither a policy nor what serves.

use std::collections::BTreeSet;

use seal_protocol::{
    AuditPurpose, AuditRequest, Digest, InnerUpdateRequest, InnerUpdated, RefusedEdit,
};

use crate::error::StudentError;
use crate::groups::{CheckedEdit, distinct};
use crate::seeds::{group_seed, nonce};
use crate::student::{Report, Student};
use crate::training::Task;

impl Student {
    /// Trains one adapter on all edits of the request and signs its audit request. An edit that cannot
    /// be trained on is named and left out.
    ///
    /// # Errors
    /// Another purpose than a measurement; an edit that does not verify; a failure of storage or
    /// arithmetic.
    pub(crate) fn joint_update(
        &self,
        request: &InnerUpdateRequest,
        report: Report<'_>,
    ) -> Result<InnerUpdated, StudentError> {
        if request.purpose != AuditPurpose::Evaluation {
            return Err(StudentError::OnlyMeasured);
        }
        let (edits, mut refused) = self.readable(distinct(self.verified_edits(&request.edits)?));
        let task = match self.joint_task(request, &edits) {
            Ok(task) => task,
            Err(StudentError::Empty(_)) => {
                return Ok(InnerUpdated { requests: Vec::new(), refused });
            }
            Err(error) => return Err(error),
        };
        // It is one candidate, so its progress is told in optimizer steps.
        let trained = self.train(std::slice::from_ref(&task), task.recipe.steps as u64, report)?;
        let mut candidates = Vec::new();
        for files in trained {
            match files {
                Ok(files) => candidates.push(self.candidate(&task, files)),
                Err(diverged) => refused.extend(task.edits.iter().map(|edit| RefusedEdit {
                    edit_digest: *edit,
                    reason: format!("the training on all edits diverged: {}", diverged.why),
                })),
            }
        }
        let requests = match candidates.is_empty() {
            true => Vec::new(),
            false => vec![self.audit_request(AuditRequest {
                purpose: request.purpose,
                stage: request.stage.clone(),
                nonce: nonce(request.seed, &request.stage, request.purpose, &task.contexts),
                candidates,
            })?],
        };
        Ok(InnerUpdated { requests, refused })
    }

    /// The edits whose sequences can be trained on, sorted, and the others by name.
    fn readable(&self, edits: Vec<CheckedEdit>) -> (Vec<CheckedEdit>, Vec<RefusedEdit>) {
        let sequencer = self.planner().sequencer;
        let (mut learned, mut refused) = (Vec::new(), Vec::new());
        for edit in edits {
            match sequencer.edit(&edit.edit) {
                Ok(_) => learned.push(edit),
                Err(error) => refused
                    .push(RefusedEdit { edit_digest: edit.digest, reason: error.to_string() }),
            }
        }
        learned.sort_by_key(|edit| edit.digest);
        (learned, refused)
    }

    fn joint_task(
        &self,
        request: &InnerUpdateRequest,
        edits: &[CheckedEdit],
    ) -> Result<Task, StudentError> {
        let contexts: BTreeSet<Digest> =
            edits.iter().map(|edit| edit.edit.context_digest).collect();
        let contexts: Vec<Digest> = contexts.into_iter().collect();
        let seed = group_seed(request.seed, &request.stage, &contexts);
        let named: Vec<_> = edits.iter().map(|edit| (edit.digest, &edit.edit)).collect();
        let planned = self.planner().joint(&named, seed)?;
        Ok(Task::new(contexts, edits.iter().map(|edit| edit.digest).collect(), seed, planned))
    }
}
