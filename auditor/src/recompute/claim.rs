//! What an adapter claims to be.

use seal_model::{Decoder, Tokenizer};
use seal_protocol::{AuditPurpose, Candidate, Digest, SelfEdit};

/// One adapter with all that it claims to come of.
#[derive(Clone, Debug)]
pub struct Claim<'a, A> {
    /// What is asked for.
    pub purpose: AuditPurpose,
    /// The student's words: recipe, seed, arithmetic, digests.
    pub candidate: &'a Candidate,
    /// The verified edits, by digest; of a step of a sequence, the one that it adds.
    pub edits: Vec<(Digest, &'a SelfEdit)>,
    /// The adapter as loaded.
    pub adapter: &'a A,
    /// Whether it is to be trained again; if not, only its recipe and arithmetic are looked at.
    pub drawn: bool,
}

/// The base that is loaded for measuring, on which adapters are trained again.
#[derive(Clone, Copy)]
pub struct MeasuredBase<'a> {
    /// Its weights.
    pub decoder: &'a Decoder,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// Its folder's digest.
    pub digest: Digest,
}
