//! Why a trust root is not trusted.

use seal_protocol::{Digest, Role, UnixSeconds};

use crate::PublicKeyError;
use crate::time::when;

/// What is wrong with a trust root, or with its signatures.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RootError {
    /// Its time is over.
    #[error("trust root {version} expired at {}: install its successor", when(*.expires))]
    Expired {
        /// Its version.
        version: u64,
        /// When it ended.
        expires: UnixSeconds,
    },
    /// Other bytes than the operator pinned.
    #[error("the trust root's digest is {found}, pinned is {pinned}: this is another trust root")]
    NotPinned {
        /// As configured.
        pinned: Digest,
        /// Of the file.
        found: Digest,
    },
    /// Not the next version.
    #[error("trust root {found} does not follow {current}: install {}", .current.saturating_add(1))]
    NotNext {
        /// In force.
        current: u64,
        /// Offered.
        found: u64,
    },
    /// Too few signatures of a version's root keys.
    #[error("{got} of {needed} root keys of version {version} signed trust root {offered}")]
    Threshold {
        /// Whose root keys were counted.
        version: u64,
        /// The version that was to be believed.
        offered: u64,
        /// The threshold.
        needed: usize,
        /// Distinct keys that signed.
        got: usize,
    },
    /// A signature that does not verify, or of a key that is no root key.
    #[error(
        "the trust root's signature labelled {hint:?} is of no known root key or does not verify \
         (a later version opens by its pinned digest, or as an update of the version before it)"
    )]
    BadSignature {
        /// Its label, shortened.
        hint: String,
    },
    /// The same key twice, or labels out of order.
    #[error("the trust root's signatures are not sorted by key, each once")]
    SignatureOrder,
    /// Another format.
    #[error("the trust root's `spec` is {found:?}; this program reads \"1\"")]
    Spec {
        /// As written, shortened.
        found: String,
    },
    /// Version 0.
    #[error("the trust root's `version` is 0; the first is 1")]
    VersionZero,
    /// An entry of `keys` that is no usable key.
    #[error("`keys.{keyid}` of the trust root: {source}")]
    Key {
        /// Its name, shortened.
        keyid: String,
        /// What is wrong with it.
        source: PublicKeyError,
    },
    /// An entry of `keys` under another name or of another kind.
    #[error("`keys.{keyid}` of the trust root is no ed25519 key with that id in lower-case hex")]
    KeyEntry {
        /// Its name, shortened.
        keyid: String,
    },
    /// A role that must be there.
    #[error("the trust root has no role `{role}`: give it a key")]
    MissingRole {
        /// The role.
        role: Role,
    },
    /// A role that names no key of `keys`.
    #[error("role `{role}` of the trust root names {keyid:?}, which is not in `keys`")]
    UnknownKey {
        /// The role.
        role: Role,
        /// As written, shortened.
        keyid: String,
    },
    /// One key with two duties, or listed twice.
    #[error("key {keyid} is listed twice in the trust root; a key sits in one role, once")]
    KeyInTwoRoles {
        /// The key.
        keyid: String,
    },
    /// A threshold nobody can meet or everybody meets, or one where no quorum is defined.
    #[error(
        "role `{role}` of the trust root has threshold {threshold} with {keys} keys; it must be \
         1 to the number of keys, and 1 for teacher, student and ledger"
    )]
    BadThreshold {
        /// The role.
        role: Role,
        /// As written.
        threshold: usize,
        /// Keys of the role.
        keys: usize,
    },
    /// A root key that is revoked and still in its role.
    #[error("root key {keyid} is revoked and still in role `root`: take it out")]
    RevokedRootKey {
        /// The key.
        keyid: String,
    },
    /// A limit out of range.
    #[error("`limits.{field}` of the trust root is out of range: {rule}")]
    Limit {
        /// The field.
        field: &'static str,
        /// What it may be.
        rule: &'static str,
    },
}

impl RootError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "trust_root_expired",
            Self::NotPinned { .. } => "trust_root_not_pinned",
            Self::NotNext { .. } => "trust_root_not_next",
            Self::Threshold { .. } => "trust_root_threshold",
            Self::BadSignature { .. } | Self::SignatureOrder => "trust_root_signature",
            _ => "trust_root_invalid",
        }
    }
}
