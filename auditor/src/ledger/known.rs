//! What the rows say, gathered once at the start and kept up with every commit.

use std::collections::{BTreeSet, HashMap, HashSet};

use seal_protocol::{
    Attempt, AuditPurpose, Decision, Digest, LedgerEntry, LedgerEvent, UnixSeconds,
};

use super::asked::Asked;
use crate::recompute::DIFFERS;

/// The ledger's rows, digested.
#[derive(Default)]
pub(super) struct Known {
    pub(super) leaves: Vec<Digest>,
    /// Seconds since 1970; 0 before the first row.
    pub(super) last_at: u64,
    pub(super) in_force: Option<LedgerEvent>,
    /// What was asked of each τ.
    pub(super) asked: Asked,
    accepted_edits: HashSet<Digest>,
    /// The same by context.
    accepted_on: HashMap<Digest, BTreeSet<Digest>>,
    accepted_adapters: HashSet<Digest>,
    /// Adapters that were measured and asked for nothing.
    measured: HashMap<Digest, MeasuredAdapter>,
    forged: bool,
}

/// What an adapter was when it was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredAdapter {
    /// Contexts it claimed, sorted.
    pub context_digests: Vec<Digest>,
    /// Edits it had learned, sorted.
    pub edit_digests: Vec<Digest>,
}

impl Known {
    pub(super) fn add(&mut self, leaf: Digest, entry: &LedgerEntry) {
        self.leaves.push(leaf);
        self.last_at = entry.at.0;
        self.asked.add(&entry.event);
        match &entry.event {
            LedgerEvent::Genesis { .. } => self.in_force = Some(entry.event.clone()),
            LedgerEvent::Attempt(attempt) => self.add_attempt(attempt),
            LedgerEvent::Rotation(_) => {}
        }
    }

    fn add_attempt(&mut self, attempt: &Attempt) {
        if let (Decision::Measured, Some(adapter)) = (attempt.decision, attempt.adapter_digest) {
            let (contexts, edits) = (&attempt.context_digests, &attempt.edit_digests);
            let measured =
                MeasuredAdapter { context_digests: contexts.clone(), edit_digests: edits.clone() };
            self.measured.insert(adapter, measured);
        }
        self.forged |= attempt.reasons.iter().any(|reason| reason == DIFFERS);
        if attempt.decision == Decision::Accept {
            self.accepted_adapters.extend(attempt.adapter_digest);
            if attempt.purpose == AuditPurpose::Edit {
                self.accepted_edits.extend(&attempt.edit_digests);
                for context in &attempt.context_digests {
                    let edits = self.accepted_on.entry(*context).or_default();
                    edits.extend(&attempt.edit_digests);
                }
            }
        }
    }

    /// Whether some adapter was not made from what it claimed.
    pub(super) fn holds_a_forgery(&self) -> bool {
        self.forged
    }

    pub(super) fn measured(&self, adapter: &Digest) -> Option<&MeasuredAdapter> {
        self.measured.get(adapter)
    }

    pub(super) fn keeps(&self, adapter: &Digest) -> bool {
        self.accepted_adapters.contains(adapter)
    }

    pub(super) fn is_accepted(&self, edit: &Digest) -> bool {
        self.accepted_edits.contains(edit)
    }

    /// Edits on a context that may feed the policy.
    pub(super) fn accepted_on(&self, context: &Digest) -> impl Iterator<Item = &Digest> {
        self.accepted_on.get(context).into_iter().flatten()
    }

    /// The time for the next rows; `None` if the clock stands more than `skew_s` before the last.
    pub(super) fn time(&self, now: UnixSeconds, skew_s: u64) -> Option<UnixSeconds> {
        let at = now.0.max(self.last_at);
        (at - now.0 <= skew_s).then_some(UnixSeconds(at))
    }
}
