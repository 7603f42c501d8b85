//! Reads a run folder as its operator may: ledger, annexes, verdicts, serving history.
//!
//! Nothing is recomputed by a model here. What the launcher shows is what the auditor recorded.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use seal_auditor::annex::Annex;
use seal_auditor::offline;
use seal_protocol::{
    Attempt, Digest, Envelope, LedgerEvent, Predicate, Role, SelfEdit, Served, ServingAction,
    ServingChange, Statement, VerdictKind,
};
use serde::de::DeserializeOwned;

use crate::run_dir::RunDir;

mod policies;
mod verification;

pub(crate) use verification::{trust_roots, verify_all, verify_version};

/// Every audited candidate, in the ledger's order.
pub(crate) fn attempts(run: &RunDir) -> Result<Vec<Attempt>> {
    let state = run.state_here(Role::Auditor)?;
    if !state.join("ledger.sqlite").exists() {
        return Ok(Vec::new());
    }
    let entries = offline::ledger(&state)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| match entry.event {
            LedgerEvent::Attempt(attempt) => Some(attempt),
            LedgerEvent::Genesis { .. } | LedgerEvent::Rotation(_) => None,
        })
        .collect())
}

/// The annexes of a run, each once, in the ledger's order.
pub(crate) fn annexes(run: &RunDir) -> Result<Vec<Annex>> {
    let mut digests: Vec<Digest> = Vec::new();
    for attempt in attempts(run)? {
        if !digests.contains(&attempt.metrics_annex_digest) {
            digests.push(attempt.metrics_annex_digest);
        }
    }
    digests.iter().map(|digest| annex(run, digest)).collect()
}

pub(crate) fn annex(run: &RunDir, digest: &Digest) -> Result<Annex> {
    Ok(offline::annex(&run.state_here(Role::Auditor)?, digest)?)
}

/// An edit as the auditor kept it.
pub(crate) fn edit(run: &RunDir, digest: &Digest) -> Result<SelfEdit> {
    let file = run.state_here(Role::Auditor)?.join(format!("edits/{digest}.json"));
    Ok(message::<SelfEdit>(&file)?.predicate)
}

/// A signed message from a file, unverified: for showing, not for acting.
fn message<P: Predicate>(file: &std::path::Path) -> Result<Statement<P>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let envelope: Envelope = serde_json::from_slice(&bytes)
        .with_context(|| format!("`{}` is no signed message", file.display()))?;
    content(&envelope)
}

fn content<T: DeserializeOwned>(envelope: &Envelope) -> Result<T> {
    let payload = seal_trust::payload_bytes(envelope)?;
    serde_json::from_slice(&payload).context("a signed message has an unknown shape")
}

/// The verdicts that let a version serve which never served before: `vN` is the N-th promotion. Where
/// the auditor's files are elsewhere: those that the conductor carried.
pub(crate) fn promotion_verdicts(run: &RunDir, version: &str) -> Result<Vec<Envelope>> {
    let number: usize = version
        .strip_prefix('v')
        .and_then(|number| number.parse().ok())
        .filter(|number| *number > 0)
        .with_context(|| format!("`{version}` is no version; `seal status` lists them"))?;
    let none = || format!("no verdict allows `{version}` to serve; `seal status` lists versions");
    if run.host_elsewhere(Role::Auditor)?.is_some() {
        return run.outcome()?.promotion_verdicts.into_iter().nth(number - 1).with_context(none);
    }
    offline::verdicts(&run.role_state(Role::Auditor))?
        .into_iter()
        .filter(|(_, verdict)| verdict.kind == VerdictKind::Promotion)
        .nth(number - 1)
        .map(|(envelope, _)| vec![envelope])
        .with_context(none)
}

/// What serves, from the student's signed history on disk.
pub(crate) fn served(run: &RunDir) -> Result<Served> {
    let folder = run.state_here(Role::Student)?.join("serving");
    let mut history: Vec<(u64, Envelope)> = Vec::new();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let bytes = std::fs::read(entry.path())?;
        let envelope: Envelope = serde_json::from_slice(&bytes)
            .with_context(|| format!("`{}` is no signed message", entry.path().display()))?;
        let change = content::<Statement<ServingChange>>(&envelope)?.predicate;
        history.push((change.number, envelope));
    }
    history.sort_by_key(|(number, _)| *number);
    let history: Vec<Envelope> = history.into_iter().map(|(_, envelope)| envelope).collect();
    let mut served = Served { active: "base".into(), versions: BTreeMap::new(), history };
    for change in serving_changes(&served.history)? {
        match change.action {
            ServingAction::Promote { version, adapter_digest, .. } => {
                served.versions.insert(version.clone(), adapter_digest);
                served.active = version;
            }
            ServingAction::RollBack { version, .. } => served.active = version,
        }
    }
    Ok(served)
}

/// The content of a serving history.
pub(crate) fn serving_changes(history: &[Envelope]) -> Result<Vec<ServingChange>> {
    history
        .iter()
        .map(|envelope| Ok(content::<Statement<ServingChange>>(envelope)?.predicate))
        .collect()
}

/// Refuses a name that is neither `base` nor a version of this run.
pub(crate) fn known_version(run: &RunDir, version: &str) -> Result<Digest> {
    match served(run)?.versions.get(version) {
        Some(digest) => Ok(*digest),
        None => bail!("`{version}` never served in this run; `seal status` lists versions"),
    }
}
