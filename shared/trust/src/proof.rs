//! A portable proof that an entry is in the ledger: index, path and checkpoint in one text.
//!
//! Source: C2SP tlog-proof.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use seal_protocol::Digest;

use crate::checkpoint::digest_from_base64;
use crate::note::MAX_NOTE_BYTES;
use crate::{Checkpoint, NoteError, PublicKey, merkle, verify_checkpoint};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof as read; **unverified** until [`LedgerProof::verify`] says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerProof {
    /// Number of the entry.
    pub index: u64,
    /// From the leaf's sibling up, see [`merkle::inclusion_proof`].
    pub path: Vec<Digest>,
    /// The note, with its cosignatures.
    pub checkpoint: String,
}

impl LedgerProof {
    /// The proof's text form, to be kept in a file `.tlog-proof`.
    pub fn to_text(&self) -> String {
        let lines = self.path.iter().map(|hash| STANDARD.encode(hash.as_bytes()) + "\n");
        let path: String = lines.collect();
        format!("{HEADER}\nindex {}\n{path}\n{}", self.index, self.checkpoint)
    }

    /// Reads the text form. Extra data is not used by us and is refused.
    ///
    /// # Errors
    /// Any other text than [`Self::to_text`] writes.
    pub fn from_text(text: &str) -> Result<Self, NoteError> {
        let malformed = |reason| NoteError::Malformed { what: "proof", reason };
        if text.len() > MAX_NOTE_BYTES {
            return Err(malformed("longer than 64 KiB"));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(malformed("no empty line"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(malformed("the first line is not the format's name"));
        }
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(|number| number.parse().ok()).ok_or(malformed("no index"))?;
        let path: Option<Vec<_>> = lines.map(digest_from_base64).collect();
        let path = path.ok_or(malformed("a path line is no base64 of 32 bytes"))?;
        let proof = Self { index, path, checkpoint: checkpoint.to_owned() };
        match proof.to_text() == text {
            true => Ok(proof),
            false => Err(malformed("not the one way to write it")),
        }
    }

    /// Verifies that `entry` stands at `index` in the ledger whose key is `key`, and returns the
    /// checkpoint that says so.
    ///
    /// # Errors
    /// A checkpoint that `key` did not sign, and a path that does not lead to its root.
    pub fn verify(&self, entry: &[u8], key: &PublicKey) -> Result<Checkpoint, NoteError> {
        let checkpoint = verify_checkpoint(&self.checkpoint, key)?;
        let leaf = merkle::leaf_hash(entry);
        merkle::verify_inclusion(&leaf, self.index, checkpoint.size, &self.path, &checkpoint.root)?;
        Ok(checkpoint)
    }
}
