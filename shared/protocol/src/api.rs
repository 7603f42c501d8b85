//! Paths and bodies of the three daemons' HTTP interfaces.
//!
//! Work is a job: `POST` answers 202 with the job's id, which is the digest of the request's bytes,
//! so that a repeated request is the same job; `GET /v1/jobs/{id}` tells progress and result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{AuditPurpose, Digest, Enforcement, Envelope, Micro, Role};

/// Paths, by name.
pub mod path {
    /// `GET`: [`super::Health`].
    pub const HEALTH: &str = "/v1/health";
    /// `GET`: [`super::ConfinementReport`], probed anew inside the running process.
    pub const CONFINEMENT: &str = "/v1/confinement";
    /// `GET`: [`super::JobStatus`].
    pub const JOB: &str = "/v1/jobs/{id}";
    /// Teacher, `POST` [`super::ProposeRequest`] → job of [`super::Proposals`].
    pub const PROPOSALS: &str = "/v1/proposals";
    /// Teacher, `POST` [`super::PolicyUpdateRequest`] → job of [`super::PolicyUpdated`].
    pub const POLICY_UPDATES: &str = "/v1/policy-updates";
    /// Student, `POST` [`super::InnerUpdateRequest`] → job of [`super::InnerUpdated`].
    pub const INNER_UPDATES: &str = "/v1/inner-updates";
    /// Student, `POST` [`super::ExtendRequest`] → job of [`super::InnerUpdated`].
    pub const EXTENSIONS: &str = "/v1/extensions";
    /// Student, `POST` [`super::ConsolidateRequest`] → job of [`super::InnerUpdated`].
    pub const CONSOLIDATIONS: &str = "/v1/consolidations";
    /// Student `GET`, auditor `PUT`: raw bytes of one adapter file by its digest.
    pub const ADAPTER_FILE: &str = "/v1/adapter-files/{sha256}";
    /// Judge, `POST` [`super::JudgeRequest`] → job of [`super::Judged`].
    pub const JUDGEMENTS: &str = "/v1/judgements";
    /// Auditor, `POST` [`super::AuditSubmission`] → job of [`super::Audited`].
    pub const AUDITS: &str = "/v1/audits";
    /// Auditor, `POST` [`crate::LedgerQuestion`] → [`crate::LedgerShown`].
    pub const LEDGER: &str = "/v1/ledger";
    /// Auditor, `POST` [`crate::Cosignature`] → [`crate::CosignedCheckpoint`].
    pub const COSIGNATURES: &str = "/v1/cosignatures";
    /// Teacher and student, `GET` a list of [`crate::LedgerHead`]; `POST` [`crate::LedgerShown`] →
    /// [`crate::LedgerSeen`].
    pub const LEDGER_HEADS: &str = "/v1/ledger-heads";
    /// Student, `POST` [`super::PromoteRequest`] → [`super::Served`].
    pub const PROMOTIONS: &str = "/v1/promotions";
    /// Student, `POST` [`super::RollBackRequest`] → [`super::Served`].
    pub const ROLLBACKS: &str = "/v1/rollbacks";
    /// Student, `GET`: [`super::Served`].
    pub const VERSIONS: &str = "/v1/versions";
    /// Student, `POST` [`super::AskRequest`] → [`super::Answers`].
    pub const ANSWERS: &str = "/v1/answers";
}

/// Who answers, and in which state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The daemon's role.
    pub role: Role,
    /// [`crate::VERSION`].
    pub protocol_version: u32,
    /// Version of the program.
    pub version: String,
    /// SHA-256 of the executable.
    pub binary_digest: Digest,
    /// Process id.
    pub pid: u32,
    /// Confinement at start.
    pub enforcement: Enforcement,
    /// Digest of the base model it loaded; absent where the role has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model_digest: Option<Digest>,
}

/// What a confined process may not do, tried from one of its own threads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfinementReport {
    /// Level reached at start.
    pub enforcement: Enforcement,
    /// Each attempt and how it ended.
    pub probes: Vec<Probe>,
}

/// One forbidden thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was tried, e.g. `read decoy`, `connect tcp 127.0.0.1:80`.
    pub attempt: String,
    /// Whether the kernel refused it.
    pub refused: bool,
    /// The kernel's answer, e.g. `EACCES`.
    pub outcome: String,
}

/// Answer to a `POST` that starts work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobAccepted {
    /// Digest of the request body.
    pub job: Digest,
}

/// State of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum JobStatus {
    /// Waiting for the model thread.
    Queued,
    /// At work.
    Running {
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// Finished; the result is stored and stays.
    Done {
        /// Body as named at the path.
        result: serde_json::Value,
    },
    /// Ended without a result.
    Failed {
        /// Why.
        error: crate::ErrorBody,
    },
}

/// Ask the teacher for K self-edits on each of some contexts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposeRequest {
    /// Stage of the run; part of what seeds the sampler.
    pub stage: String,
    /// Contexts by the digest of their text; the teacher holds the texts.
    pub context_digests: Vec<Digest>,
    /// K.
    pub proposals_per_context: u32,
    /// Which policy writes; `None`: the one the teacher began with, before any update.
    pub policy_digest: Option<Digest>,
    /// How the edits are written.
    pub method: ProposalMethod,
    /// Run seed.
    pub seed: u64,
}

/// How the teacher comes by an edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProposalMethod {
    /// Sampled from the policy.
    Policy {
        /// 0 is greedy.
        temperature_micro: Micro,
        /// Words forced at the head of the reply, e.g. a fixed plan; empty: free.
        forced_prefix: Vec<String>,
    },
    /// No words of the policy: the context alone is trained on.
    ContextOnly,
}

/// The proposals, in the order (context as asked, proposal number).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposals {
    /// Signed [`crate::SelfEdit`] statements.
    pub edits: Vec<Envelope>,
    /// Replies that did not parse, as typed outcomes; their raw text stays with the teacher.
    pub unparsed: Vec<UnparsedReply>,
}

/// A reply that yields no edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnparsedReply {
    /// For which context.
    pub context_digest: Digest,
    /// Which of its proposals.
    pub proposal: u32,
    /// Why it does not parse.
    pub reason: String,
}

/// Ask the teacher for the M-step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyUpdateRequest {
    /// Stage, e.g. `round-1`.
    pub stage: String,
    /// The policy to go on from; `None`: the one the teacher began with.
    pub parent_policy_digest: Option<Digest>,
    /// Signed [`crate::Verdict`]s of kind edit.
    pub verdicts: Vec<Envelope>,
    /// Run seed.
    pub seed: u64,
}

/// The M-step's result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyUpdated {
    /// Signed [`crate::PolicyUpdate`].
    pub update: Envelope,
    /// The new policy.
    pub policy_digest: Digest,
}

/// Ask the student for inner updates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InnerUpdateRequest {
    /// Stage of the run.
    pub stage: String,
    /// What the audit requests shall ask for.
    pub purpose: AuditPurpose,
    /// Signed edits; those of one context become one group.
    pub edits: Vec<Envelope>,
    /// Run seed; initialisation is common to all candidates of a context.
    pub seed: u64,
    /// One adapter on all edits instead of one on each: continued pre-training. Nobody judged the
    /// edits, so what comes of it is measured and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub together: bool,
}

/// Ask the student to learn one more accepted edit on top of those that a sequence learned before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// Stage of the run; all steps of a sequence have one.
    pub stage: String,
    /// Signed [`crate::Verdict`]s of kind edit on one edit.
    pub verdicts: Vec<Envelope>,
    /// Edits, the accepted one among them.
    pub edits: Vec<Envelope>,
    /// The signed [`crate::AuditRequest`] of the step before; `None`: the sequence begins.
    pub parent: Option<Envelope>,
    /// Run seed.
    pub seed: u64,
}

/// Signed audit requests, one per context, in the order of the edits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InnerUpdated {
    /// Signed [`crate::AuditRequest`]s.
    pub requests: Vec<Envelope>,
    /// Edits that the student refused, with its reason.
    pub refused: Vec<RefusedEdit>,
}

/// An edit that the student would not train on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedEdit {
    /// Digest of the edit.
    pub edit_digest: Digest,
    /// Why.
    pub reason: String,
}

/// Ask the student to train one adapter on all accepted edits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsolidateRequest {
    /// Stage of the run.
    pub stage: String,
    /// Signed [`crate::Verdict`]s of kind edit.
    pub verdicts: Vec<Envelope>,
    /// The edits they allow.
    pub edits: Vec<Envelope>,
    /// Run seed.
    pub seed: u64,
}

/// Ask the judge to hold edits against its constitution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JudgeRequest {
    /// Signed [`crate::SelfEdit`]s.
    pub edits: Vec<Envelope>,
}

/// The judge's answer, in the order of the edits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// Signed [`crate::Judgement`]s.
    pub judgements: Vec<Envelope>,
    /// Edits without one. The auditor refuses them.
    pub unjudged: Vec<UnjudgedEdit>,
}

/// An edit that was not judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnjudgedEdit {
    /// Digest of the edit.
    pub edit_digest: Digest,
    /// Why.
    pub reason: String,
}

/// Ask the auditor to judge a group whose files were uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSubmission {
    /// Signed [`crate::AuditRequest`].
    pub request: Envelope,
    /// Signed edits that the request names.
    pub edits: Vec<Envelope>,
    /// Signed [`crate::Judgement`]s on them, where a judge was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judgements: Vec<Envelope>,
}

/// All that leaves the auditor: accept or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audited {
    /// Digest of the request's signed payload.
    pub request_digest: Digest,
    /// Signed [`crate::Verdict`], if one candidate was accepted.
    pub verdict: Option<Envelope>,
    /// The ledger's checkpoint after the group, in C2SP form.
    pub checkpoint: String,
}

/// Ask the student to serve an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteRequest {
    /// Signed [`crate::Verdict`]s of kind promotion on one adapter: one of each auditor that the trust
    /// root demands.
    pub verdicts: Vec<Envelope>,
}

/// Ask the student to serve an earlier version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollBackRequest {
    /// `base`, or the name of a version.
    pub version: String,
    /// Kept in the record.
    pub reason: String,
}

/// What serves, and what could.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// `base`, `v1`, ….
    pub active: String,
    /// Every promoted version with the digest of its tensors.
    pub versions: BTreeMap<String, Digest>,
    /// The signed [`crate::ServingChange`]s, oldest first.
    pub history: Vec<Envelope>,
}

/// A question to the served model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskRequest {
    /// In the user's words.
    pub question: String,
    /// Versions to answer with; empty: the active one.
    pub versions: Vec<String>,
    /// Longest answer.
    pub max_new_tokens: u32,
}

/// One answer per version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// In the order asked.
    pub answers: Vec<Answer>,
}

/// What one version says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// `base`, `v1`, ….
    pub version: String,
    /// Its tensors; absent for `base`.
    pub adapter_digest: Option<Digest>,
    /// Raw model text; strip control characters before showing it.
    pub text: String,
}
