//! Updates that end in one candidate: consolidation, a step of a sequence, continued pre-training.

use std::collections::BTreeSet;

use seal_protocol::{AuditPurpose, AuditRequest, Digest, Envelope, SelfEdit};
use seal_recipe::{PlanError, Planned, Planner};
use seal_training::Diverged;

use crate::error::StudentError;
use crate::groups::CheckedEdit;
use crate::seeds::{group_seed, nonce};
use crate::student::{Report, Student};
use crate::training::Task;

/// The request that a candidate comes of, and what it is put up for.
pub(crate) struct Asked<'a> {
    pub(crate) purpose: AuditPurpose,
    pub(crate) stage: &'a str,
    pub(crate) seed: u64,
}

impl Student {
    /// The task that `plan` makes of all these edits together.
    pub(crate) fn task_on_all(
        &self,
        asked: &Asked<'_>,
        edits: &[CheckedEdit],
        plan: impl FnOnce(&Planner<'_>, &[(Digest, &SelfEdit)], u64) -> Result<Planned, PlanError>,
    ) -> Result<Task, StudentError> {
        let contexts: BTreeSet<Digest> =
            edits.iter().map(|edit| edit.edit.context_digest).collect();
        let contexts: Vec<Digest> = contexts.into_iter().collect();
        let seed = group_seed(asked.seed, asked.stage, &contexts);
        let named: Vec<_> = edits.iter().map(|edit| (edit.digest, &edit.edit)).collect();
        let planned = plan(&self.planner(), &named, seed)?;
        let digests = edits.iter().map(|edit| edit.digest).collect();
        Ok(Task::new(contexts, digests, seed, planned))
    }

    /// Trains the one adapter and signs the request to audit it; the inner error is a training that led
    /// nowhere. Progress is told in optimizer steps.
    ///
    /// # Errors
    /// A failure of storage or arithmetic.
    pub(crate) fn one_candidate(
        &self,
        task: &Task,
        asked: &Asked<'_>,
        report: Report<'_>,
    ) -> Result<Result<Envelope, Diverged>, StudentError> {
        let trained = self.train(std::slice::from_ref(task), task.recipe.steps as u64, report)?;
        let files = match trained.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(files) => files,
            Err(diverged) => return Ok(Err(diverged)),
        };
        let request = AuditRequest {
            purpose: asked.purpose,
            stage: asked.stage.to_owned(),
            nonce: nonce(asked.seed, asked.stage, asked.purpose, &task.contexts),
            candidates: files.into_iter().map(|files| self.candidate(task, files)).collect(),
        };
        self.audit_request(request).map(Ok)
    }
}
