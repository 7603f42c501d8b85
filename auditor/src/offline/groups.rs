//! Groups: the rows of a request, its annex judged again, its stored reply.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seal_protocol::{Attempt, AuditPurpose, AuditRequest, Audited, Candidate, Digest, LedgerEvent};
use seal_trust::canonical_json;

use super::database::{Database, StoredReply};
use super::policies::Policies;
use super::rows::LedgerRows;
use super::verdicts::in_force;
use super::{Annex, Finding, annex, judgements, said};
use crate::ledger::{ArtefactKind, file_of};

/// An edit that did not verify was not kept.
const EDIT_NOT_KEPT: &str = "provenance.edit-unverified";

pub(super) fn verify(
    state: &Path,
    database: &Database,
    ledger: &LedgerRows,
) -> Result<(), Finding> {
    let (groups, policies) = (by_request(ledger), Policies::read(state, database)?);
    for (request_digest, attempts) in &groups {
        let request = request(state, database, request_digest)?;
        check_request(database, &request, attempts)?;
        let annex = check_annex(state, database, request_digest, attempts)?;
        let path = file_of(state, ArtefactKind::Annex, &attempts[0].1.metrics_annex_digest);
        check_policy(&path, &annex, ledger, attempts[0].0)?;
        check_rulings(&path, &annex, &policies)?;
        judgements::check(state, database, &path, &annex)?;
        attempts.iter().try_for_each(|(index, attempt)| check_edits(database, *index, attempt))?;
    }
    if groups.len() != database.inbox.len() {
        return Err(Finding::new(&database.path, "not every request has its stored reply"));
    }
    database.inbox.iter().try_for_each(|reply| check_reply(state, database, reply))
}

type Attempts<'a> = Vec<(usize, &'a Attempt)>;

fn by_request(ledger: &LedgerRows) -> BTreeMap<Digest, Attempts<'_>> {
    let mut groups: BTreeMap<Digest, Attempts<'_>> = BTreeMap::new();
    for (index, entry) in ledger.entries.iter().enumerate() {
        if let LedgerEvent::Attempt(attempt) = &entry.event {
            groups.entry(attempt.request_digest).or_default().push((index, attempt));
        }
    }
    groups
}

/// The request as it was verified among the artefacts.
fn request(state: &Path, database: &Database, digest: &Digest) -> Result<AuditRequest, Finding> {
    let path = file_of(state, ArtefactKind::Request, digest);
    said(&path, database.kept(state, ArtefactKind::Request, digest)?)
}

fn check_request(
    database: &Database,
    request: &AuditRequest,
    attempts: &Attempts<'_>,
) -> Result<(), Finding> {
    let (first, _) = attempts[0];
    if request.candidates.len() != attempts.len() {
        return Err(Finding::new(
            database.row_name(first),
            "its request has another number of candidates",
        ));
    }
    for ((index, attempt), candidate) in attempts.iter().zip(&request.candidates) {
        let same_request = attempt.purpose == request.purpose && attempt.stage == request.stage;
        if !same_request || !is_about(attempt, candidate) {
            return Err(Finding::new(database.row_name(*index), "its request says something else"));
        }
    }
    Ok(())
}

fn is_about(attempt: &Attempt, candidate: &Candidate) -> bool {
    attempt.context_digests == candidate.context_digests
        && attempt.edit_digests == candidate.edit_digests
        && attempt.adapter_digest == candidate.adapter_digest()
}

fn check_annex(
    state: &Path,
    database: &Database,
    request: &Digest,
    attempts: &Attempts<'_>,
) -> Result<Annex, Finding> {
    let digest = attempts[0].1.metrics_annex_digest;
    let path = file_of(state, ArtefactKind::Annex, &digest);
    let annex = annex(state, &digest)?;
    if annex.request_digest != *request || annex.candidates.len() != attempts.len() {
        return Err(Finding::new(path, "it is about another request"));
    }
    for ((index, attempt), candidate) in attempts.iter().zip(&annex.candidates) {
        let (ruling, same_annex) = (&candidate.ruling, attempt.metrics_annex_digest == digest);
        let again = candidate.recomputation.as_ref().map(|recomputed| recomputed.outcome);
        let same_ruling = ruling.decision == attempt.decision && ruling.reasons == attempt.reasons;
        let same_labels = attempt.labels == annex.labels();
        if !same_annex || !same_ruling || !same_labels || again != attempt.recomputation {
            return Err(Finding::new(database.row_name(*index), "its annex says something else"));
        }
    }
    Ok(annex)
}

/// The written policy that was asked is the one that was in force.
fn check_policy(
    path: &Path,
    annex: &Annex,
    ledger: &LedgerRows,
    place: usize,
) -> Result<(), Finding> {
    let (_, _, bundle) = in_force(ledger, place)
        .ok_or_else(|| Finding::new(path, "no row says what was in force"))?;
    let asked = bundle.filter(|_| annex.purpose != AuditPurpose::Evaluation);
    match annex.policy_bundle_digest == asked {
        true => Ok(()),
        false => Err(Finding::new(path, "another written policy was in force")),
    }
}

/// The decisions follow from the measurements and the written policy.
fn check_rulings(path: &Path, annex: &Annex, policies: &Policies) -> Result<(), Finding> {
    let policy = policies.get(annex.policy_bundle_digest);
    if !annex.ran_by_rule() {
        return Err(Finding::new(path, "other edits ran again than its settings name"));
    }
    let again = annex.ruled_again(policy).map_err(|error| Finding::new(path, error))?;
    let recorded = annex.candidates.iter().map(|candidate| &candidate.ruling);
    match recorded.eq(again.iter()) {
        true => Ok(()),
        false => Err(Finding::new(path, "its decisions do not follow from its measurements")),
    }
}

fn check_edits(database: &Database, index: usize, attempt: &Attempt) -> Result<(), Finding> {
    if attempt.reasons.iter().any(|reason| reason == EDIT_NOT_KEPT) {
        return Ok(());
    }
    let missing = |edit: &&Digest| database.artefact(ArtefactKind::Edit, edit).is_none();
    match attempt.edit_digests.iter().find(missing) {
        Some(edit) => {
            Err(Finding::new(database.row_name(index), format!("its edit {edit} is not there")))
        }
        None => Ok(()),
    }
}

fn check_reply(state: &Path, database: &Database, stored: &StoredReply) -> Result<(), Finding> {
    let at =
        PathBuf::from(format!("{} reply to {}", database.path.display(), stored.request_digest));
    let refuse = |what: &str| Finding::new(&at, what);
    let reply: Audited =
        serde_json::from_slice(&stored.reply).map_err(|_| refuse("it does not parse"))?;
    let request = request(state, database, &stored.request_digest)?;
    let verdict = reply.verdict.as_ref().map(seal_trust::envelope_to_bytes);
    let known_verdict = verdict
        .is_none_or(|bytes| database.verdicts.iter().any(|verdict| verdict.envelope == bytes));
    let known_checkpoint = database.checkpoints.iter().any(|(_, note)| *note == reply.checkpoint);
    let canonical = canonical_json(&reply).is_ok_and(|bytes| bytes == stored.reply);
    let fits = reply.request_digest == stored.request_digest && request.nonce == stored.nonce;
    match known_verdict && known_checkpoint && canonical && fits {
        true => Ok(()),
        false => Err(refuse("it is not what the ledger says")),
    }
}
