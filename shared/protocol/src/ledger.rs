//! What the auditor's ledger says, row by row. Public to the operator; holds digests, no texts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, UnixSeconds};

/// One row: canonical JSON of this is a leaf of the RFC 6962 tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// Row number from 0.
    pub index: u64,
    /// When it was written.
    pub at: UnixSeconds,
    /// What happened.
    pub event: LedgerEvent,
}

/// The kinds of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LedgerEvent {
    /// First row, and again at each change: what is in force.
    Genesis {
        /// SHA-256 of the trust root's envelope file.
        trust_root_digest: Digest,
        /// Its version.
        trust_root_version: u64,
        /// Base model the auditor pins.
        base_model_digest: Digest,
        /// Gate settings and rules in force.
        policy_digest: Digest,
        /// Written policy in force, kept beside the ledger under this name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy_bundle_digest: Option<Digest>,
    },
    /// One candidate was looked at.
    Attempt(Attempt),
    /// Other questions took the place of a context's τ.
    Rotation(Rotation),
}

/// From the next attempt on a context is asked other questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Whose questions.
    pub context_digest: Digest,
    /// Commitment to the τ that is asked no more.
    pub before: Digest,
    /// Commitment to the τ in its place. One that was in force earlier comes back with all that it
    /// was asked.
    pub after: Digest,
}

/// One candidate, whatever came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// SHA-256 of the request's signed payload.
    pub request_digest: Digest,
    /// What was asked.
    pub purpose: crate::AuditPurpose,
    /// Stage of the run.
    pub stage: String,
    /// Contexts claimed.
    pub context_digests: Vec<Digest>,
    /// By context, the commitment to the τ that was in force: what the attempt counts against. A
    /// context without τ is not here. Rows from before τ was named have none, and count against every
    /// τ of their contexts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tau: BTreeMap<Digest, Digest>,
    /// Edits behind it.
    pub edit_digests: Vec<Digest>,
    /// The tensors that were measured, if bytes came at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_digest: Option<Digest>,
    /// What was decided.
    pub decision: Decision,
    /// Rules that spoke against it, by name; empty when accepted or only measured.
    pub reasons: Vec<String>,
    /// Digest of the metrics annex.
    pub metrics_annex_digest: Digest,
    /// What came of training the adapter again; absent: it was not asked for, or never came so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recomputation: Option<crate::Recomputation>,
    /// What its answers to τ were held against; absent: gold answers.
    #[serde(default, skip_serializing_if = "crate::Labels::is_gold")]
    pub labels: crate::Labels,
    /// SHA-256 of the verdict's envelope file, when accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict_envelope_digest: Option<Digest>,
}

/// Outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// A verdict was signed.
    Accept,
    /// Some rule spoke against it.
    Reject,
    /// Nothing against it, but another candidate of its group was better.
    NotSelected,
    /// Measured on request, without a decision.
    Measured,
}
