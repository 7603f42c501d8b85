//! How a ledger is shown to those who act on what stands in it. Carried by the conductor, believed
//! by nobody before its signatures and proofs hold.

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What a role remembers of one ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerHead {
    /// The ledger's name.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

/// What the auditor is asked to show of its ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerQuestion {
    /// What the reader remembers, of whichever ledgers.
    pub known: Vec<LedgerHead>,
    /// Verdicts whose rows are to be shown, by the digest of their payload.
    pub verdicts: Vec<Digest>,
    /// Size of the checkpoint to show; the last one where absent. Readers who must cosign one and
    /// the same checkpoint name it, because rows are added meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

/// A ledger's claim with what convinces a reader of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerShown {
    /// A checkpoint of it with every cosignature so far, in C2SP form.
    pub checkpoint: String,
    /// That it continues what the reader remembers; empty for a first look.
    pub consistency: Vec<Digest>,
    /// The rows that were asked for, as far as they are there.
    pub rows: Vec<ShownRow>,
}

/// One row with its path to the checkpoint's root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownRow {
    /// Its number.
    pub index: u64,
    /// Its exact bytes: canonical JSON of a [`crate::LedgerEntry`].
    pub entry: String,
    /// From the leaf's sibling up.
    pub path: Vec<Digest>,
}

/// A reader's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSeen {
    /// What it remembers from here on.
    pub head: LedgerHead,
    /// Its cosignature line, where it is a witness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosignature: Option<String>,
    /// Cosignatures that the shown rows still lack before this reader acts on them; 0: none.
    pub witnesses_missing: u64,
}

/// A witness's line for the auditor's record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosignature {
    /// Size of the checkpoint it stands under.
    pub size: u64,
    /// The line, with its end.
    pub line: String,
}

/// A checkpoint with all cosignatures that the auditor has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosignedCheckpoint {
    /// In C2SP form.
    pub checkpoint: String,
}
