//! From an accepted candidate to a signed verdict.

use seal_protocol::{
    Accept, AuditPurpose, Candidate, Digest, Enforcement, Envelope, Evaluator, Labels,
    Recomputation, Statement, Subject, SuiteRef, UnixSeconds, Verdict, VerdictKind,
};
use seal_trust::{CanonicalError, SigningKey, sign_statement};

use super::intake::Intake;
use crate::ledger::Head;

/// Who decides, under which policy, how confined.
pub struct Identity {
    /// The auditor's private key.
    pub key: SigningKey,
    /// The program.
    pub evaluator: Evaluator,
    /// Confinement that was proven at start.
    pub enforcement: Enforcement,
    /// Digest of settings, selection rule and text rules.
    pub policy_digest: Digest,
    /// Digest of the written policy's bundle, where there is one.
    pub policy_bundle_digest: Option<Digest>,
    /// Version of the trust root in force.
    pub trust_root_version: u64,
    /// Life of a verdict, in seconds.
    pub verdict_ttl_s: u64,
}

/// What the measurement adds to the verdict.
pub(super) struct Measurement {
    pub(super) tau_commitment: Digest,
    pub(super) suites: Vec<SuiteRef>,
    pub(super) metrics_annex_digest: Digest,
    pub(super) recomputation: Option<Recomputation>,
    pub(super) constitution_digest: Option<Digest>,
    pub(super) labels: Labels,
}

impl Identity {
    /// Signs the verdict on `candidate`, which will be ledger row `attempt`.
    pub(super) fn sign(
        &self,
        intake: &Intake,
        candidate: &Candidate,
        measurement: Measurement,
        head: &Head,
        attempt: u64,
    ) -> Result<Envelope, CanonicalError> {
        let subject = candidate
            .files
            .iter()
            .map(|file| Subject::new(file.name.clone(), file.sha256))
            .collect();
        let verdict = self.verdict(intake, candidate, measurement, head, attempt);
        sign_statement(&self.key, &Statement::new(subject, verdict))
    }

    fn verdict(
        &self,
        intake: &Intake,
        candidate: &Candidate,
        measurement: Measurement,
        head: &Head,
        attempt: u64,
    ) -> Verdict {
        Verdict {
            verdict: Accept::Accept,
            kind: kind(intake.request.purpose),
            request_digest: intake.digest,
            nonce: intake.request.nonce.clone(),
            sequence: head.next_sequence,
            prev_verdict_digest: head.prev_verdict_digest,
            edit_digests: candidate.edit_digests.clone(),
            context_digests: candidate.context_digests.clone(),
            base_model_digest: candidate.base_model_digest,
            tokenizer_digest: candidate.tokenizer_digest,
            parent_adapter_digest: candidate.parent_adapter_digest,
            policy_digest: self.policy_digest,
            policy_bundle_digest: self.policy_bundle_digest,
            constitution_digest: measurement.constitution_digest,
            tau_commitment: measurement.tau_commitment,
            suites: measurement.suites,
            evaluator: self.evaluator.clone(),
            trust_root_version: self.trust_root_version,
            attempt,
            metrics_annex_digest: measurement.metrics_annex_digest,
            recomputation: measurement.recomputation,
            labels: measurement.labels,
            issued_at: head.at,
            expires_at: UnixSeconds(head.at.0 + self.verdict_ttl_s),
            enforcement: self.enforcement.clone(),
        }
    }
}

/// The gate never accepts an evaluation, so the last arm is only reached for edits.
const fn kind(purpose: AuditPurpose) -> VerdictKind {
    match purpose {
        AuditPurpose::Promotion => VerdictKind::Promotion,
        AuditPurpose::Edit | AuditPurpose::Evaluation => VerdictKind::Edit,
    }
}
