//! What follows from verdicts: policy updates, promotions, rollbacks.

use serde::{Deserialize, Serialize};

use crate::{Digest, Predicate, Role, UnixSeconds};

/// The M-step's receipt: a new policy and the verdicts it was trained on. Subject: the policy's weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyUpdate {
    /// Stage of the run, e.g. `round-1`.
    pub stage: String,
    /// The policy training started from.
    pub parent_policy_digest: Digest,
    /// The policy that came out.
    pub policy_digest: Digest,
    /// SHA-256 of the signed payload of every verdict used, in the order of `edit_digests`; several for
    /// one edit where the trust root demands several auditors.
    pub verdict_digests: Vec<Digest>,
    /// The edits those verdicts allow, sorted: the order of the rows that were trained on.
    pub edit_digests: Vec<Digest>,
    /// Digest of the resolved training recipe.
    pub recipe_digest: Digest,
    /// Seed of the order of rows.
    pub seed: u64,
}

/// A change of what serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServingChange {
    /// Number of the change in this student's history, from 1.
    pub number: u64,
    /// SHA-256 of the previous change's signed payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_change_digest: Option<Digest>,
    /// What was done.
    pub action: ServingAction,
    /// When.
    pub at: UnixSeconds,
}

/// How the served version changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ServingAction {
    /// A new version serves.
    Promote {
        /// Its name, `v1`, `v2`, ….
        version: String,
        /// SHA-256 of its tensors.
        adapter_digest: Digest,
        /// SHA-256 of the verdict's signed payload.
        verdict_digest: Digest,
    },
    /// An earlier version serves again.
    RollBack {
        /// `base`, or the name of an earlier version.
        version: String,
        /// Its tensors; absent for `base`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adapter_digest: Option<Digest>,
        /// Why, in the operator's words.
        reason: String,
    },
}

impl Predicate for PolicyUpdate {
    const TYPE: &'static str = "https://seal.internal/policy-update/v1";
    const AUTHOR: Role = Role::Teacher;
}

impl Predicate for ServingChange {
    const TYPE: &'static str = "https://seal.internal/serving-change/v1";
    const AUTHOR: Role = Role::Student;
}
