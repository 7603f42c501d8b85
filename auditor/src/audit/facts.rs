//! What written policy is told about a candidate besides its measurements. Pure.

use seal_protocol::{AuditPurpose, Candidate};

use super::Identity;
use super::intake::{Intake, VerifiedEdit};
use crate::policy::{AttemptFacts, AuditorFacts, CandidateFacts, EditFacts, Facts, RequestFacts};
use crate::rules::texts;

/// `None` for an evaluation, which asks for nothing, and for a candidate without tensors.
pub(super) fn of(
    intake: &Intake,
    candidate: &Candidate,
    attempts: AttemptFacts,
    identity: &Identity,
) -> Option<Facts> {
    if intake.request.purpose == AuditPurpose::Evaluation {
        return None;
    }
    Some(Facts {
        request: RequestFacts {
            purpose: intake.request.purpose,
            stage: intake.request.stage.clone(),
            digest: intake.digest,
            at: intake.at,
        },
        candidate: candidate_facts(intake, candidate)?,
        attempts,
        auditor: AuditorFacts {
            version: identity.evaluator.version.clone(),
            binary_digest: identity.evaluator.binary_digest,
            enforcement: identity.enforcement.clone(),
            trust_root_version: identity.trust_root_version,
        },
    })
}

fn candidate_facts(intake: &Intake, candidate: &Candidate) -> Option<CandidateFacts> {
    let edits = candidate.edit_digests.iter().filter_map(|digest| {
        let verified = intake.edits.get(digest)?;
        Some(edit_facts(*digest, verified))
    });
    Some(CandidateFacts {
        adapter_digest: candidate.adapter_digest()?,
        base_model_digest: candidate.base_model_digest,
        tokenizer_digest: candidate.tokenizer_digest,
        parent_adapter_digest: candidate.parent_adapter_digest,
        recipe_digest: candidate.recipe_digest,
        seed: candidate.seed,
        instruction_set: candidate.instruction_set.clone(),
        context_digests: candidate.context_digests.clone(),
        edits: edits.collect(),
    })
}

fn edit_facts(digest: seal_protocol::Digest, verified: &VerifiedEdit) -> EditFacts {
    let (edit, origin) = (&verified.edit, &verified.edit.origin);
    EditFacts {
        digest,
        context_digest: edit.context_digest,
        keyid: verified.keyid.clone(),
        writer: origin.writer.clone(),
        policy_digest: origin.policy_digest,
        prompt_family: origin.prompt_family.clone(),
        temperature_micro: origin.temperature_micro,
        examples: edit.examples.len() as u64,
        bytes: texts(edit).iter().map(|text| text.len() as u64).sum(),
        labels: edit.directives.labels.clone(),
    }
}
