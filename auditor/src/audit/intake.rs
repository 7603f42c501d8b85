//! What came in, verified: the student's request, the teacher's edits, the judge's judgements.

use std::collections::{BTreeMap, BTreeSet};

use seal_protocol::{
    ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE, AuditPurpose, AuditRequest, AuditSubmission,
    Candidate, Digest, Envelope, Judgement, SelfEdit, UnixSeconds,
};
use seal_trust::{TrustedRoot, digest_of};

use super::AuditError;

/// Most candidates of one group.
const MAX_CANDIDATES: usize = 64;
/// Most contexts one adapter may claim.
const MAX_CONTEXTS: usize = 4096;

/// A verified request with the edits that verified.
pub(super) struct Intake {
    pub(super) digest: Digest,
    pub(super) request: AuditRequest,
    pub(super) envelope: Envelope,
    /// When it was taken in.
    pub(super) at: UnixSeconds,
    /// By edit digest. An edit that did not verify is not here.
    pub(super) edits: BTreeMap<Digest, VerifiedEdit>,
    /// On those edits, by the digest of the signed payload. One that did not verify is not here.
    pub(super) judgements: Vec<VerifiedJudgement>,
}

pub(super) struct VerifiedJudgement {
    pub(super) judgement: Judgement,
    /// SHA-256 of the signed payload.
    pub(super) digest: Digest,
    pub(super) envelope: Envelope,
}

pub(super) struct VerifiedEdit {
    pub(super) edit: SelfEdit,
    /// The teacher key that signed it.
    pub(super) keyid: String,
    pub(super) envelope: Envelope,
}

impl Intake {
    /// Verifies the request under a student key and each edit under a teacher key.
    pub(super) fn verify(
        root: &TrustedRoot,
        submission: AuditSubmission,
        now: UnixSeconds,
    ) -> Result<Self, AuditError> {
        let verified =
            root.verify::<AuditRequest>(&submission.request, now).map_err(AuditError::Request)?;
        let request = verified.statement.predicate;
        check(&request)?;
        let named = named_edits(&request);
        let edits =
            submission.edits.into_iter().filter_map(|envelope| verified_edit(root, envelope, now));
        let judgements = submission.judgements.into_iter();
        let judgements: BTreeMap<Digest, VerifiedJudgement> = judgements
            .filter_map(|envelope| verified_judgement(root, envelope, now))
            .filter(|verified| named.contains(&verified.judgement.edit_digest))
            .map(|verified| (verified.digest, verified))
            .collect();
        Ok(Self {
            digest: verified.payload_digest,
            request,
            envelope: submission.request,
            at: now,
            edits: edits.filter(|(digest, _)| named.contains(digest)).collect(),
            judgements: judgements.into_values().collect(),
        })
    }

    /// The judgements on a candidate's edits, by digest, sorted.
    pub(super) fn judgements_on(&self, candidate: &Candidate) -> Vec<Digest> {
        let about =
            |one: &&VerifiedJudgement| candidate.edit_digests.contains(&one.judgement.edit_digest);
        self.judgements.iter().filter(about).map(|one| one.digest).collect()
    }

    /// The contexts that every candidate of the group claims.
    pub(super) fn contexts(&self) -> &[Digest] {
        self.request.candidates.first().map_or(&[], |candidate| &candidate.context_digests)
    }
}

fn named_edits(request: &AuditRequest) -> BTreeSet<Digest> {
    let digests = request.candidates.iter().flat_map(|candidate| &candidate.edit_digests);
    digests.copied().collect()
}

fn verified_edit(
    root: &TrustedRoot,
    envelope: Envelope,
    now: UnixSeconds,
) -> Option<(Digest, VerifiedEdit)> {
    let verified = root.verify::<SelfEdit>(&envelope, now).ok()?;
    let (edit, keyid) = (verified.statement.predicate, verified.keyid);
    let digest = digest_of(&edit).ok()?;
    Some((digest, VerifiedEdit { edit, keyid, envelope }))
}

fn verified_judgement(
    root: &TrustedRoot,
    envelope: Envelope,
    now: UnixSeconds,
) -> Option<VerifiedJudgement> {
    let verified = root.verify::<Judgement>(&envelope, now).ok()?;
    let (judgement, digest) = (verified.statement.predicate, verified.payload_digest);
    Some(VerifiedJudgement { judgement, digest, envelope })
}

fn check(request: &AuditRequest) -> Result<(), AuditError> {
    let refuse = |what: &str| Err(AuditError::Malformed(what.to_owned()));
    if request.nonce.parse::<Digest>().is_err() {
        return refuse("`nonce` must be 64 lower-case hex digits");
    }
    match request.candidates.len() {
        0 => return refuse("`candidates` is empty"),
        MAX_CANDIDATES.. => return refuse("`candidates` holds too many; send at most 63"),
        _ => {}
    }
    if request.purpose == AuditPurpose::Promotion && request.candidates.len() != 1 {
        return refuse("a promotion is about one candidate");
    }
    let contexts = &request.candidates[0].context_digests;
    if request.candidates.iter().any(|candidate| candidate.context_digests != *contexts) {
        return refuse("the candidates of a group must claim the same `context_digests`");
    }
    request.candidates.iter().try_for_each(|candidate| check_candidate(request.purpose, candidate))
}

fn check_candidate(purpose: AuditPurpose, candidate: &Candidate) -> Result<(), AuditError> {
    let refuse = |what: &str| Err(AuditError::Malformed(what.to_owned()));
    let names: Vec<&str> = candidate.files.iter().map(|file| file.name.as_str()).collect();
    if names != [ADAPTER_CONFIG_FILE, ADAPTER_MODEL_FILE] {
        return refuse(
            "`files` must be adapter_config.json and adapter_model.safetensors, in this order",
        );
    }
    let rising = |digests: &[Digest]| {
        !digests.is_empty() && digests.windows(2).all(|pair| pair[0] < pair[1])
    };
    if !rising(&candidate.context_digests) || candidate.context_digests.len() > MAX_CONTEXTS {
        return refuse("`context_digests` must hold digests, sorted, each once");
    }
    if !rising(&candidate.edit_digests) {
        return refuse("`edit_digests` must hold digests, sorted, each once");
    }
    let single = candidate.context_digests.len() == 1 && candidate.edit_digests.len() == 1;
    if purpose == AuditPurpose::Edit && !single {
        return refuse("an edit is judged by an adapter of one edit on one context");
    }
    Ok(())
}
