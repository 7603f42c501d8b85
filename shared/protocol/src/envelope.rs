//! DSSE envelopes and in-toto Statements: the outer and the inner shape of every signed message.
//!
//! Source: DSSE v1.0.2 and in-toto Statement v1.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// `payloadType` of every in-toto Statement.
pub const IN_TOTO_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// `_type` of every Statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// `payloadType` of the trust root.
pub const TRUST_ROOT_PAYLOAD_TYPE: &str = "application/vnd.seal.trust-root+json";

/// A DSSE envelope. Its payload is opaque until `seal-trust` has checked a signature over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Base64 of the exact signed bytes.
    pub payload: String,
    /// What the payload is; authenticated together with it.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// One signature per envelope; a quorum is a set of envelopes. The trust root alone has more.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// Unauthenticated hint which key signed. Never decides anything.
    pub keyid: String,
    /// Base64 of 64 bytes of Ed25519 over the pre-authentication encoding.
    pub sig: String,
}

/// An in-toto Statement with one of our predicates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement<P> {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// The artefacts the statement is about.
    pub subject: Vec<Subject>,
    /// Always `P::TYPE`.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// What is said about the subjects.
    pub predicate: P,
}

/// One named artefact with its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// File name, or the kind of artefact where it is no file.
    pub name: String,
    /// Digests by algorithm; we write and read sha256.
    pub digest: SubjectDigest,
}

/// The digest map of an in-toto subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectDigest {
    /// SHA-256 of the artefact's bytes.
    pub sha256: Digest,
}

/// The content of a Statement: names its type and who may sign it.
pub trait Predicate: Serialize + serde::de::DeserializeOwned {
    /// The `predicateType` URI.
    const TYPE: &'static str;
    /// The one role whose key may sign it.
    const AUTHOR: Role;

    /// The author's running number, where the predicate has one; lets a key be revoked from a
    /// number on instead of altogether.
    fn sequence(&self) -> Option<u64> {
        None
    }
}

/// Who may sign what. A key sits in exactly one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Signs trust roots, nothing else; its keys stay offline.
    Root,
    /// Signs self-edits and policy updates.
    Teacher,
    /// Signs audit requests, promotions and rollbacks.
    Student,
    /// Signs verdicts.
    Auditor,
    /// Signs checkpoints of the auditor's ledger.
    Ledger,
    /// Cosigns checkpoints.
    Witness,
    /// Signs judgements on self-edits.
    Judge,
}

impl Role {
    /// Lower-case name, as in configs and paths.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Teacher => "teacher",
            Self::Student => "student",
            Self::Auditor => "auditor",
            Self::Ledger => "ledger",
            Self::Witness => "witness",
            Self::Judge => "judge",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl<P: Predicate> Statement<P> {
    /// A statement about `subject`.
    pub fn new(subject: Vec<Subject>, predicate: P) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: P::TYPE.to_owned(),
            predicate,
        }
    }
}

impl Subject {
    /// An artefact `name` with its digest.
    pub fn new(name: impl Into<String>, sha256: Digest) -> Self {
        Self { name: name.into(), digest: SubjectDigest { sha256 } }
    }
}
