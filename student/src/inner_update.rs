//! The job "inner updates": one adapter per edit, one signed audit request per context.
//!
//! **Invariant:** the candidates of one context share seed, initialisation and replay lines; they
//! differ by their edits alone. One that diverges is named like an edit that was refused and stops
//! no other.

use seal_protocol::{
    AdapterFile, AuditRequest, Candidate, Digest, Envelope, InnerUpdateRequest, InnerUpdated,
    RefusedEdit, Subject,
};

use crate::error::StudentError;
use crate::groups::{CheckedEdit, Group, by_context};
use crate::seeds::{group_seed, nonce};
use crate::student::{Report, Student};
use crate::training::Task;

/// A group with the tasks of those edits that the student accepts.
struct Planned {
    context: Digest,
    tasks: Vec<Task>,
}

impl Student {
    /// Trains every edit of the request and signs one audit request per context.
    ///
    /// # Errors
    /// No edit, an edit that does not verify, or a failure of storage or arithmetic. An edit that
    /// cannot be trained on, or whose training diverges, is named in the result.
    pub fn inner_update(
        &self,
        request: &InnerUpdateRequest,
        report: Report<'_>,
    ) -> Result<InnerUpdated, StudentError> {
        if request.edits.is_empty() {
            return Err(StudentError::Empty("edit"));
        }
        if request.together {
            return self.joint_update(request, report);
        }
        let mut refused = Vec::new();
        let groups = by_context(self.verified_edits(&request.edits)?);
        let planned = groups
            .iter()
            .map(|group| self.plan(group, request, &mut refused))
            .collect::<Result<Vec<_>, _>>()?;
        let (contexts, tasks) = flatten(planned);
        let mut candidates: Vec<Candidate> = Vec::new();
        for (task, files) in tasks.iter().zip(self.train(&tasks, 1, report)?) {
            match files {
                Ok(files) => candidates.push(self.candidate(task, files)),
                Err(diverged) => refused.extend(task.edits.iter().map(|edit| RefusedEdit {
                    edit_digest: *edit,
                    reason: format!("its training diverged: {}", diverged.why),
                })),
            }
        }
        let requests = contexts
            .into_iter()
            .map(|context| (context, claiming(&context, &candidates)))
            .filter(|(_, candidates)| !candidates.is_empty())
            .map(|(context, candidates)| {
                self.audit_request(AuditRequest {
                    purpose: request.purpose,
                    stage: request.stage.clone(),
                    nonce: nonce(request.seed, &request.stage, request.purpose, &[context]),
                    candidates,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(InnerUpdated { requests, refused })
    }

    fn plan(
        &self,
        group: &Group,
        request: &InnerUpdateRequest,
        refused: &mut Vec<RefusedEdit>,
    ) -> Result<Planned, StudentError> {
        let seed = group_seed(request.seed, &request.stage, &[group.context]);
        let mut tasks = Vec::new();
        for edit in &group.edits {
            match self.task(edit, seed)? {
                Ok(task) => tasks.push(task),
                Err(reason) => refused.push(RefusedEdit { edit_digest: edit.digest, reason }),
            }
        }
        Ok(Planned { context: group.context, tasks })
    }

    /// The task of one edit, or why the student will not train on it.
    fn task(&self, edit: &CheckedEdit, seed: u64) -> Result<Result<Task, String>, StudentError> {
        match self.planner().inner_update(edit.digest, &edit.edit, seed) {
            Ok(planned) => {
                let contexts = vec![edit.edit.context_digest];
                Ok(Ok(Task::new(contexts, vec![edit.digest], seed, planned)))
            }
            Err(error) => error.refusal().map(Err).ok_or_else(|| error.into()),
        }
    }

    /// Signs an audit request about its candidates' files and keeps it.
    pub(crate) fn audit_request(&self, request: AuditRequest) -> Result<Envelope, StudentError> {
        let files = request.candidates.iter().enumerate().flat_map(|(number, candidate)| {
            let subject = move |file: &AdapterFile| {
                Subject::new(format!("{number}/{}", file.name), file.sha256)
            };
            candidate.files.iter().map(subject)
        });
        let (envelope, digest) = self.sign(files.collect(), request.clone())?;
        self.requests.put(&digest.to_string(), &envelope)?;
        Ok(envelope)
    }
}

/// The candidates of one context.
fn claiming(context: &Digest, candidates: &[Candidate]) -> Vec<Candidate> {
    let claims = |one: &&Candidate| one.context_digests[0] == *context;
    candidates.iter().filter(claims).cloned().collect()
}

/// The contexts that have a candidate left, and all tasks.
fn flatten(planned: Vec<Planned>) -> (Vec<Digest>, Vec<Task>) {
    let planned = planned.into_iter().filter(|group| !group.tasks.is_empty());
    let (contexts, tasks): (Vec<_>, Vec<_>) =
        planned.map(|group| (group.context, group.tasks)).unzip();
    (contexts, tasks.into_iter().flatten().collect())
}
