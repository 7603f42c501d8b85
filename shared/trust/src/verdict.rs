//! Whether a verdict allows what is about to be done.
//!
//! **Invariant:** every digest that a verdict binds is compared here or is not needed for the
//! effect; no caller judges a field of a verdict by itself.
//! **Absent:** whether it was used before (see `seen`), inclusion in the ledger (see `proof`).

use std::collections::BTreeSet;

use seal_protocol::{
    AdapterFile, Digest, Envelope, Labels, Predicate, Role, Subject, UnixSeconds, Verdict,
    VerdictKind,
};

use crate::{TrustedRoot, VerdictError, Verified, VerifyError};

/// What is about to be done, as the caller knows it from its own bytes. `None` compares nothing.
#[derive(Clone, Copy, Debug)]
pub struct Expectation<'a> {
    /// What the verdict must allow.
    pub kind: VerdictKind,
    /// The request it must answer.
    pub request_digest: Option<Digest>,
    /// The nonce that was sent.
    pub nonce: Option<&'a str>,
    /// The edits about to be used, in any order.
    pub edit_digests: Option<&'a [Digest]>,
    /// The contexts claimed, in any order.
    pub context_digests: Option<&'a [Digest]>,
    /// The base model that is loaded.
    pub base_model_digest: Option<Digest>,
    /// Its tokenizer.
    pub tokenizer_digest: Option<Digest>,
    /// The adapter's files as hashed from their bytes, in any order.
    pub adapter_files: Option<&'a [AdapterFile]>,
    /// The gate's settings, where the reader knows them.
    pub policy_digest: Option<Digest>,
}

impl Expectation<'_> {
    /// Only the kind; set more with struct update syntax.
    pub const fn of(kind: VerdictKind) -> Self {
        Self {
            kind,
            request_digest: None,
            nonce: None,
            edit_digests: None,
            context_digests: None,
            base_model_digest: None,
            tokenizer_digest: None,
            adapter_files: None,
            policy_digest: None,
        }
    }
}

/// Verifies a verdict and compares everything it binds with what is about to be done.
///
/// # Errors
/// What [`TrustedRoot::verify`] refuses, then one [`VerdictError`] per check. Where the trust root
/// demands several auditors: `QuorumNotMet`; see [`check_verdict_quorum`].
pub fn check_verdict(
    root: &TrustedRoot,
    envelope: &Envelope,
    expected: &Expectation<'_>,
    now: UnixSeconds,
) -> Result<Verified<Verdict>, VerifyError> {
    root.demand_quorum(Role::Auditor, 1)?;
    check_one(root, envelope, expected, now)
}

/// As [`check_verdict`], for verdicts of several auditors on the same thing. Each must pass alone,
/// enough different auditors must have signed, and what they bind must agree.
///
/// # Errors
/// As [`check_verdict`], `QuorumNotMet`, and `QuorumDisagrees` with the field.
pub fn check_verdict_quorum(
    root: &TrustedRoot,
    envelopes: &[&Envelope],
    expected: &Expectation<'_>,
    now: UnixSeconds,
) -> Result<Vec<Verified<Verdict>>, VerifyError> {
    let each = envelopes.iter().map(|envelope| check_one(root, envelope, expected, now));
    let verdicts = each.collect::<Result<Vec<_>, _>>()?;
    check_quorum(root, &verdicts)?;
    Ok(verdicts)
}

/// As [`check_verdict_quorum`], for verdicts on several requests: those that answer one request are a
/// quorum of their own. Groups come in the order of their first verdict.
///
/// # Errors
/// As [`check_verdict_quorum`], for the first group that does not hold.
pub fn check_verdicts(
    root: &TrustedRoot,
    envelopes: &[Envelope],
    expected: &Expectation<'_>,
    now: UnixSeconds,
) -> Result<Vec<Vec<Verified<Verdict>>>, VerifyError> {
    let mut groups: Vec<Vec<Verified<Verdict>>> = Vec::new();
    for envelope in envelopes {
        let verdict = check_one(root, envelope, expected, now)?;
        let request = |verdict: &Verified<Verdict>| verdict.statement.predicate.request_digest;
        let group = groups.iter_mut().find(|group| request(&group[0]) == request(&verdict));
        match group {
            Some(group) => group.push(verdict),
            None => groups.push(vec![verdict]),
        }
    }
    groups.iter().try_for_each(|group| check_quorum(root, group))?;
    Ok(groups)
}

/// Compares a verdict that was verified before with what became known since.
///
/// # Errors
/// One [`VerdictError`] per check.
pub fn check_binding(
    verdict: &Verified<Verdict>,
    expected: &Expectation<'_>,
) -> Result<(), VerdictError> {
    let predicate = &verdict.statement.predicate;
    check_kind_and_request(expected, predicate)?;
    check_artefacts(expected, predicate)?;
    check_subject(expected, &verdict.statement.subject)
}

fn check_quorum(root: &TrustedRoot, verdicts: &[Verified<Verdict>]) -> Result<(), VerifyError> {
    let auditors: BTreeSet<_> = verdicts.iter().map(|verdict| &verdict.keyid).collect();
    root.demand_quorum(Role::Auditor, auditors.len())?;
    Ok(verdicts.windows(2).try_for_each(|pair| agree(&pair[0], &pair[1]))?)
}

fn check_one(
    root: &TrustedRoot,
    envelope: &Envelope,
    expected: &Expectation<'_>,
    now: UnixSeconds,
) -> Result<Verified<Verdict>, VerifyError> {
    let verified = root.verify_one::<Verdict>(envelope, now)?;
    let verdict = &verified.statement.predicate;
    check_labels(verdict)?;
    check_time(root, verdict, now)?;
    check_root_terms(root, verdict)?;
    check_binding(&verified, expected)?;
    Ok(verified)
}

/// Votes may feed a policy; whatever serves was held against answers that somebody stands for.
fn check_labels(verdict: &Verdict) -> Result<(), VerdictError> {
    match (verdict.kind, verdict.labels) {
        (VerdictKind::Promotion, Labels::Majority) => Err(VerdictError::VotedPromotion),
        (VerdictKind::Promotion, Labels::Gold) | (VerdictKind::Edit, _) => Ok(()),
    }
}

fn check_time(root: &TrustedRoot, verdict: &Verdict, now: UnixSeconds) -> Result<(), VerdictError> {
    let Verdict { issued_at, expires_at, .. } = *verdict;
    let limits = &root.root().limits;
    if issued_at.0 > now.0.saturating_add(limits.max_clock_skew_s) {
        return Err(VerdictError::NotYetValid { issued_at, now });
    }
    if expires_at <= now {
        return Err(VerdictError::Expired { expires_at, now });
    }
    let (ttl_s, limit_s) = (expires_at.0.saturating_sub(issued_at.0), limits.verdict_ttl_s);
    match ttl_s > limit_s {
        true => Err(VerdictError::TtlTooLong { ttl_s, limit_s }),
        false => Ok(()),
    }
}

/// What the owner of the system demands of every verdict.
fn check_root_terms(root: &TrustedRoot, verdict: &Verdict) -> Result<(), VerdictError> {
    let (ours, found) = (root.root().version, verdict.trust_root_version);
    if found > ours {
        return Err(VerdictError::RootBehind { ours, found });
    }
    let (minimum, found) = (root.root().limits.min_enforcement, verdict.enforcement.level);
    if found < minimum {
        return Err(VerdictError::EnforcementTooWeak { minimum, found });
    }
    check_pins(root, verdict)
}

fn check_pins(root: &TrustedRoot, verdict: &Verdict) -> Result<(), VerdictError> {
    let pins = &root.root().pins;
    let evaluator = verdict.evaluator.binary_digest;
    pinned("base model", "base_models", &pins.base_models, verdict.base_model_digest)?;
    pinned("policy", "policies", &pins.policies, verdict.policy_digest)?;
    pinned("evaluator", "evaluators", &pins.evaluators, evaluator)?;
    let used = verdict.suites.iter().map(|suite| suite.digest);
    used.clone().try_for_each(|suite| pinned("suite", "suites", &pins.suites, suite))?;
    let used: BTreeSet<_> = used.collect();
    match pins.suites.iter().find(|suite| !used.contains(suite)) {
        Some(suite) if verdict.kind == VerdictKind::Promotion => {
            Err(VerdictError::MissingSuite { suite: *suite })
        }
        _ => Ok(()),
    }
}

fn pinned(
    what: &'static str,
    field: &'static str,
    allowed: &[Digest],
    found: Digest,
) -> Result<(), VerdictError> {
    match allowed.is_empty() || allowed.contains(&found) {
        true => Ok(()),
        false => Err(VerdictError::NotPinned { what, field, found }),
    }
}

fn check_kind_and_request(
    expected: &Expectation<'_>,
    verdict: &Verdict,
) -> Result<(), VerdictError> {
    if verdict.kind != expected.kind {
        let (expected, found) = (expected.kind, verdict.kind);
        return Err(VerdictError::WrongKind { expected, found });
    }
    same(expected.request_digest, verdict.request_digest, |expected, found| {
        VerdictError::WrongRequest { expected, found }
    })?;
    match expected.nonce.is_none_or(|nonce| nonce == verdict.nonce) {
        true => Ok(()),
        false => Err(VerdictError::WrongNonce),
    }
}

fn check_artefacts(expected: &Expectation<'_>, verdict: &Verdict) -> Result<(), VerdictError> {
    same_set(expected.edit_digests, &verdict.edit_digests, |expected, found| {
        VerdictError::WrongEdit { expected, found }
    })?;
    same_set(expected.context_digests, &verdict.context_digests, |expected, found| {
        VerdictError::WrongContext { expected, found }
    })?;
    same(expected.base_model_digest, verdict.base_model_digest, |expected, found| {
        VerdictError::WrongBase { expected, found }
    })?;
    same(expected.tokenizer_digest, verdict.tokenizer_digest, |expected, found| {
        VerdictError::WrongTokenizer { expected, found }
    })?;
    same(expected.policy_digest, verdict.policy_digest, |expected, found| {
        VerdictError::WrongPolicy { expected, found }
    })
}

fn same(
    expected: Option<Digest>,
    found: Digest,
    refuse: impl FnOnce(Digest, Digest) -> VerdictError,
) -> Result<(), VerdictError> {
    match expected {
        Some(expected) if expected != found => Err(refuse(expected, found)),
        _ => Ok(()),
    }
}

fn same_set(
    expected: Option<&[Digest]>,
    found: &[Digest],
    refuse: impl FnOnce(Vec<Digest>, Vec<Digest>) -> VerdictError,
) -> Result<(), VerdictError> {
    let Some(expected) = expected else { return Ok(()) };
    let (expected, found) = (sorted(expected), sorted(found));
    match expected == found {
        true => Ok(()),
        false => Err(refuse(expected, found)),
    }
}

fn sorted(digests: &[Digest]) -> Vec<Digest> {
    let mut sorted = digests.to_vec();
    sorted.sort_unstable();
    sorted
}

/// The subject must be exactly the files at hand: none changed, none missing, none more.
fn check_subject(expected: &Expectation<'_>, subject: &[Subject]) -> Result<(), VerdictError> {
    let Some(files) = expected.adapter_files else { return Ok(()) };
    let mut here: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.sha256)).collect();
    let mut signed: Vec<_> =
        subject.iter().map(|one| (one.name.as_str(), one.digest.sha256)).collect();
    here.sort_unstable();
    signed.sort_unstable();
    if here == signed {
        return Ok(());
    }
    let odd_here = here.iter().find(|file| !signed.contains(file));
    let odd = odd_here.or_else(|| signed.iter().find(|file| !here.contains(file)));
    let name = odd.or(here.first()).map_or("", |(name, _)| name);
    Err(VerdictError::WrongSubject { name: crate::error::shortened(name) })
}

/// Auditors measure with their own τ and sign at their own time; what they allow must be one thing.
fn agree(one: &Verified<Verdict>, other: &Verified<Verdict>) -> Result<(), VerdictError> {
    let (a, b) = (&one.statement.predicate, &other.statement.predicate);
    let fields = [
        ("subject", one.statement.subject == other.statement.subject),
        ("kind", a.kind == b.kind),
        ("request_digest", a.request_digest == b.request_digest),
        ("nonce", a.nonce == b.nonce),
        ("edit_digests", a.edit_digests == b.edit_digests),
        ("context_digests", a.context_digests == b.context_digests),
        ("base_model_digest", a.base_model_digest == b.base_model_digest),
        ("tokenizer_digest", a.tokenizer_digest == b.tokenizer_digest),
        ("parent_adapter_digest", a.parent_adapter_digest == b.parent_adapter_digest),
        ("policy_digest", a.policy_digest == b.policy_digest),
        ("labels", a.labels == b.labels),
    ];
    match fields.into_iter().find(|(_, agrees)| !agrees) {
        Some((field, _)) => Err(VerdictError::QuorumDisagrees { field }),
        None => Ok(()),
    }
}

// The author of verdicts is fixed by the wire type; the quorum above is counted for that role.
const _: () = assert!(matches!(<Verdict as Predicate>::AUTHOR, Role::Auditor));
