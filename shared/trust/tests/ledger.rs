//! The ledger's tree and its signed claims: what is in, stays in, and anyone can check it.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use seal_protocol::{Digest, UnixSeconds};
use seal_trust::{
    Checkpoint, LedgerProof, NoteAlgorithm, NoteError, PublicKey, cosign, merkle, parse_vkey,
    sign_checkpoint, verify_checkpoint, verify_cosignature, vkey,
};
use serde::Deserialize;

const ORIGIN: &str = "seal.internal/ledger";

/// One tree as `tests/interop/merkle_vectors.py` computed it.
#[derive(Deserialize)]
struct Tree {
    size: usize,
    root: Digest,
    /// By leaf.
    inclusion: Vec<Vec<Digest>>,
    /// By old size, from 1.
    consistency: Vec<Vec<Digest>>,
}

fn vectors() -> Vec<Tree> {
    serde_json::from_str(include_str!("vectors/rfc6962.json")).unwrap()
}

fn entry(index: usize) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn leaves(size: usize) -> Vec<Digest> {
    (0..size).map(|index| merkle::leaf_hash(&entry(index))).collect()
}

fn included(leaf: &Digest, index: usize, leaves: &[Digest], proof: &[Digest]) -> bool {
    let root = merkle::root(leaves);
    merkle::verify_inclusion(leaf, index as u64, leaves.len() as u64, proof, &root).is_ok()
}

fn continues(old: &[Digest], new: &[Digest], proof: &[Digest]) -> bool {
    let (old_root, root) = (merkle::root(old), merkle::root(new));
    merkle::verify_consistency(old.len() as u64, &old_root, new.len() as u64, &root, proof).is_ok()
}

fn flipped(digest: &Digest, bit: usize) -> Digest {
    let mut bytes = *digest.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Digest::from_bytes(bytes)
}

#[test]
fn trees_and_proofs_are_those_of_an_independent_implementation() {
    for tree in vectors() {
        let leaves = leaves(tree.size);
        assert_eq!(merkle::root(&leaves), tree.root, "size {}", tree.size);
        for (index, proof) in tree.inclusion.iter().enumerate() {
            assert_eq!(merkle::inclusion_proof(&leaves, index).as_ref(), Some(proof));
        }
        for (index, proof) in tree.consistency.iter().enumerate() {
            assert_eq!(merkle::consistency_proof(&leaves, index + 1).as_ref(), Some(proof));
        }
    }
}

#[test]
fn the_published_tree_of_certificate_transparency_has_its_root() {
    let entries = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let leaves = entries.map(|entry| merkle::leaf_hash(&hex::decode(entry).unwrap()));
    assert_eq!(
        merkle::root(&leaves).to_string(),
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    );
}

#[test]
fn every_entry_of_every_tree_is_shown_to_be_there_and_nowhere_else() {
    for size in 1..=33 {
        let leaves = leaves(size);
        for index in 0..size {
            let proof = merkle::inclusion_proof(&leaves, index).unwrap();
            for claimed in 0..size + 2 {
                let shown = included(&leaves[index], claimed, &leaves, &proof);
                assert_eq!(shown, claimed == index, "{index} as {claimed} of {size}");
            }
        }
        assert_eq!(merkle::inclusion_proof(&leaves, size), None);
    }
}

#[test]
fn every_tree_is_shown_to_continue_each_of_its_beginnings() {
    for size in 0..=33 {
        let leaves = leaves(size);
        for old in 0..=size {
            let proof = merkle::consistency_proof(&leaves, old).unwrap();
            assert!(continues(&leaves[..old], &leaves, &proof), "{old} to {size}");
        }
        assert_eq!(merkle::consistency_proof(&leaves, size + 1), None);
    }
}

#[test]
fn a_ledger_that_became_shorter_is_told_from_one_that_was_changed() {
    let leaves = leaves(9);
    let root = merkle::root(&leaves);
    let shorter = merkle::verify_consistency(9, &root, 8, &merkle::root(&leaves[..8]), &[]);
    assert_eq!(shorter, Err(NoteError::RolledBack { remembered: 9, found: 8 }));
    let changed = merkle::verify_consistency(9, &root, 9, &digest("other"), &[]);
    assert_eq!(changed, Err(NoteError::ProofFails));
}

proptest! {
    #[test]
    fn no_changed_leaf_root_or_proof_passes_for_inclusion(size in 1_usize..70, index in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0_usize..256) {
        let leaves = leaves(size);
        let index = index.index(size);
        let proof = merkle::inclusion_proof(&leaves, index).unwrap();
        prop_assert!(included(&leaves[index], index, &leaves, &proof));
        prop_assert!(!included(&flipped(&leaves[index], bit), index, &leaves, &proof));
        let longer = [&proof[..], &[leaves[0]]].concat();
        prop_assert!(!included(&leaves[index], index, &leaves, &longer));
        if !proof.is_empty() {
            let mut altered = proof.clone();
            let at = at.index(proof.len());
            altered[at] = flipped(&altered[at], bit);
            prop_assert!(!included(&leaves[index], index, &leaves, &altered));
            prop_assert!(!included(&leaves[index], index, &leaves, &proof[1..]));
        }
    }

    #[test]
    fn no_rewritten_history_passes_for_a_continuation(size in 2_usize..70, old in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0_usize..256) {
        let genuine = leaves(size);
        let old = 1 + old.index(size - 1);
        let mut rewritten = genuine.clone();
        let at = at.index(old);
        rewritten[at] = flipped(&rewritten[at], bit);
        // The forger may choose the proof freely among those that an honest ledger would give.
        for tree in [&genuine, &rewritten] {
            let proof = merkle::consistency_proof(tree, old).unwrap();
            prop_assert!(!continues(&genuine[..old], &rewritten, &proof));
        }
    }

    #[test]
    fn no_changed_proof_shows_a_continuation(size in 2_usize..70, old in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0_usize..256) {
        let leaves = leaves(size);
        let old = 1 + old.index(size - 1);
        let proof = merkle::consistency_proof(&leaves, old).unwrap();
        let mut altered = proof.clone();
        let at = at.index(proof.len());
        altered[at] = flipped(&altered[at], bit);
        prop_assert!(!continues(&leaves[..old], &leaves, &altered));
        prop_assert!(!continues(&leaves[..old], &leaves, &proof[1..]));
        prop_assert!(!continues(&leaves[..old], &leaves, &[&proof[..], &[leaves[0]]].concat()));
    }

    #[test]
    fn no_numbers_make_a_verifier_panic_or_loop(index in any::<u64>(), size in any::<u64>(), hashes in 0_usize..70) {
        let proof = leaves(hashes);
        let one = digest("one");
        let _ = merkle::verify_inclusion(&one, index, size, &proof, &one);
        let _ = merkle::verify_consistency(index, &one, size, &one, &proof);
    }
}

fn note(size: usize) -> String {
    sign_checkpoint(&keys().ledger, ORIGIN, size as u64, merkle::root(&leaves(size))).unwrap()
}

#[test]
fn a_checkpoint_reads_back_under_its_ledgers_key_alone() {
    let expected = Checkpoint { origin: ORIGIN.into(), size: 5, root: merkle::root(&leaves(5)) };
    assert_eq!(verify_checkpoint(&note(5), &keys().ledger.public()), Ok(expected.clone()));
    assert_eq!(trusted().verify_checkpoint(&note(5), ORIGIN, NOW), Ok(expected));
    for key in [keys().auditor.public(), keys().stranger.public()] {
        assert!(matches!(verify_checkpoint(&note(5), &key), Err(NoteError::NotSigned { .. })));
    }
}

#[test]
fn the_checkpoint_of_another_ledger_or_under_an_expired_root_is_refused() {
    let code = |origin, now| trusted().verify_checkpoint(&note(5), origin, now).unwrap_err().code();
    assert_eq!(code("seal.internal/other", NOW), "note_wrong_origin");
    assert_eq!(code(ORIGIN, trusted().root().expires), "trust_root_expired");
    let forged = sign_checkpoint(&keys().auditor, ORIGIN, 5, digest("root")).unwrap();
    let refused = trusted().verify_checkpoint(&forged, ORIGIN, NOW).unwrap_err();
    assert_eq!(refused.code(), "note_not_signed");
}

#[test]
fn every_single_changed_byte_of_a_checkpoint_is_found() {
    let note = note(12).into_bytes();
    for position in 0..note.len() {
        for changed in (0..8).map(|bit| note[position] ^ (1 << bit)) {
            let mut altered = note.clone();
            altered[position] = changed;
            let Ok(altered) = String::from_utf8(altered) else { continue };
            assert!(verify_checkpoint(&altered, &keys().ledger.public()).is_err(), "{position}");
        }
    }
}

#[test]
fn a_cosigner_vouches_for_a_time_beside_the_ledgers_own_signature() {
    let (a, b) = (key(51), key(52));
    let cosigned = cosign(&a, "witness.a", &note(5), UnixSeconds(1_700_000_000)).unwrap();
    let cosigned = cosign(&b, "witness.b", &cosigned, UnixSeconds(1_700_000_001)).unwrap();
    assert!(verify_checkpoint(&cosigned, &keys().ledger.public()).is_ok());
    let seen = |name: &str, key: &PublicKey| verify_cosignature(&cosigned, name, key);
    assert_eq!(seen("witness.a", &a.public()), Ok(UnixSeconds(1_700_000_000)));
    assert_eq!(seen("witness.b", &b.public()), Ok(UnixSeconds(1_700_000_001)));
    assert!(seen("witness.a", &b.public()).is_err());
    assert!(seen("witness.c", &a.public()).is_err());
    assert!(seen(ORIGIN, &keys().ledger.public()).is_err(), "a log's line is no cosignature");
    let moved = cosigned.replace(&note(5), &note(6));
    assert!(verify_cosignature(&moved, "witness.a", &a.public()).is_err());
}

#[test]
fn names_that_would_break_the_format_are_refused() {
    let long = "n".repeat(256);
    for name in ["", "a b", "a+b", "a\nb", "a\u{a0}b", &long] {
        let refused = sign_checkpoint(&keys().ledger, name, 1, digest("root"));
        assert!(matches!(refused, Err(NoteError::Name { .. })), "{name:?}");
        assert!(cosign(&keys().ledger, name, &note(1), NOW).is_err());
        assert!(vkey(name, NoteAlgorithm::Log, &keys().ledger.public()).is_err());
    }
}

#[test]
fn a_vkey_reads_back_and_its_hash_is_checked() {
    for seed in 1..40 {
        let key = key(seed).public();
        for algorithm in [NoteAlgorithm::Log, NoteAlgorithm::Cosignature] {
            let text = vkey(ORIGIN, algorithm, &key).unwrap();
            assert_eq!(parse_vkey(&text), Ok((ORIGIN.to_owned(), algorithm, key)));
            assert!(parse_vkey(&text.replacen("seal", "sea1", 1)).is_err());
        }
    }
}

#[test]
fn a_proof_convinces_with_nothing_but_the_ledgers_key() {
    let leaves = leaves(11);
    let proof = |index: usize| LedgerProof {
        index: index as u64,
        path: merkle::inclusion_proof(&leaves, index).unwrap(),
        checkpoint: note(11),
    };
    let key = keys().ledger.public();
    for index in 0..11 {
        let read = LedgerProof::from_text(&proof(index).to_text()).unwrap();
        assert_eq!(read, proof(index));
        assert_eq!(read.verify(&entry(index), &key).unwrap().size, 11);
        assert_eq!(read.verify(&entry(index + 1), &key), Err(NoteError::ProofFails));
        assert!(read.verify(&entry(index), &keys().stranger.public()).is_err());
    }
    let single = LedgerProof { index: 0, path: vec![], checkpoint: note(1) };
    assert_eq!(LedgerProof::from_text(&single.to_text()), Ok(single));
}

#[test]
fn the_proofs_text_is_the_one_of_the_specification() {
    let proof =
        LedgerProof { index: 3, path: vec![Digest::from_bytes([0; 32])], checkpoint: "c".into() };
    let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(proof.to_text(), format!("c2sp.org/tlog-proof@v1\nindex 3\n{zeros}\n\nc"));
}

proptest! {
    #[test]
    fn no_text_panics_the_readers(text in "(?s).{0,200}", tail in "[ -~\n—]{0,120}") {
        let key = keys().ledger.public();
        let mixed = format!("{ORIGIN}\n5\n{tail}");
        let headed = format!("c2sp.org/tlog-proof@v1\nindex {tail}");
        for text in [&text, &mixed, &headed] {
            prop_assert!(verify_checkpoint(text, &key).is_err());
            prop_assert!(verify_cosignature(text, ORIGIN, &key).is_err());
            prop_assert!(parse_vkey(text).is_err());
            let proven = LedgerProof::from_text(text).and_then(|proof| proof.verify(b"", &key));
            prop_assert!(proven.is_err());
        }
    }
}
