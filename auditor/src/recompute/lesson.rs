//! A further run of an edit.

use seal_protocol::{Digest, SelfEdit};

/// One edit that is trained here, under a seed of the auditor's.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// SHA-256 of its signed payload.
    pub digest: Digest,
    /// The verified edit.
    pub edit: &'a SelfEdit,
    /// Seed of initialisation, order and replay lines.
    pub seed: u64,
}
