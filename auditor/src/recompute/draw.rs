//! Who is trained again, where not everybody is.

use seal_protocol::{AuditPurpose, Digest};
use seal_trust::{derive_seed, hmac_commitment};

use super::Share;

/// Keeps this key apart from the commitments that are made with the same secret.
const LABEL: &[u8] = b"seal/recomputation-draw/v1";
/// The same, for the seeds of further runs.
const RUNS: &[u8] = b"seal/further-runs/v1";
/// Numbers that a draw yields, as a float.
const EVERY: f64 = (1_u64 << 53) as f64;

/// The auditor's own draw. The student signs what is hashed and knows no key, so it cannot tell what
/// the draw will be; whoever holds the key can derive every draw of a ledger again.
#[derive(Clone, Debug)]
pub struct Draw {
    key: Digest,
    runs: Digest,
    share: Share,
}

impl Draw {
    /// A draw with this share under a key of its own, derived from the auditor's secret.
    pub fn new(secret: &[u8; 32], share: Share) -> Self {
        let (key, runs) = (hmac_commitment(secret, LABEL), hmac_commitment(secret, RUNS));
        Self { key, runs, share }
    }

    /// The share in force; `None` where nothing is ever trained again.
    pub fn share(&self) -> Option<Share> {
        (self.share != Share::Never).then_some(self.share)
    }

    /// Whether a candidate of a request, by its number, is trained again. What wants to serve always
    /// is: it comes seldom, and does the most harm.
    pub fn falls_on(&self, purpose: AuditPurpose, request: &Digest, candidate: usize) -> bool {
        match self.share {
            Share::Never => false,
            Share::Always => true,
            Share::Of(_) if purpose == AuditPurpose::Promotion => true,
            Share::Of(share) => self.number(request, candidate) < share,
        }
    }

    /// Seed of a further run, numbered from 0, of every edit of a context: nobody who writes an edit or
    /// chooses the seed of its first run knows it.
    pub fn seed_of_run(&self, context: &Digest, run: usize) -> u64 {
        derive_seed(&[self.runs.as_bytes(), context.as_bytes(), &(run as u64).to_le_bytes()])
    }

    /// Uniform in 0..1.
    fn number(&self, request: &Digest, candidate: usize) -> f64 {
        let mut drawn = request.as_bytes().to_vec();
        drawn.extend((candidate as u64).to_le_bytes());
        let digest = hmac_commitment(self.key.as_bytes(), &drawn);
        let mut head = [0_u8; 8];
        head.copy_from_slice(&digest.as_bytes()[..8]);
        (u64::from_le_bytes(head) >> 11) as f64 / EVERY
    }
}
