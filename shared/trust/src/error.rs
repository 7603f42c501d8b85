//! Why a signed message has no effect. Every refusal has a stable code and a sentence with the mend.

use seal_protocol::{Digest, ErrorBody, Role};

use crate::note::NoteError;
use crate::root_error::RootError;
use crate::verdict_error::VerdictError;

/// Why a message was not believed. Nothing it says was used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// Longer than anything honest.
    #[error("the {what} has {bytes} bytes, more than the {limit} that are read")]
    TooLarge {
        /// Envelope, trust root, ….
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The cap.
        limit: usize,
    },
    /// Not JSON of the expected shape.
    #[error("the {what} does not parse: {reason}")]
    Malformed {
        /// Envelope, trust root, ….
        what: &'static str,
        /// serde's words.
        reason: String,
    },
    /// It parses, but its writer would have written other bytes: the file was altered.
    #[error("the {what} is not in canonical form, so its bytes were changed: fetch it again")]
    NotCanonical {
        /// Envelope file, payload, ….
        what: &'static str,
    },
    /// Not strict base64.
    #[error("`{field}` of the envelope is not standard base64 of the expected length")]
    NotBase64 {
        /// `payload` or `sig`.
        field: &'static str,
    },
    /// Another kind of message.
    #[error(
        "the payload type is {found:?}, expected {expected:?}: another kind of message was sent"
    )]
    PayloadType {
        /// As sent, shortened.
        found: String,
        /// What is read here.
        expected: &'static str,
    },
    /// A statement has exactly one signature.
    #[error("the envelope has {found} signatures, expected 1: send one envelope per signer")]
    SignatureCount {
        /// How many came.
        found: usize,
    },
    /// No key of the role signed these bytes.
    #[error(
        "no {role} key of the trust root signed these bytes (key hint {hint:?}): the message was \
         changed, or its signer is not in the trust root"
    )]
    BadSignature {
        /// Who had to sign.
        role: Role,
        /// The unauthenticated hint, shortened.
        hint: String,
    },
    /// A genuine signature of somebody who may not say this.
    #[error("signed by {found} key {keyid}, but this statement is for the {needed} to make")]
    WrongRole {
        /// The signer.
        keyid: String,
        /// The role it has.
        found: Role,
        /// The role it needs.
        needed: Role,
    },
    /// The signature is right but its label is not.
    #[error("the signature is key {keyid}'s, but its label says {hint:?}: the label was changed")]
    KeyidMismatch {
        /// The label, shortened.
        hint: String,
        /// The key that signed.
        keyid: String,
    },
    /// The key is revoked.
    #[error("key {keyid} is revoked from sequence {from_sequence} on: ask for a new signature")]
    Revoked {
        /// The signer.
        keyid: String,
        /// First number that is void.
        from_sequence: u64,
    },
    /// The payload is no statement of the expected kind.
    #[error("the statement says {found:?} where {expected:?} belongs")]
    WrongType {
        /// As signed, shortened.
        found: String,
        /// `_type` or `predicateType` of the expected statement.
        expected: &'static str,
    },
    /// Fewer signers than the role's threshold.
    #[error("{got} of {needed} {role} signatures are there: collect an envelope of each signer")]
    QuorumNotMet {
        /// Who signs.
        role: Role,
        /// The threshold.
        needed: usize,
        /// Distinct keys that signed.
        got: usize,
    },
    /// About the trust root itself.
    #[error(transparent)]
    Root(#[from] RootError),
    /// About what a verdict binds.
    #[error(transparent)]
    Verdict(#[from] VerdictError),
    /// About a checkpoint or a proof.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl VerifyError {
    /// Stable name in snake case, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "message_too_large",
            Self::Malformed { .. } => "message_malformed",
            Self::NotCanonical { .. } => "message_not_canonical",
            Self::NotBase64 { .. } => "envelope_not_base64",
            Self::PayloadType { .. } => "payload_type_wrong",
            Self::SignatureCount { .. } => "signature_count_wrong",
            Self::BadSignature { .. } => "signature_invalid",
            Self::WrongRole { .. } => "signer_wrong_role",
            Self::KeyidMismatch { .. } => "keyid_mismatch",
            Self::Revoked { .. } => "key_revoked",
            Self::WrongType { .. } => "statement_type_wrong",
            Self::QuorumNotMet { .. } => "quorum_not_met",
            Self::Root(error) => error.code(),
            Self::Verdict(error) => error.code(),
            Self::Note(error) => error.code(),
        }
    }

    /// The error as a daemon answers it.
    pub fn to_body(&self) -> ErrorBody {
        ErrorBody { code: self.code().to_owned(), message: self.to_string() }
    }
}

/// At most 80 characters of a text that an unknown peer sent.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Digests for people: the short forms, at most four of them.
pub(crate) fn listed(digests: &[Digest]) -> String {
    let shown: Vec<String> = digests.iter().take(4).map(Digest::short).collect();
    match digests.len().saturating_sub(4) {
        0 => format!("[{}]", shown.join(", ")),
        more => format!("[{}, {more} more]", shown.join(", ")),
    }
}
