//! Where every random number of the student comes from.
//!
//! **Invariant:** run seed, stage and contexts fix seed and nonce; neither a clock nor the order in
//! which requests arrive has a say. The K candidates of one context share both, so that they
//! differ by their edits alone.

use seal_protocol::{AuditPurpose, Digest};
use seal_trust::{derive_seed, sha256};

/// Seed of initialisation, replay draw and order for one group.
pub(crate) fn group_seed(run_seed: u64, stage: &str, contexts: &[Digest]) -> u64 {
    let run_seed = run_seed.to_le_bytes();
    let mut parts: Vec<&[u8]> = vec![b"seal/group-seed/v1", &run_seed, stage.as_bytes()];
    parts.extend(contexts.iter().map(|context| &context.as_bytes()[..]));
    derive_seed(&parts)
}

/// The nonce of an audit request: 32 bytes as hex.
pub(crate) fn nonce(
    run_seed: u64,
    stage: &str,
    purpose: AuditPurpose,
    contexts: &[Digest],
) -> String {
    let head =
        format!("seal/nonce/v1\n{}\n{run_seed}\n{}\n{stage}\n", purpose_name(purpose), stage.len());
    let text = contexts.iter().fold(head, |text, context| text + &context.to_string() + "\n");
    sha256(text.as_bytes()).to_string()
}

/// The purpose as it is hashed and stored.
pub(crate) fn purpose_name(purpose: AuditPurpose) -> &'static str {
    match purpose {
        AuditPurpose::Edit => "edit",
        AuditPurpose::Promotion => "promotion",
        AuditPurpose::Evaluation => "evaluation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn a_seed_depends_on_run_stage_and_context_and_on_nothing_else() {
        let seed = group_seed(1, "round-1/train", &[context(1)]);
        assert_eq!(seed, group_seed(1, "round-1/train", &[context(1)]));
        assert_ne!(seed, group_seed(2, "round-1/train", &[context(1)]));
        assert_ne!(seed, group_seed(1, "round-2/train", &[context(1)]));
        assert_ne!(seed, group_seed(1, "round-1/train", &[context(2)]));
        assert_ne!(seed, seal_recipe::replay_seed(seed));
    }

    #[test]
    fn a_seed_survives_a_reader_that_knows_only_doubles() {
        for run_seed in 0..200 {
            let seed = group_seed(run_seed, "round-1/train", &[context(7)]);
            assert_eq!(seed as f64 as u64, seed);
            assert!(seed < 1 << 53);
        }
    }

    #[test]
    fn a_nonce_is_32_bytes_of_hex_and_differs_by_purpose() {
        let of = |purpose| nonce(5, "round-1/train", purpose, &[context(3)]);
        assert!(of(AuditPurpose::Edit).parse::<Digest>().is_ok());
        assert_ne!(of(AuditPurpose::Edit), of(AuditPurpose::Evaluation));
        assert_ne!(of(AuditPurpose::Promotion), of(AuditPurpose::Evaluation));
    }
}
