//! What each group was judged by: its level and whether the budget of a τ was spent, derived again from
//! the rows before it.

use std::path::Path;

use seal_protocol::{Attempt, Digest, LedgerEvent};
use seal_trust::RootChain;

use super::database::Database;
use super::rows::LedgerRows;
use super::{Annex, Finding, annex};
use crate::gate::Stage;
use crate::ledger::{ArtefactKind, Asked, file_of};
use crate::level::{BUDGET_SPENT, Level};

/// Compares every annex with what the rows before its group leave.
pub(super) fn verify(
    state: &Path,
    database: &Database,
    ledger: &LedgerRows,
    roots: &RootChain,
) -> Result<(), Finding> {
    let (mut asked, mut budget) = (Asked::default(), None);
    let mut judged: Option<Digest> = None;
    for (index, entry) in ledger.entries.iter().enumerate() {
        match &entry.event {
            LedgerEvent::Genesis { trust_root_digest, .. } => {
                let root = roots.by_digest(trust_root_digest);
                budget = root.map(|root| root.root().limits.tau_query_budget);
            }
            // The rows of a group come one after another and do not count for each other.
            LedgerEvent::Attempt(attempt) if judged != Some(attempt.request_digest) => {
                judged = Some(attempt.request_digest);
                let budget = budget.ok_or_else(|| {
                    Finding::new(database.row_name(index), "no trust root says its budget")
                })?;
                check(state, &asked, attempt, budget)?;
            }
            LedgerEvent::Attempt(_) | LedgerEvent::Rotation(_) => {}
        }
        asked.add(&entry.event);
    }
    Ok(())
}

fn check(state: &Path, asked: &Asked, attempt: &Attempt, budget: u64) -> Result<(), Finding> {
    let path = file_of(state, ArtefactKind::Annex, &attempt.metrics_annex_digest);
    let annex = annex(state, &attempt.metrics_annex_digest)?;
    let used = attempt
        .context_digests
        .iter()
        .map(|context| asked.used(context, attempt.tau.get(context).copied(), attempt.purpose));
    let level = Level::of(&annex.settings, used);
    let refuse = |what: &str| Err(Finding::new(&path, what));
    if !level.is_about(level.earlier, annex.alpha) {
        return refuse("its level is not what earlier attempts on its τ left");
    }
    for candidate in &annex.candidates {
        let told = candidate.facts.as_ref().map(|facts| &facts.attempts);
        if told.is_some_and(|told| !level.is_about(told.earlier, told.alpha)) {
            return refuse("written policy was told of other attempts than the ledger has");
        }
    }
    match annex_says_spent(&annex) == Some(level.is_spent(budget)) {
        true => Ok(()),
        false => refuse("whether the budget of its τ was spent is not what the ledger says"),
    }
}

/// Whether every candidate was refused for want of a budget, or none; `None`: some were.
fn annex_says_spent(annex: &Annex) -> Option<bool> {
    let mut said = annex.candidates.iter().map(|candidate| {
        let mut provenance =
            candidate.ruling.stages.iter().filter(|record| record.stage == Stage::Provenance);
        provenance.any(|record| record.reasons.iter().any(|reason| reason == BUDGET_SPENT))
    });
    let first = said.next()?;
    said.all(|said| said == first).then_some(first)
}
