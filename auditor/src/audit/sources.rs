//! How much of one source may be learned: many small poisons of one hand look harmless one by one.
//!
//! What counts is the number per source, not its share: about 250 documents were enough for models of
//! any size (arXiv 2510.07192).

use std::collections::{BTreeMap, BTreeSet};

use seal_protocol::{AuditPurpose, Candidate, Digest};

use super::intake::Intake;
use crate::ledger::Ledger;
use crate::vault::Vault;

/// Whether a candidate takes more edits from one source than `quota`: by itself where it wants to serve,
/// together with all that were accepted before where it wants to feed the policy.
pub(super) fn over_quota(
    quota: u32,
    vault: &Vault,
    ledger: &Ledger,
    intake: &Intake,
    candidate: &Candidate,
) -> bool {
    let mut by_source: BTreeMap<&str, BTreeSet<Digest>> = BTreeMap::new();
    for digest in &candidate.edit_digests {
        let edit = intake.edits.get(digest);
        if let Some(source) = edit.and_then(|verified| vault.source(&verified.edit.context_digest))
        {
            by_source.entry(source).or_default().insert(*digest);
        }
    }
    match intake.request.purpose {
        AuditPurpose::Evaluation => return false,
        AuditPurpose::Promotion => {}
        AuditPurpose::Edit => {
            for (source, edits) in &mut by_source {
                vault
                    .contexts_of(source)
                    .for_each(|context| edits.extend(ledger.accepted_on(context)));
            }
        }
    }
    by_source.values().any(|edits| edits.len() > quota as usize)
}
