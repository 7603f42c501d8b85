//! What rows say of τ: which one is in force for a context, and what was asked of each.
//!
//! Pure, and derived from rows alone: the auditor decides by it, and offline it is derived again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use seal_protocol::{Attempt, AuditPurpose, Digest, LedgerEvent, Rotation};

/// τ by context.
#[derive(Default)]
pub(crate) struct Asked {
    contexts: HashMap<Digest, Context>,
}

#[derive(Default)]
struct Context {
    /// In the order in which rows first named them; a τ keeps its number when it comes back.
    named: Vec<Digest>,
    in_force: Option<Digest>,
    /// Requests that could win something, by the τ that their rows name.
    requests: BTreeMap<(Kind, Option<Digest>), BTreeSet<Digest>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Edit,
    Promotion,
}

/// What is used up when a group comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Number of the τ among those of its context, from 0.
    pub rank: u32,
    /// Groups that were judged under it for this purpose.
    pub earlier: u32,
}

impl Asked {
    /// What does not fit in a row that is to follow.
    pub(crate) fn check(&self, event: &LedgerEvent) -> Result<(), &'static str> {
        match event {
            LedgerEvent::Genesis { .. } => Ok(()),
            LedgerEvent::Attempt(attempt) => self.check_attempt(attempt),
            LedgerEvent::Rotation(Rotation { context_digest, before, after }) => {
                let in_force = self.in_force(context_digest);
                match in_force.is_none_or(|known| known == *before) && before != after {
                    true => Ok(()),
                    false => Err("it does not rotate the τ that was in force"),
                }
            }
        }
    }

    fn check_attempt(&self, attempt: &Attempt) -> Result<(), &'static str> {
        let changed = |(context, tau): (&Digest, &Digest)| {
            self.in_force(context).is_some_and(|known| known != *tau)
        };
        if attempt.tau.iter().any(changed) {
            return Err("it names another τ than the one in force, and no row rotated it");
        }
        match attempt.tau.keys().all(|context| attempt.context_digests.contains(context)) {
            true => Ok(()),
            false => Err("it names the τ of a context that it does not claim"),
        }
    }

    /// Takes a row in.
    pub(crate) fn add(&mut self, event: &LedgerEvent) {
        match event {
            LedgerEvent::Genesis { .. } => {}
            LedgerEvent::Attempt(attempt) => self.add_attempt(attempt),
            LedgerEvent::Rotation(Rotation { context_digest, before, after }) => {
                let context = self.contexts.entry(*context_digest).or_default();
                context.put_in_force(*before);
                context.put_in_force(*after);
            }
        }
    }

    fn add_attempt(&mut self, attempt: &Attempt) {
        for digest in &attempt.context_digests {
            let tau = attempt.tau.get(digest).copied();
            let context = self.contexts.entry(*digest).or_default();
            if let Some(tau) = tau {
                context.put_in_force(tau);
            }
            if let Some(kind) = kind(attempt.purpose) {
                context.requests.entry((kind, tau)).or_default().insert(attempt.request_digest);
            }
        }
    }

    /// The τ of a context that the last row about it names.
    pub(crate) fn in_force(&self, context: &Digest) -> Option<Digest> {
        self.contexts.get(context)?.in_force
    }

    /// Every τ of a context that some row names, oldest first.
    pub(crate) fn named(&self, context: &Digest) -> &[Digest] {
        self.contexts.get(context).map_or(&[], |context| &context.named)
    }

    /// What is used up of `tau` on a context for a purpose. Rows that name no τ count against every
    /// one: nobody can tell any more what they were asked.
    pub(crate) fn used(
        &self,
        context: &Digest,
        tau: Option<Digest>,
        purpose: AuditPurpose,
    ) -> Used {
        let Some(context) = self.contexts.get(context) else { return Used { rank: 0, earlier: 0 } };
        let known = context.named.iter().position(|named| Some(*named) == tau);
        let rank = match tau {
            None => 0,
            Some(_) => known.unwrap_or(context.named.len()) as u32,
        };
        let of = |kind, tau| context.requests.get(&(kind, tau)).map_or(0, BTreeSet::len) as u32;
        let earlier = kind(purpose)
            .map_or(0, |kind| of(kind, None) + tau.map_or(0, |tau| of(kind, Some(tau))));
        Used { rank, earlier }
    }
}

impl Context {
    fn put_in_force(&mut self, tau: Digest) {
        if !self.named.contains(&tau) {
            self.named.push(tau);
        }
        self.in_force = Some(tau);
    }
}

/// Only attempts that can win something spend anything.
const fn kind(purpose: AuditPurpose) -> Option<Kind> {
    match purpose {
        AuditPurpose::Edit => Some(Kind::Edit),
        AuditPurpose::Promotion => Some(Kind::Promotion),
        AuditPurpose::Evaluation => None,
    }
}
