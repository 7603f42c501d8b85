//! Where every random number of the teacher comes from.
//!
//! **Invariant:** run seed, stage, context and proposal number fix a sample; the batch it was drawn
//! in and the order of requests have no say.

use seal_protocol::Digest;
use seal_trust::derive_seed;

/// Seed of one proposal's sampler.
pub fn proposal_seed(run_seed: u64, stage: &str, context: &Digest, proposal: u32) -> u64 {
    derive_seed(&[
        b"seal/proposal-seed/v1",
        &run_seed.to_le_bytes(),
        stage.as_bytes(),
        context.as_bytes(),
        &proposal.to_le_bytes(),
    ])
}

/// Seed of the order of rows and of the replay draws of one policy update.
pub fn update_seed(run_seed: u64, stage: &str) -> u64 {
    derive_seed(&[b"seal/policy-update-seed/v1", &run_seed.to_le_bytes(), stage.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_run_stage_context_and_proposal_changes_the_seed() {
        let context = Digest::from_bytes([1; 32]);
        let seed = proposal_seed(1, "round-1/train", &context, 0);
        assert_eq!(seed, proposal_seed(1, "round-1/train", &context, 0));
        assert_ne!(seed, proposal_seed(2, "round-1/train", &context, 0));
        assert_ne!(seed, proposal_seed(1, "round-2/train", &context, 0));
        assert_ne!(seed, proposal_seed(1, "round-1/train", &context, 1));
        let other = Digest::from_bytes([2; 32]);
        assert_ne!(seed, proposal_seed(1, "round-1/train", &other, 0));
        assert!(seed < 1 << 53);
        assert_ne!(update_seed(1, "round-1"), update_seed(1, "round-2"));
    }
}
