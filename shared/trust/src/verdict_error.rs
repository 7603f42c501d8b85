//! Why a genuine verdict does not allow what is asked.

use seal_protocol::{Digest, EnforcementLevel, UnixSeconds, VerdictKind};

use crate::error::listed;
use crate::time::when;

/// One variant per check: what the verdict binds and what was at hand.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerdictError {
    /// Issued in the future, beyond the allowed clock skew.
    #[error("the verdict is issued at {}, after {}: set the clocks right", when(*.issued_at), when(*.now))]
    NotYetValid {
        /// Its time.
        issued_at: UnixSeconds,
        /// Ours.
        now: UnixSeconds,
    },
    /// Its time is over.
    #[error("the verdict expired at {}, it is {}: ask for a new audit", when(*.expires_at), when(*.now))]
    Expired {
        /// Its end.
        expires_at: UnixSeconds,
        /// Ours.
        now: UnixSeconds,
    },
    /// Valid for longer than the trust root allows.
    #[error(
        "the verdict is valid for {ttl_s} s, the trust root allows {limit_s} s: ask for a shorter one"
    )]
    TtlTooLong {
        /// From issue to end.
        ttl_s: u64,
        /// `limits.verdict_ttl_s`.
        limit_s: u64,
    },
    /// An edit verdict where a promotion verdict belongs, or the reverse.
    #[error("the verdict is of kind {found:?}, this needs {expected:?}: ask for that audit")]
    WrongKind {
        /// Needed.
        expected: VerdictKind,
        /// Signed.
        found: VerdictKind,
    },
    /// For another request.
    #[error("the verdict answers request {}, not {}", .found.short(), .expected.short())]
    WrongRequest {
        /// At hand.
        expected: Digest,
        /// Signed.
        found: Digest,
    },
    /// With another nonce.
    #[error("the verdict does not carry the nonce that was sent: it answers another request")]
    WrongNonce,
    /// For other edits.
    #[error("the verdict is about edits {}, not {}", listed(.found), listed(.expected))]
    WrongEdit {
        /// At hand, sorted.
        expected: Vec<Digest>,
        /// Signed, sorted.
        found: Vec<Digest>,
    },
    /// For other contexts.
    #[error("the verdict is about contexts {}, not {}", listed(.found), listed(.expected))]
    WrongContext {
        /// At hand, sorted.
        expected: Vec<Digest>,
        /// Signed, sorted.
        found: Vec<Digest>,
    },
    /// Measured on another base.
    #[error("the verdict is about base model {}, here is {}: audit on this base", .found.short(), .expected.short())]
    WrongBase {
        /// At hand.
        expected: Digest,
        /// Signed.
        found: Digest,
    },
    /// Measured with another tokenizer.
    #[error("the verdict is about tokenizer {}, here is {}", .found.short(), .expected.short())]
    WrongTokenizer {
        /// At hand.
        expected: Digest,
        /// Signed.
        found: Digest,
    },
    /// Other adapter bytes than those that were measured.
    #[error(
        "the verdict does not cover adapter file {name:?} as it is here: restore the audited bytes or audit these"
    )]
    WrongSubject {
        /// The first file that differs.
        name: String,
    },
    /// Decided under other settings than the reader expects.
    #[error("the verdict was decided under policy {}, expected {}", .found.short(), .expected.short())]
    WrongPolicy {
        /// Expected.
        expected: Digest,
        /// Signed.
        found: Digest,
    },
    /// The auditor was less confined than the trust root demands.
    #[error(
        "the auditor ran with confinement {found:?}, the trust root demands {minimum:?}: run it on \
         a kernel with Landlock and seccomp, or lower `limits.min_enforcement`"
    )]
    EnforcementTooWeak {
        /// `limits.min_enforcement`.
        minimum: EnforcementLevel,
        /// Signed.
        found: EnforcementLevel,
    },
    /// Not among the trust root's pins.
    #[error("{what} {} is not among `pins.{field}` of the trust root", .found.short())]
    NotPinned {
        /// The kind of thing.
        what: &'static str,
        /// The list.
        field: &'static str,
        /// Signed.
        found: Digest,
    },
    /// A pinned suite that a promotion was decided without.
    #[error("suite {} is pinned in the trust root and the promotion was decided without it", .suite.short())]
    MissingSuite {
        /// The suite's commitment.
        suite: Digest,
    },
    /// A promotion that rests on a vote of the models themselves.
    #[error(
        "the promotion was held against a majority of the models' own answers: audit it on a \
         confirmation split with gold answers"
    )]
    VotedPromotion,
    /// Decided under a newer trust root than ours.
    #[error("the verdict knows trust root {found}, here is {ours}: install the newer one")]
    RootBehind {
        /// Here.
        ours: u64,
        /// Signed.
        found: u64,
    },
    /// Auditors of a quorum who do not say the same.
    #[error("the auditors' verdicts differ in `{field}`: they are not about the same thing")]
    QuorumDisagrees {
        /// The first field that differs.
        field: &'static str,
    },
    /// Used already, for something else.
    #[error("verdict {} was used already, by request {}: a verdict has one effect", .verdict.short(), .used_by.short())]
    Replayed {
        /// SHA-256 of its payload.
        verdict: Digest,
        /// Who used it.
        used_by: Digest,
    },
    /// Out of order.
    #[error(
        "verdict {got} of auditor {keyid} does not follow {previous}: send verdicts in the auditor's order, each once"
    )]
    SequenceNotRising {
        /// The auditor.
        keyid: String,
        /// Last seen.
        previous: u64,
        /// Sent.
        got: u64,
    },
    /// One number, two verdicts: the auditor was copied or restored.
    #[error(
        "auditor {keyid} signed two verdicts {sequence}: it was copied or restored; check its ledger"
    )]
    SequenceReused {
        /// The auditor.
        keyid: String,
        /// The number.
        sequence: u64,
    },
}

impl VerdictError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotYetValid { .. } => "verdict_not_yet_valid",
            Self::Expired { .. } => "verdict_expired",
            Self::TtlTooLong { .. } => "verdict_ttl_too_long",
            Self::WrongKind { .. } => "verdict_wrong_kind",
            Self::WrongRequest { .. } => "verdict_wrong_request",
            Self::WrongNonce => "verdict_wrong_nonce",
            Self::WrongEdit { .. } => "verdict_wrong_edit",
            Self::WrongContext { .. } => "verdict_wrong_context",
            Self::WrongBase { .. } => "verdict_wrong_base",
            Self::WrongTokenizer { .. } => "verdict_wrong_tokenizer",
            Self::WrongSubject { .. } => "verdict_wrong_subject",
            Self::WrongPolicy { .. } => "verdict_wrong_policy",
            Self::EnforcementTooWeak { .. } => "verdict_enforcement_too_weak",
            Self::NotPinned { .. } => "verdict_not_pinned",
            Self::MissingSuite { .. } => "verdict_missing_suite",
            Self::VotedPromotion => "verdict_voted_promotion",
            Self::RootBehind { .. } => "trust_root_behind",
            Self::QuorumDisagrees { .. } => "verdict_quorum_disagrees",
            Self::Replayed { .. } => "verdict_replayed",
            Self::SequenceNotRising { .. } => "verdict_sequence_not_rising",
            Self::SequenceReused { .. } => "verdict_sequence_reused",
        }
    }
}
