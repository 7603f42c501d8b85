//! What one transaction adds.

use seal_protocol::{Digest, Envelope, LedgerEvent, UnixSeconds};

/// Where the ledger stands; a group is built on it inside the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Index of the next row.
    pub next_index: u64,
    /// Number of the next verdict.
    pub next_sequence: u64,
    /// Payload digest of the last verdict.
    pub prev_verdict_digest: Option<Digest>,
    /// Time of the group: never before the last row.
    pub at: UnixSeconds,
}

/// A group's rows and what goes with them.
pub struct NewGroup {
    /// Rows in order.
    pub rows: Vec<LedgerEvent>,
    /// The signed verdict, if one was accepted.
    pub verdict: Option<Envelope>,
    /// Files to keep beside the ledger.
    pub artefacts: Vec<Artefact>,
}

/// What the ledger is about from here on, and the files that go with it.
pub struct InForce {
    /// The row.
    pub event: LedgerEvent,
    /// Files that the row names.
    pub artefacts: Vec<Artefact>,
}

/// A file kept beside the ledger, named by a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// Which folder.
    pub kind: ArtefactKind,
    /// Its name.
    pub digest: Digest,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// The folders of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArtefactKind {
    /// Envelopes by payload digest.
    Verdict,
    /// Envelopes by payload digest.
    Request,
    /// Envelopes by edit digest.
    Edit,
    /// Annexes by digest of their bytes.
    Annex,
    /// Bundles of written policy by digest of their bytes.
    Policy,
    /// Trust roots by digest of their file.
    TrustRoot,
    /// Envelopes by payload digest.
    Judgement,
    /// Constitutions by digest of their file.
    Constitution,
}

impl ArtefactKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Verdict,
        Self::Request,
        Self::Edit,
        Self::Annex,
        Self::Policy,
        Self::TrustRoot,
        Self::Judgement,
        Self::Constitution,
    ];

    /// Folder inside the state, and name in the database.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Verdict => "verdicts",
            Self::Request => "requests",
            Self::Edit => "edits",
            Self::Annex => "annexes",
            Self::Policy => "policies",
            Self::TrustRoot => "trust-roots",
            Self::Judgement => "judgements",
            Self::Constitution => "constitutions",
        }
    }
}
