//! The student's product: adapters, submitted to the auditor in groups that compete with each other.

use serde::{Deserialize, Serialize};

use crate::{Digest, Predicate, Role};

/// What the student asks the auditor to judge. The K candidates of one context form a group;
/// a consolidated adapter is a group of one with many contexts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRequest {
    /// What may come of it.
    pub purpose: AuditPurpose,
    /// Stage of the run the group belongs to, e.g. `round-1/train`.
    pub stage: String,
    /// 32 bytes, hex; drawn from run seed and stage so that a resumed run asks the same question.
    pub nonce: String,
    /// Candidates in the order of their proposal number.
    pub candidates: Vec<Candidate>,
}

/// What the auditor may do with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditPurpose {
    /// Select at most one candidate whose edit may feed the policy.
    Edit,
    /// Allow one adapter to serve.
    Promotion,
    /// Measure and record; never sign. For held-out contexts.
    Evaluation,
}

/// θ′ by reference: every digest that fixes an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Every context the adapter claims to know, sorted; one for an inner update.
    pub context_digests: Vec<Digest>,
    /// The edits it was trained on, sorted; one for an inner update.
    pub edit_digests: Vec<Digest>,
    /// Digest of the base model's files.
    pub base_model_digest: Digest,
    /// Digest of `tokenizer.json`.
    pub tokenizer_digest: Digest,
    /// The adapter that it is stacked on; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_adapter_digest: Option<Digest>,
    /// Digest of the resolved recipe's canonical JSON.
    pub recipe_digest: Digest,
    /// Seed of initialisation and order.
    pub seed: u64,
    /// What the arithmetic ran on; part of what fixes the bytes. On the CPU in f32 the widest vector
    /// instruction set, elsewhere the device and the dtype of the weights.
    pub instruction_set: String,
    /// The adapter's files. The first is `adapter_config.json`, the second `adapter_model.safetensors`.
    pub files: Vec<AdapterFile>,
}

/// One file of an adapter folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterFile {
    /// Flat name, `[a-z0-9_.-]{1,64}`.
    pub name: String,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// File name of PEFT's config.
pub const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// File name of PEFT's tensors.
pub const ADAPTER_MODEL_FILE: &str = "adapter_model.safetensors";

impl Candidate {
    /// The digest of the tensors, which names the adapter everywhere.
    pub fn adapter_digest(&self) -> Option<Digest> {
        self.files.iter().find(|file| file.name == ADAPTER_MODEL_FILE).map(|file| file.sha256)
    }
}

impl Predicate for AuditRequest {
    const TYPE: &'static str = "https://seal.internal/audit-request/v1";
    const AUTHOR: Role = Role::Student;
}
