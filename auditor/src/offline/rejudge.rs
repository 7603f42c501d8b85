//! What another written policy would have decided, from the measurements that were kept.
//!
//! **Invariant:** nothing is signed or changed; what was decided stays decided.

use std::path::Path;

use seal_protocol::{Attempt, AuditPurpose, Decision, Digest, LedgerEvent};
use serde::Serialize;

use super::{Finding, annex, ledger};
use crate::policy::Policy;

/// One decision that would be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// Ledger row.
    pub row: u64,
    /// Stage of the run.
    pub stage: String,
    /// What was asked.
    pub purpose: AuditPurpose,
    /// The edits behind the candidate.
    pub edit_digests: Vec<Digest>,
    /// As recorded.
    pub was: Decision,
    /// Under the other policy.
    pub would_be: Decision,
    /// What spoke against it then.
    pub reasons_were: Vec<String>,
    /// What would speak against it.
    pub reasons_would_be: Vec<String>,
}

/// The whole ledger under another policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rejudged {
    /// The policy it was judged under; absent: none.
    pub policy: Option<Digest>,
    /// Attempts judged again.
    pub attempts: u64,
    /// Attempts that asked for nothing and so cannot change.
    pub evaluations: u64,
    /// In the ledger's order.
    pub changed: Vec<Changed>,
}

/// Judges every attempt of a ledger under `policy`, or under none.
///
/// # Errors
/// A state that does not read.
pub fn rejudge(state: &Path, policy: Option<&Policy>) -> Result<Rejudged, Finding> {
    let mut rejudged = Rejudged {
        policy: policy.map(Policy::digest),
        attempts: 0,
        evaluations: 0,
        changed: Vec::new(),
    };
    for group in groups(state)? {
        let Some((_, first)) = group.first() else { continue };
        let count = group.len() as u64;
        if first.purpose == AuditPurpose::Evaluation {
            rejudged.evaluations += count;
            continue;
        }
        rejudged.attempts += count;
        let rulings = annex(state, &first.metrics_annex_digest)?.ruled_under(policy);
        for ((row, attempt), ruling) in group.iter().zip(rulings) {
            if attempt.decision != ruling.decision {
                rejudged.changed.push(Changed {
                    row: *row,
                    stage: attempt.stage.clone(),
                    purpose: attempt.purpose,
                    edit_digests: attempt.edit_digests.clone(),
                    was: attempt.decision,
                    would_be: ruling.decision,
                    reasons_were: attempt.reasons.clone(),
                    reasons_would_be: ruling.reasons,
                });
            }
        }
    }
    Ok(rejudged)
}

/// Attempts with their rows; those of one request lie together.
fn groups(state: &Path) -> Result<Vec<Vec<(u64, Attempt)>>, Finding> {
    let mut groups: Vec<Vec<(u64, Attempt)>> = Vec::new();
    for entry in ledger(state)? {
        let LedgerEvent::Attempt(attempt) = entry.event else { continue };
        let same = |group: &&mut Vec<(u64, Attempt)>| {
            group.first().is_some_and(|(_, first)| first.request_digest == attempt.request_digest)
        };
        match groups.last_mut().filter(same) {
            Some(group) => group.push((entry.index, attempt)),
            None => groups.push(vec![(entry.index, attempt)]),
        }
    }
    Ok(groups)
}
