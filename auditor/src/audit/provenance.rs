//! Provenance: is the candidate made from what it says, by those who may?

use seal_protocol::{AuditPurpose, Candidate, Digest};

use super::intake::Intake;
use crate::gate::{Stage, StageRecord};
use crate::ledger::MeasuredAdapter;
use crate::level::BUDGET_SPENT;

/// What this auditor knows that a candidate must fit.
pub(super) struct Known<'a> {
    pub(super) base_model: Digest,
    pub(super) tokenizer: Digest,
    /// Whether the vault has τ for a context.
    pub(super) has_tau: &'a dyn Fn(&Digest) -> bool,
    /// Whether a verdict let an edit feed the policy.
    pub(super) is_accepted: &'a dyn Fn(&Digest) -> bool,
    /// An adapter that was measured here.
    pub(super) measured: &'a dyn Fn(&Digest) -> Option<&'a MeasuredAdapter>,
    /// More of one source than may be learned.
    pub(super) over_source_quota: bool,
    /// Attempts on the context are used up.
    pub(super) budget_spent: bool,
}

pub(super) fn stage(known: &Known<'_>, intake: &Intake, candidate: &Candidate) -> StageRecord {
    let purpose = intake.request.purpose;
    let edits = &candidate.edit_digests;
    let unverified = edits.iter().any(|edit| !intake.edits.contains_key(edit));
    let foreign = edits
        .iter()
        .filter_map(|edit| intake.edits.get(edit))
        .any(|verified| !candidate.context_digests.contains(&verified.edit.context_digest));
    let unaccepted = purpose == AuditPurpose::Promotion && !edits.iter().all(known.is_accepted);
    let checks = [
        ("provenance.base-model", candidate.base_model_digest != known.base_model),
        ("provenance.tokenizer", candidate.tokenizer_digest != known.tokenizer),
        ("provenance.edit-unverified", unverified),
        ("provenance.edit-context", foreign),
        ("provenance.edit-not-accepted", unaccepted),
        ("provenance.parent", !is_step(known, purpose, candidate)),
        ("provenance.unknown-context", !candidate.context_digests.iter().all(known.has_tau)),
        ("provenance.source-quota", known.over_source_quota),
        (BUDGET_SPENT, known.budget_spent),
    ];
    let broken = checks.into_iter().filter(|(_, broken)| *broken);
    StageRecord::of(Stage::Provenance, broken.map(|(name, _)| name.to_owned()).collect())
}

/// Whether an adapter that is only measured and continues another one is a step of a sequence: it
/// continues one that this auditor measured, claims at least its contexts, and has learned one more
/// edit, which was accepted. What the student says of the earlier steps is not asked.
fn is_step(known: &Known<'_>, purpose: AuditPurpose, candidate: &Candidate) -> bool {
    let (AuditPurpose::Evaluation, Some(parent)) = (purpose, candidate.parent_adapter_digest)
    else {
        return true;
    };
    let Some(before) = (known.measured)(&parent) else { return false };
    let holds = |now: &[Digest], then: &[Digest]| then.iter().all(|digest| now.contains(digest));
    let added = candidate.edit_digests.iter().filter(|edit| !before.edit_digests.contains(edit));
    let added: Vec<&Digest> = added.collect();
    holds(&candidate.context_digests, &before.context_digests)
        && holds(&candidate.edit_digests, &before.edit_digests)
        && matches!(added.as_slice(), [edit] if (known.is_accepted)(edit))
}
