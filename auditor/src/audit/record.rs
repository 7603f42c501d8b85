//! What a judged group leaves: commitments, verdict, rows, files. Pure but for the signature.

use std::collections::BTreeMap;

use seal_protocol::{Attempt, AuditPurpose, Decision, Digest, Envelope, LedgerEvent, SuiteRef};
use seal_trust::envelope_to_bytes;

use super::Identity;
use super::intake::Intake;
use super::signing::Measurement;
use crate::annex::{Annex, CandidateAnnex};
use crate::ledger::{Artefact, ArtefactKind, Head, LedgerError};
use crate::vault::Vault;

/// To τ as used, and to each suite.
pub(super) type Commitments = (Digest, Vec<SuiteRef>);

/// Commitments to τ as used and to the suites.
pub(super) fn commitments(vault: &Vault, intake: &Intake) -> Commitments {
    let tau = intake.contexts().iter().filter_map(|context| vault.tau(context));
    let used = tau.flat_map(|tau| {
        let split = match intake.request.purpose {
            AuditPurpose::Promotion => &tau.confirmation,
            AuditPurpose::Edit | AuditPurpose::Evaluation => &tau.reward,
        };
        split.iter().chain(&tau.protected)
    });
    let benign = Some(&vault.benign).filter(|suite| !suite.items.is_empty());
    let suites = [&vault.retention, &vault.refusals].into_iter().chain(benign);
    let suites = suites.map(|suite| vault.suite_ref(suite));
    (vault.commitment(used), suites.collect())
}

/// By context, the τ that is in force: what the rows count against.
pub(super) fn tau(vault: &Vault, intake: &Intake) -> BTreeMap<Digest, Digest> {
    let contexts = intake.contexts().iter();
    contexts.filter_map(|context| Some((*context, vault.in_force(context)?))).collect()
}

/// The verdict on the winner, if there is one.
pub(super) fn signed(
    identity: &Identity,
    intake: &Intake,
    annex: &Annex,
    metrics_annex_digest: Digest,
    (tau_commitment, suites): Commitments,
    head: &Head,
) -> Result<Option<Envelope>, LedgerError> {
    let winner =
        annex.candidates.iter().position(|candidate| candidate.ruling.decision == Decision::Accept);
    let Some(winner) = winner else { return Ok(None) };
    let recomputation = annex.candidates[winner].recomputation.as_ref();
    let measurement = Measurement {
        tau_commitment,
        suites,
        metrics_annex_digest,
        recomputation: recomputation.map(|recomputed| recomputed.outcome),
        constitution_digest: annex.constitution_digest,
        labels: annex.labels(),
    };
    let attempt = head.next_index + winner as u64;
    Ok(Some(identity.sign(
        intake,
        &intake.request.candidates[winner],
        measurement,
        head,
        attempt,
    )?))
}

/// One row per candidate.
pub(super) fn rows(
    intake: &Intake,
    annex: &Annex,
    annex_digest: Digest,
    tau: &BTreeMap<Digest, Digest>,
    verdict: Option<Digest>,
) -> Vec<LedgerEvent> {
    let row = |candidate: &CandidateAnnex| {
        let decision = candidate.ruling.decision;
        LedgerEvent::Attempt(Attempt {
            request_digest: intake.digest,
            purpose: intake.request.purpose,
            stage: intake.request.stage.clone(),
            context_digests: candidate.context_digests.clone(),
            tau: tau.clone(),
            edit_digests: candidate.edit_digests.clone(),
            adapter_digest: candidate.adapter_digest,
            decision,
            reasons: candidate.ruling.reasons.clone(),
            metrics_annex_digest: annex_digest,
            recomputation: candidate.recomputation.as_ref().map(|recomputed| recomputed.outcome),
            labels: annex.labels(),
            verdict_envelope_digest: verdict.filter(|_| decision == Decision::Accept),
        })
    };
    annex.candidates.iter().map(row).collect()
}

/// What is kept beside the ledger.
pub(super) fn artefacts(
    intake: &Intake,
    annex: &Annex,
    annex_digest: Digest,
    annex_bytes: Vec<u8>,
) -> Vec<Artefact> {
    let artefact = |kind, digest, body| Artefact { kind, digest, body };
    let mut artefacts = vec![
        artefact(ArtefactKind::Request, intake.digest, envelope_to_bytes(&intake.envelope)),
        artefact(ArtefactKind::Annex, annex_digest, annex_bytes),
    ];
    let edits = intake.edits.iter();
    artefacts.extend(edits.map(|(digest, edit)| {
        artefact(ArtefactKind::Edit, *digest, envelope_to_bytes(&edit.envelope))
    }));
    let named = |digest| {
        annex.candidates.iter().any(|candidate| candidate.judgement_digests.contains(digest))
    };
    let judgements = intake.judgements.iter().filter(|verified| named(&verified.digest));
    artefacts.extend(judgements.map(|verified| {
        let body = envelope_to_bytes(&verified.envelope);
        artefact(ArtefactKind::Judgement, verified.digest, body)
    }));
    artefacts
}
