//! The auditor's accept. A rejection is a ledger entry and never a signed statement.

use serde::{Deserialize, Serialize};

use crate::{Digest, Predicate, Role, UnixSeconds};

/// What an accepted candidate may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// Its edit may feed the policy update and a consolidation.
    Edit,
    /// Its adapter may serve.
    Promotion,
}

/// Predicate of a verdict; `subject` of the Statement lists every adapter file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Always `accept`.
    pub verdict: Accept,
    /// What it allows.
    pub kind: VerdictKind,
    /// SHA-256 of the audit request's signed payload.
    pub request_digest: Digest,
    /// The request's nonce.
    pub nonce: String,
    /// Strictly rising per auditor.
    pub sequence: u64,
    /// SHA-256 of the previous verdict's signed payload; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_verdict_digest: Option<Digest>,
    /// The edits behind the adapter, sorted.
    pub edit_digests: Vec<Digest>,
    /// The contexts it was measured on, sorted.
    pub context_digests: Vec<Digest>,
    /// Digest of the base model's files, as the auditor hashed them.
    pub base_model_digest: Digest,
    /// Digest of `tokenizer.json`.
    pub tokenizer_digest: Digest,
    /// The adapter training started from; absent: fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_adapter_digest: Option<Digest>,
    /// Digest of the gate's settings and rules, the written policy among them.
    pub policy_digest: Digest,
    /// Digest of the written policy's bundle, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_bundle_digest: Option<Digest>,
    /// Digest of the constitution that a judge held every edit against; absent: none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constitution_digest: Option<Digest>,
    /// HMAC-SHA256 of the τ items used, under a key that only the auditor holds.
    pub tau_commitment: Digest,
    /// Retention and safety suites used.
    pub suites: Vec<SuiteRef>,
    /// Which program decided.
    pub evaluator: Evaluator,
    /// Version of the trust root in force.
    pub trust_root_version: u64,
    /// Number of the attempt in the ledger.
    pub attempt: u64,
    /// Digest of the metrics, which stay with the auditor.
    pub metrics_annex_digest: Digest,
    /// What came of training the adapter again; absent: this auditor trains none again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recomputation: Option<Recomputation>,
    /// What the answers that showed the gain were held against; absent: gold answers.
    #[serde(default, skip_serializing_if = "Labels::is_gold")]
    pub labels: Labels,
    /// When it was signed.
    pub issued_at: UnixSeconds,
    /// From when on it is void.
    pub expires_at: UnixSeconds,
    /// How far the auditor process was confined when it decided.
    pub enforcement: Enforcement,
}

/// What came of training an adapter again from the base, edits, recipe and seed that it claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recomputation {
    /// The same bytes came of it.
    Equal,
    /// The student's arithmetic is another one; the factors lie within the auditor's tolerance.
    WithinTolerance,
    /// The auditor's draw did not fall on it. Nothing is known; no pass.
    NotDrawn,
    /// It is not what it claims, or cannot be compared. Never stands in a verdict.
    Refused,
}

/// What a model's answers to τ were held against. A value that is not here is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// Answers that the auditor's vault holds.
    #[default]
    Gold,
    /// What most models of the group answered themselves. Nobody knows whether it is true.
    Majority,
}

impl Labels {
    /// Whether they need no mark: left out of what is signed, so that its digests of before stay.
    pub fn is_gold(&self) -> bool {
        *self == Self::Gold
    }
}

/// The only verdict there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// Accepted.
    Accept,
}

/// A suite by name and commitment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteRef {
    /// Its name, e.g. `retention`.
    pub name: String,
    /// HMAC-SHA256 of its items under the auditor's commitment key.
    pub digest: Digest,
}

/// The auditing program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluator {
    /// Version of the crate.
    pub version: String,
    /// SHA-256 of the executable file.
    pub binary_digest: Digest,
}

/// Sandbox level that a process proved on itself, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnforcementLevel {
    /// No confinement.
    Off,
    /// Some of it, or not proven.
    Partial,
    /// Landlock and seccomp both enforced and proven on decoys.
    Full,
}

/// The achieved confinement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enforcement {
    /// Summary.
    pub level: EnforcementLevel,
    /// Landlock ABI of the kernel; 0: none.
    pub landlock_abi: u32,
    /// Whether the system call filter is in force.
    pub seccomp: bool,
}

impl Predicate for Verdict {
    const TYPE: &'static str = "https://seal.internal/verdict/v1";
    const AUTHOR: Role = Role::Auditor;

    fn sequence(&self) -> Option<u64> {
        Some(self.sequence)
    }
}
