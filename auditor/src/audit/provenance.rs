//! Provenance: is the candidate made from what it says, by those who may?

use seal_protocol::{AuditPurpose, Candidate, Digest};

use super::intake::Intake;
use crate::gate::{Stage, StageRecord};

/// What this auditor knows that a candidate must fit.
pub(super) struct Known<'a> {
    pub(super) base_model: Digest,
    pub(super) tokenizer: Digest,
    /// Whether the vault has τ for a context.
    pub(super) has_tau: &'a dyn Fn(&Digest) -> bool,
    /// Whether a verdict let an edit feed the policy.
    pub(super) is_accepted: &'a dyn Fn(&Digest) -> bool,
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
        ("provenance.unknown-context", !candidate.context_digests.iter().all(known.has_tau)),
        ("provenance.source-quota", known.over_source_quota),
        ("tau.budget-spent", known.budget_spent),
    ];
    let broken = checks.into_iter().filter(|(_, broken)| *broken);
    StageRecord::of(Stage::Provenance, broken.map(|(name, _)| name.to_owned()).collect())
}
