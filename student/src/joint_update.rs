//! Continued pre-training: one adapter on the edits of many contexts, whether or not anyone judged them.
//!
//! **Invariant:** what comes of it asks to be measured and nothing else, so an edit without a verdict
//! reaches neither a policy nor what serves.

use seal_protocol::{AuditPurpose, InnerUpdateRequest, InnerUpdated, RefusedEdit};

use crate::error::StudentError;
use crate::groups::{CheckedEdit, distinct};
use crate::one_candidate::Asked;
use crate::student::{Report, Student};

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
        let asked = Asked { purpose: request.purpose, stage: &request.stage, seed: request.seed };
        let task = match self
            .task_on_all(&asked, &edits, |planner, edits, seed| planner.joint(edits, seed))
        {
            Ok(task) => task,
            Err(StudentError::Empty(_)) => {
                return Ok(InnerUpdated { requests: Vec::new(), refused });
            }
            Err(error) => return Err(error),
        };
        let requests = match self.one_candidate(&task, &asked, report)? {
            Ok(envelope) => vec![envelope],
            Err(diverged) => {
                refused.extend(task.edits.iter().map(|edit| RefusedEdit {
                    edit_digest: *edit,
                    reason: format!("the training on all edits diverged: {}", diverged.why),
                }));
                Vec::new()
            }
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
}
