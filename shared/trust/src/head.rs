//! The last that was seen of a ledger, and what may come after it.
//!
//! **Absent:** storage. Whoever remembers heads compares and stores in one transaction: between two,
//! an attacker could show one history to one request and another to the next.

use seal_protocol::Digest;

use crate::{Checkpoint, NoteError, merkle};

/// Size and root of a ledger, as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenHead {
    /// Its entries.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

impl SeenHead {
    /// What a checkpoint says.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        Self { size: checkpoint.size, root: checkpoint.root }
    }

    /// The head after this one, if `checkpoint`'s tree continues the tree that was seen.
    ///
    /// # Errors
    /// `RolledBack` where it is shorter, `Forked` where it is another one of the same size,
    /// `ProofFails` where nothing shows that it continues.
    pub fn advanced(
        &self,
        checkpoint: &Checkpoint,
        consistency: &[Digest],
    ) -> Result<Self, NoteError> {
        let next = Self::of(checkpoint);
        if next.size == self.size && next.root != self.root {
            return Err(NoteError::Forked { size: self.size });
        }
        merkle::verify_consistency(self.size, &self.root, next.size, &next.root, consistency)?;
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(names: &[&str]) -> Vec<Digest> {
        names.iter().map(|name| merkle::leaf_hash(name.as_bytes())).collect()
    }

    fn checkpoint(leaves: &[Digest]) -> Checkpoint {
        Checkpoint {
            origin: "log".to_owned(),
            size: leaves.len() as u64,
            root: merkle::root(leaves),
        }
    }

    #[test]
    fn a_head_advances_with_a_ledger_that_grew_and_with_no_other() {
        let long = tree(&["a", "b", "c", "d", "e"]);
        let seen = SeenHead::of(&checkpoint(&long[..3]));
        let proof = merkle::consistency_proof(&long, 3).unwrap();
        assert_eq!(seen.advanced(&checkpoint(&long), &proof), Ok(SeenHead::of(&checkpoint(&long))));
        assert_eq!(seen.advanced(&checkpoint(&long[..3]), &[]), Ok(seen));
        let shorter = seen.advanced(&checkpoint(&long[..2]), &[]);
        assert_eq!(shorter, Err(NoteError::RolledBack { remembered: 3, found: 2 }));
        let other = tree(&["a", "x", "c", "d", "e"]);
        let forked = seen.advanced(&checkpoint(&other[..3]), &[]);
        assert_eq!(forked, Err(NoteError::Forked { size: 3 }));
        let proof = merkle::consistency_proof(&other, 3).unwrap();
        assert_eq!(seen.advanced(&checkpoint(&other), &proof), Err(NoteError::ProofFails));
    }
}
