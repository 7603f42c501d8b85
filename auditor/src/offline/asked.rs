//! How often each τ was asked, for the operator who has to know when new questions are due.

use std::collections::BTreeSet;
use std::path::Path;

use seal_protocol::{AuditPurpose, Digest, LedgerEvent};
use serde::Serialize;

use super::{Finding, ledger};
use crate::ledger::Asked;

/// One τ of one context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TauUse {
    /// SHA-256 of the context's text.
    pub context_digest: Digest,
    /// Commitment to the τ; absent where only rows of before, which name none, are about the context.
    pub tau: Option<Digest>,
    /// Its number among those of its context, from 0.
    pub number: u32,
    /// Whether the last row about the context names it.
    pub in_force: bool,
    /// Groups that wanted an edit accepted.
    pub edits: u32,
    /// Groups that wanted to serve.
    pub promotions: u32,
}

/// Every τ that some row names, by context, oldest first. Unverified, for showing.
///
/// # Errors
/// A database that is missing or damaged, a row that does not parse.
pub fn tau_use(state: &Path) -> Result<Vec<TauUse>, Finding> {
    let (mut asked, mut contexts) = (Asked::default(), BTreeSet::new());
    for entry in ledger(state)? {
        match &entry.event {
            LedgerEvent::Genesis { .. } => {}
            LedgerEvent::Attempt(attempt) => contexts.extend(&attempt.context_digests),
            LedgerEvent::Rotation(rotation) => {
                contexts.insert(rotation.context_digest);
            }
        }
        asked.add(&entry.event);
    }
    let of_tau = |context: Digest, tau: Option<Digest>| {
        let used = |purpose| asked.used(&context, tau, purpose);
        TauUse {
            context_digest: context,
            tau,
            number: used(AuditPurpose::Edit).rank,
            in_force: tau == asked.in_force(&context),
            edits: used(AuditPurpose::Edit).earlier,
            promotions: used(AuditPurpose::Promotion).earlier,
        }
    };
    let mut all = Vec::new();
    for context in contexts {
        match asked.named(&context) {
            [] => all.push(of_tau(context, None)),
            named => all.extend(named.iter().map(|tau| of_tau(context, Some(*tau)))),
        }
    }
    Ok(all)
}
