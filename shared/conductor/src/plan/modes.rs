//! The modes beside rounds of selection and policy updates: continued pre-training and sequences.

use seal_protocol::{AuditPurpose, Digest, ProposalMethod};

use super::{ContextRef, ContextUse, Lane, Plan, Sampling, TaskId, Work, sampled, used_as};

/// Stage of the adapter on all passages of a round, and of the one on the bare passages.
#[must_use]
pub fn joint_stages(round: u32) -> [String; 2] {
    [format!("cpt-{round}"), format!("cpt-{round}-context-only")]
}

/// Stage of a sequence.
#[must_use]
pub fn sequence_stage(round: u32) -> String {
    format!("sequence-{round}")
}

impl Plan<'_> {
    /// One adapter per round over all that was written about its passages, and one over the passages
    /// alone to compare it with.
    pub(super) fn continued_pretraining(&mut self, contexts: &[ContextRef]) {
        let settings = self.settings;
        for round in 1..=settings.rounds {
            let members = used_as(contexts, ContextUse::Round(round));
            let [stage, bare] = joint_stages(round);
            if settings.evaluate {
                let method = ProposalMethod::ContextOnly;
                self.together(&bare, &members, Sampling { count: 1, method, policy_of: None });
            }
            let count = settings.proposals_per_context;
            let method = sampled(settings, &[]);
            self.together(&stage, &members, Sampling { count, method, policy_of: None });
        }
    }

    /// One sequence per round: its passages' edits are judged as ever, then learned in the order of the
    /// passages, and after each step everything learned so far is measured.
    pub(super) fn sequences(&mut self, contexts: &[ContextRef]) {
        let mut learned = Vec::new();
        for round in 1..=self.settings.rounds {
            let members = used_as(contexts, ContextUse::Round(round));
            let (stage, method) = (sequence_stage(round), sampled(self.settings, &[]));
            let judged = self.sample(&stage, &members, method, None, AuditPurpose::Edit);
            let mut steps: Vec<TaskId> = Vec::new();
            let parts = self.settings.contexts_per_job.max(1);
            for (number, context) in members.iter().enumerate() {
                let audit = judged.audits[number / parts].clone();
                let step = self.step(&stage, *context, audit, &judged.proposal, &steps);
                steps.push(step);
            }
            learned.push(judged);
        }
        if self.settings.consolidate && !learned.is_empty() {
            self.consolidate(&learned);
        }
    }

    fn step(
        &mut self,
        stage: &str,
        context: Digest,
        audit: TaskId,
        proposal: &TaskId,
        steps: &[TaskId],
    ) -> TaskId {
        let number = steps.len();
        let needs = [&[audit.clone(), proposal.clone()], steps].concat();
        let work = Work::Extend {
            context,
            verdicts_of: vec![audit],
            edits_of: proposal.clone(),
            after: steps.to_vec(),
        };
        let trained = self.push(stage, &format!("step-{number:03}"), Lane::Student, needs, work);
        let edits_of = vec![proposal.clone()];
        let work = Work::Audit { candidates_of: trained.clone(), edits_of };
        let needs = vec![proposal.clone(), trained.clone()];
        self.push(stage, &format!("measure-{number:03}"), Lane::Auditor, needs, work);
        trained
    }

    /// One adapter on all edits of a stage, measured on all its contexts.
    fn together(&mut self, stage: &str, contexts: &[Digest], sampling: Sampling) {
        let Sampling { count, method, policy_of } = sampling;
        let needs = policy_of.iter().cloned().collect();
        let contexts = contexts.to_vec();
        let work = Work::Propose {
            contexts: contexts.clone(),
            proposals_per_context: count,
            method,
            policy_of,
        };
        let proposal = self.push(stage, "propose", Lane::Teacher, needs, work);
        let work = Work::InnerUpdate {
            contexts,
            edits_of: proposal.clone(),
            purpose: AuditPurpose::Evaluation,
            length_matched_to: None,
            together: true,
        };
        let trained = self.push(stage, "update", Lane::Student, vec![proposal.clone()], work);
        let needs = vec![proposal.clone(), trained.clone()];
        let work = Work::Audit { candidates_of: trained, edits_of: vec![proposal] };
        self.push(stage, "audit", Lane::Auditor, needs, work);
    }
}
