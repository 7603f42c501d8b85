//! Signed notes: the text form of the ledger's claims, one signature per line.
//!
//! Source: C2SP signed-note. Read here: Ed25519 signatures of logs and of cosigners. Lines of
//! unknown signers are skipped, as the format demands.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::{PublicKey, SigningKey};

/// Longest note that is read, in bytes.
pub const MAX_NOTE_BYTES: usize = 64 << 10;

/// Why a checkpoint or a proof is not believed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// Not the format.
    #[error("the {what} is not in the C2SP text form: {reason}")]
    Malformed {
        /// Checkpoint, proof, key.
        what: &'static str,
        /// The first thing that is wrong.
        reason: &'static str,
    },
    /// A name that cannot stand in a note.
    #[error(
        "{name:?} cannot name a log or cosigner: use 1 to 255 characters without spaces, `+` and control characters"
    )]
    Name {
        /// As given, shortened.
        name: String,
    },
    /// No such signature.
    #[error(
        "the checkpoint has no signature of {name:?} under the expected key: it was changed, or another key signed it"
    )]
    NotSigned {
        /// The signer looked for, shortened.
        name: String,
    },
    /// The checkpoint of another log.
    #[error("the checkpoint is of log {found:?}, expected {expected:?}")]
    WrongOrigin {
        /// Expected, shortened.
        expected: String,
        /// As signed, shortened.
        found: String,
    },
    /// A proof that does not lead to the root.
    #[error(
        "the proof does not lead to the checkpoint's root: the entry is not in this ledger, or the ledger was rewritten"
    )]
    ProofFails,
    /// Two trees of one size.
    #[error(
        "the ledger with {size} entries is another one than was seen before: its history was rewritten, \
         or two copies of it are kept"
    )]
    Forked {
        /// Size of both.
        size: u64,
    },
    /// A ledger that became shorter: a restored backup or a rewritten history.
    #[error(
        "the ledger has {found} entries, {remembered} were seen before: it was rolled back, as by a \
         restored backup; bring the later state back, or acknowledge the loss with `seal ledger acknowledge`"
    )]
    RolledBack {
        /// Size seen before.
        remembered: u64,
        /// Size now.
        found: u64,
    },
}

impl NoteError {
    /// Stable name in snake case.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "note_malformed",
            Self::Name { .. } => "note_name_invalid",
            Self::NotSigned { .. } => "note_not_signed",
            Self::WrongOrigin { .. } => "note_wrong_origin",
            Self::ProofFails => "ledger_proof_fails",
            Self::Forked { .. } => "ledger_forked",
            Self::RolledBack { .. } => "ledger_rolled_back",
        }
    }
}

/// What a signature line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoteAlgorithm {
    /// A log signs its own checkpoint.
    Log,
    /// A cosigner says when it saw the checkpoint.
    Cosignature,
}

impl NoteAlgorithm {
    fn byte(self) -> u8 {
        match self {
            Self::Log => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Log, Self::Cosignature].into_iter().find(|one| one.byte() == byte)
    }
}

/// A note in its two parts; borrowed, unverified.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note<'a> {
    /// The signed text, with its last line end.
    pub(crate) text: &'a str,
    /// The lines below the empty one.
    signatures: &'a str,
}

impl<'a> Note<'a> {
    pub(crate) fn parse(note: &'a str) -> Result<Self, NoteError> {
        let malformed = |reason| NoteError::Malformed { what: "checkpoint", reason };
        if note.len() > MAX_NOTE_BYTES {
            return Err(malformed("longer than 64 KiB"));
        }
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(malformed("control characters"));
        }
        let split = note.rfind("\n\n").ok_or(malformed("no empty line before signatures"))?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let whole = !signatures.is_empty() && signatures.ends_with('\n');
        match whole && signatures.lines().all(|line| parse_line(line).is_some()) {
            true => Ok(Self { text, signatures }),
            false => Err(malformed("a line that is no signature")),
        }
    }

    /// Every signature line: its signer's name and the bytes behind it.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'a str, Vec<u8>)> {
        self.signatures.lines().filter_map(parse_line)
    }

    /// What `name`'s key put behind its id on its line: a log's signature, a cosigner's time and
    /// signature.
    pub(crate) fn signature_of(
        &self,
        name: &str,
        algorithm: NoteAlgorithm,
        key: &PublicKey,
    ) -> Option<Vec<u8>> {
        let id = key_hash(name, algorithm, key);
        let mut lines = self.signatures.lines().filter_map(parse_line);
        let (_, bytes) = lines.find(|(signer, bytes)| *signer == name && bytes[..4] == id)?;
        Some(bytes[4..].to_vec())
    }
}

/// Name and bytes of one signature line; at least an id and one byte.
fn parse_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, encoded) = line.strip_prefix("— ")?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded).ok()?;
    (check_name(name).is_ok() && bytes.len() > 4).then_some((name, bytes))
}

pub(crate) fn signature_line(
    name: &str,
    algorithm: NoteAlgorithm,
    key: &SigningKey,
    signature: &[u8],
) -> String {
    let id = key_hash(name, algorithm, &key.public());
    let encoded = STANDARD.encode([&id[..], signature].concat());
    format!("— {name} {encoded}\n")
}

pub(crate) fn check_name(name: &str) -> Result<(), NoteError> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    match name.is_empty() || name.chars().count() > 255 || name.contains(bad) {
        true => Err(NoteError::Name { name: crate::error::shortened(name) }),
        false => Ok(()),
    }
}

/// The 4 bytes by which a line names its key.
fn key_hash(name: &str, algorithm: NoteAlgorithm, key: &PublicKey) -> [u8; 4] {
    let mut hasher = Sha256::new();
    hasher.update(name);
    hasher.update([b'\n', algorithm.byte()]);
    hasher.update(key.as_bytes());
    let digest: [u8; 32] = hasher.finalize().into();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// A public key as C2SP tools take it: `name+hash+base64`.
///
/// # Errors
/// A name that cannot stand in a note.
pub fn vkey(name: &str, algorithm: NoteAlgorithm, key: &PublicKey) -> Result<String, NoteError> {
    check_name(name)?;
    let hash = hex::encode(key_hash(name, algorithm, key));
    let encoded = STANDARD.encode([&[algorithm.byte()], &key.as_bytes()[..]].concat());
    Ok(format!("{name}+{hash}+{encoded}"))
}

/// Reads what [`vkey`] wrote.
///
/// # Errors
/// Text of another form, an unknown algorithm, an unusable key, a hash that is not the key's.
pub fn parse_vkey(text: &str) -> Result<(String, NoteAlgorithm, PublicKey), NoteError> {
    let malformed = |reason| NoteError::Malformed { what: "vkey", reason };
    // The base64 may contain `+` itself.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(_), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed("not name+hash+key"));
    };
    let bytes = STANDARD.decode(encoded).map_err(|_| malformed("the key is not base64"))?;
    let (kind, raw) = bytes.split_first().ok_or(malformed("no key"))?;
    let algorithm = NoteAlgorithm::from_byte(*kind).ok_or(malformed("unknown algorithm"))?;
    let raw = raw.try_into().map_err(|_| malformed("the key has not 32 bytes"))?;
    let key = PublicKey::from_bytes(raw).map_err(|_| malformed("the key is unusable"))?;
    match vkey(name, algorithm, &key)? == text {
        true => Ok((name.to_owned(), algorithm, key)),
        false => Err(malformed("the hash is not the key's")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example key and note of the Go package `golang.org/x/mod/sumdb/note`, which defined the
    /// format.
    #[test]
    fn a_note_that_another_implementation_signed_verifies() {
        let (name, algorithm, key) =
            parse_vkey("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
                .unwrap();
        let note = "If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n\n\
            — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let parts = Note::parse(note).unwrap();
        let signature = parts.signature_of(&name, algorithm, &key).unwrap();
        assert!(key.verifies(parts.text.as_bytes(), &signature.try_into().unwrap()));
    }
}
