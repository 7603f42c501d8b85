//! The tree over the ledger's entries: one root for all of them, short proofs for one or for growth.
//!
//! **Invariant:** leaf and node hashes differ in their first byte, so that no inner node passes for
//! an entry.
//! **Absent:** storage; a ledger keeps its entries and passes their leaf hashes.
//!
//! Source: RFC 6962 §2.1; the verifiers follow RFC 9162 §2.1.3.2 and §2.1.4.2.

use seal_protocol::Digest;
use sha2::{Digest as _, Sha256};

use crate::{NoteError, sha256};

/// Hash of one entry.
pub fn leaf_hash(entry: &[u8]) -> Digest {
    prefixed(0x00, entry, &[])
}

fn node_hash(left: &Digest, right: &Digest) -> Digest {
    prefixed(0x01, left.as_bytes(), right.as_bytes())
}

fn prefixed(prefix: u8, left: &[u8], right: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update([prefix]);
    hasher.update(left);
    hasher.update(right);
    Digest::from_bytes(hasher.finalize().into())
}

/// Root of the tree over `leaves` (leaf hashes); of none: the hash of nothing.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: usize) -> usize {
    1 << (size - 1).ilog2()
}

/// The hashes that lead from leaf `index` to the root, nearest first; `None` beyond the end.
pub fn inclusion_proof(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    (index < leaves.len()).then(|| path(leaves, index))
}

fn path(leaves: &[Digest], index: usize) -> Vec<Digest> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut proof, sibling) = match index < middle {
        true => (path(left, index), root(right)),
        false => (path(right, index - middle), root(left)),
    };
    proof.push(sibling);
    proof
}

/// Checks that `leaf` is entry `index` of the tree of `size` entries with this `root`.
///
/// # Errors
/// `ProofFails` for anything else, a proof too long or too short included.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), NoteError> {
    if index >= size {
        return Err(NoteError::ProofFails);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(NoteError::ProofFails);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            (node, last) = climb_to_left_turn(node, last);
        } else {
            hash = node_hash(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    demand(last == 0 && hash == *root)
}

/// A node at the right edge without a sibling moves up until it has one to its left.
fn climb_to_left_turn(mut node: u64, mut last: u64) -> (u64, u64) {
    while node & 1 == 0 && node != 0 {
        (node, last) = (node >> 1, last >> 1);
    }
    (node, last)
}

/// The hashes that show that the first `old_size` leaves are the tree of that size and the
/// beginning of this one; `None` beyond the end. Empty for 0 and for the whole tree.
pub fn consistency_proof(leaves: &[Digest], old_size: usize) -> Option<Vec<Digest>> {
    match old_size {
        0 => Some(Vec::new()),
        _ => (old_size <= leaves.len()).then(|| subproof(leaves, old_size, true)),
    }
}

/// `whole`: the old tree's root is this subtree's root, which the verifier knows already.
fn subproof(leaves: &[Digest], old_size: usize, whole: bool) -> Vec<Digest> {
    if old_size == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    let (mut proof, sibling) = match old_size <= middle {
        true => (subproof(left, old_size, whole), root(right)),
        false => (subproof(right, old_size - middle, false), root(left)),
    };
    proof.push(sibling);
    proof
}

/// Checks that the tree of `size` entries continues the tree of `old_size` entries: nothing that was
/// in it was changed, moved or removed.
///
/// # Errors
/// `RolledBack` where it became shorter; `ProofFails` where the proof does not show it.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    size: u64,
    root: &Digest,
    proof: &[Digest],
) -> Result<(), NoteError> {
    match (old_size, size) {
        _ if old_size > size => Err(NoteError::RolledBack { remembered: old_size, found: size }),
        (0, _) => demand(proof.is_empty() && *old_root == sha256(&[])),
        _ if old_size == size => demand(proof.is_empty() && old_root == root),
        _ => verify_growth(old_size, old_root, size, root, proof),
    }
}

fn verify_growth(
    old_size: u64,
    old_root: &Digest,
    size: u64,
    root: &Digest,
    proof: &[Digest],
) -> Result<(), NoteError> {
    // A whole power of two is itself a node of the new tree, so its root starts the climb.
    let known = old_size.is_power_of_two().then_some(*old_root);
    let mut hashes = known.into_iter().chain(proof.iter().copied());
    let start = hashes.next().ok_or(NoteError::ProofFails)?;
    let (mut node, mut last) = (old_size - 1, size - 1);
    while node & 1 == 1 {
        (node, last) = (node >> 1, last >> 1);
    }
    let (mut old, mut new) = (start, start);
    for hash in hashes {
        if last == 0 {
            return Err(NoteError::ProofFails);
        }
        if node & 1 == 1 || node == last {
            (old, new) = (node_hash(&hash, &old), node_hash(&hash, &new));
            (node, last) = climb_to_left_turn(node, last);
        } else {
            new = node_hash(&new, &hash);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    demand(last == 0 && old == *old_root && new == *root)
}

fn demand(holds: bool) -> Result<(), NoteError> {
    match holds {
        true => Ok(()),
        false => Err(NoteError::ProofFails),
    }
}
