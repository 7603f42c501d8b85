//! What the rows say, gathered once at the start and kept up with every commit.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use seal_protocol::{
    Attempt, AuditPurpose, Decision, Digest, LedgerEntry, LedgerEvent, UnixSeconds,
};

use crate::recompute::DIFFERS;

/// The ledger's rows, digested.
#[derive(Default)]
pub(super) struct Known {
    pub(super) leaves: Vec<Digest>,
    /// Seconds since 1970; 0 before the first row.
    pub(super) last_at: u64,
    pub(super) in_force: Option<LedgerEvent>,
    attempts: HashMap<Digest, BTreeMap<AttemptKind, BTreeSet<Digest>>>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AttemptKind {
    Edit,
    Promotion,
}

impl Known {
    pub(super) fn add(&mut self, leaf: Digest, entry: &LedgerEntry) {
        self.leaves.push(leaf);
        self.last_at = entry.at.0;
        match &entry.event {
            LedgerEvent::Genesis { .. } => self.in_force = Some(entry.event.clone()),
            LedgerEvent::Attempt(attempt) => self.add_attempt(attempt),
        }
    }

    fn add_attempt(&mut self, attempt: &Attempt) {
        if let Some(kind) = kind(attempt.purpose) {
            for context in &attempt.context_digests {
                let groups = self.attempts.entry(*context).or_default().entry(kind).or_default();
                groups.insert(attempt.request_digest);
            }
        }
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

    /// Groups that were judged on a context for this purpose.
    pub(super) fn attempts_on(&self, context: &Digest, purpose: AuditPurpose) -> u32 {
        let groups = kind(purpose).and_then(|kind| self.attempts.get(context)?.get(&kind));
        groups.map_or(0, |groups| groups.len() as u32)
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

/// Only attempts that can win something spend anything.
const fn kind(purpose: AuditPurpose) -> Option<AttemptKind> {
    match purpose {
        AuditPurpose::Edit => Some(AttemptKind::Edit),
        AuditPurpose::Promotion => Some(AttemptKind::Promotion),
        AuditPurpose::Evaluation => None,
    }
}
