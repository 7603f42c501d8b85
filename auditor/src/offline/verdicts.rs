//! Verdicts: signature, order, and the row that each one answers for.

use std::path::Path;

use seal_protocol::{
    ADAPTER_MODEL_FILE, Attempt, Decision, Digest, LedgerEntry, LedgerEvent, Statement,
    UnixSeconds, Verdict,
};
use seal_trust::{RootChain, sha256};

use super::database::{Database, StoredVerdict};
use super::rows::LedgerRows;
use super::{Finding, annex, envelope, read};
use crate::ledger::{ArtefactKind, file_of};

pub(super) fn verify(
    state: &Path,
    database: &Database,
    ledger: &LedgerRows,
    roots: &RootChain,
    now: UnixSeconds,
) -> Result<(), Finding> {
    let mut previous = None;
    for (place, stored) in database.verdicts.iter().enumerate() {
        let path = file_of(state, ArtefactKind::Verdict, &stored.payload_digest);
        let bytes = read(&path)?;
        let verified = roots.verify_record::<Verdict>(&envelope(&path, &bytes)?, now);
        let verified = verified.map_err(|error| Finding::new(&path, error))?;
        if bytes != stored.envelope {
            return Err(Finding::new(
                &database.path,
                format!("its copy of `{}` was changed", path.display()),
            ));
        }
        if verified.payload_digest != stored.payload_digest {
            return Err(Finding::new(path, "its content is not what its name says"));
        }
        check_order(place, stored, &verified.statement.predicate, previous)
            .map_err(|what| Finding::new(&path, what))?;
        check_row(ledger, &verified.statement, sha256(&bytes))
            .map_err(|what| Finding::new(&path, what))?;
        check_annex(state, &verified.statement.predicate)
            .map_err(|what| Finding::new(&path, what))?;
        previous = Some(stored.payload_digest);
    }
    refuse_rows_without_verdict(database, ledger)
}

fn check_order(
    place: usize,
    stored: &StoredVerdict,
    verdict: &Verdict,
    previous: Option<Digest>,
) -> Result<(), &'static str> {
    if verdict.sequence != stored.sequence || verdict.sequence != place as u64 + 1 {
        return Err("its sequence number is not its place");
    }
    if verdict.prev_verdict_digest != previous {
        return Err("it does not follow the verdict before it");
    }
    if verdict.issued_at.0 != stored.issued_at {
        return Err("the ledger recorded another time of signing");
    }
    Ok(())
}

fn check_row(
    ledger: &LedgerRows,
    statement: &Statement<Verdict>,
    envelope_digest: Digest,
) -> Result<(), String> {
    let verdict = &statement.predicate;
    let place = usize::try_from(verdict.attempt).unwrap_or(usize::MAX);
    let Some(LedgerEvent::Attempt(attempt)) = ledger.entries.get(place).map(|entry| &entry.event)
    else {
        return Err(format!("ledger row {} is no attempt", verdict.attempt));
    };
    check_attempt(statement, attempt, in_force(ledger, place), envelope_digest)
        .map_err(|field| format!("ledger row {place} names another {field}"))
}

/// What a verdict says of its measurement is what the annex has.
fn check_annex(state: &Path, verdict: &Verdict) -> Result<(), String> {
    let annex = annex(state, &verdict.metrics_annex_digest).map_err(|error| error.to_string())?;
    match annex.constitution_digest == verdict.constitution_digest {
        true => Ok(()),
        false => Err("it names another constitution than its annex".to_owned()),
    }
}

/// A verdict says what its row says; else the field in which they differ.
pub(super) fn check_attempt(
    statement: &Statement<Verdict>,
    attempt: &Attempt,
    in_force: Option<(Digest, Digest, Option<Digest>)>,
    envelope_digest: Digest,
) -> Result<(), &'static str> {
    let verdict = &statement.predicate;
    let adapter = statement.subject.iter().find(|file| file.name == ADAPTER_MODEL_FILE);
    let fields = [
        ("decision", attempt.decision == Decision::Accept),
        ("verdict", attempt.verdict_envelope_digest == Some(envelope_digest)),
        ("request", attempt.request_digest == verdict.request_digest),
        ("edits", attempt.edit_digests == verdict.edit_digests),
        ("contexts", attempt.context_digests == verdict.context_digests),
        ("recomputation", attempt.recomputation == verdict.recomputation),
        ("labels", attempt.labels == verdict.labels),
        ("annex", attempt.metrics_annex_digest == verdict.metrics_annex_digest),
        ("adapter", attempt.adapter_digest == adapter.map(|file| file.digest.sha256)),
        (
            "base model and policy",
            in_force
                == Some((
                    verdict.base_model_digest,
                    verdict.policy_digest,
                    verdict.policy_bundle_digest,
                )),
        ),
    ];
    match fields.into_iter().find(|(_, agrees)| !agrees) {
        Some((field, _)) => Err(field),
        None => Ok(()),
    }
}

/// Base model, policy and written policy that the ledger said were in force at a row.
pub(super) fn in_force(
    ledger: &LedgerRows,
    place: usize,
) -> Option<(Digest, Digest, Option<Digest>)> {
    in_force_of(&ledger.entries[..place])
}

/// The same after the last of some rows.
pub(super) fn in_force_of(rows: &[LedgerEntry]) -> Option<(Digest, Digest, Option<Digest>)> {
    rows.iter().rev().find_map(|entry| match entry.event {
        LedgerEvent::Genesis { base_model_digest, policy_digest, policy_bundle_digest, .. } => {
            Some((base_model_digest, policy_digest, policy_bundle_digest))
        }
        LedgerEvent::Attempt(_) | LedgerEvent::Rotation(_) => None,
    })
}

fn refuse_rows_without_verdict(database: &Database, ledger: &LedgerRows) -> Result<(), Finding> {
    let accepted = |attempt: &Attempt| attempt.decision == Decision::Accept;
    let rows = ledger
        .entries
        .iter()
        .filter(|entry| matches!(&entry.event, LedgerEvent::Attempt(attempt) if accepted(attempt)));
    match rows.count() == database.verdicts.len() {
        true => Ok(()),
        false => Err(Finding::new(&database.path, "not every accepted row has its verdict")),
    }
}
