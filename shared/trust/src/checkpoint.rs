//! The ledger's claim: so many entries, with this root, signed by the ledger's key.
//!
//! Source: C2SP tlog-checkpoint. Narrower than it: no extension lines, and the signer's name is the
//! origin.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use seal_protocol::{Digest, Role, UnixSeconds};

use crate::error::shortened;
use crate::note::{Note, NoteAlgorithm, check_name, signature_line};
use crate::{NoteError, PublicKey, SigningKey, TrustedRoot, VerifyError};

/// What a ledger claims about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The ledger's name.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// The root of the tree over them, see [`crate::merkle`].
    pub root: Digest,
}

impl Checkpoint {
    /// The text that is signed.
    pub(crate) fn to_text(&self) -> String {
        let root = STANDARD.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Reads the signed text; only what [`Self::to_text`] writes.
    pub(crate) fn from_text(text: &str) -> Result<Self, NoteError> {
        let malformed = |reason| NoteError::Malformed { what: "checkpoint", reason };
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(malformed("not three lines of origin, size and root"));
        };
        let size = size.parse().map_err(|_| malformed("the size is no number"))?;
        let root =
            digest_from_base64(root).ok_or(malformed("the root is no base64 of 32 bytes"))?;
        let checkpoint = Self { origin: origin.to_owned(), size, root };
        match checkpoint.to_text() == text {
            true => Ok(checkpoint),
            false => Err(malformed("not the one way to write it")),
        }
    }
}

pub(crate) fn digest_from_base64(text: &str) -> Option<Digest> {
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Digest::from_bytes(bytes))
}

/// Signs a ledger's claim and returns the note.
///
/// # Errors
/// An origin that cannot stand in a note.
pub fn sign_checkpoint(
    key: &SigningKey,
    origin: &str,
    size: u64,
    root: Digest,
) -> Result<String, NoteError> {
    check_name(origin)?;
    let text = Checkpoint { origin: origin.to_owned(), size, root }.to_text();
    let line = signature_line(origin, NoteAlgorithm::Log, key, &key.sign(text.as_bytes()));
    Ok(format!("{text}\n{line}"))
}

/// Verifies a note under the ledger's key.
///
/// # Errors
/// Another form, and no valid signature of the origin under `key`. Whether it is the ledger that was
/// meant is for the caller to compare, or see [`TrustedRoot::verify_checkpoint`].
pub fn verify_checkpoint(note: &str, key: &PublicKey) -> Result<Checkpoint, NoteError> {
    let parts = Note::parse(note)?;
    let checkpoint = Checkpoint::from_text(parts.text)?;
    let signature = parts.signature_of(&checkpoint.origin, NoteAlgorithm::Log, key);
    let signature = signature.and_then(|bytes| bytes.try_into().ok());
    match signature.is_some_and(|bytes| key.verifies(parts.text.as_bytes(), &bytes)) {
        true => Ok(checkpoint),
        false => Err(NoteError::NotSigned { name: shortened(&checkpoint.origin) }),
    }
}

impl TrustedRoot {
    /// Verifies a note under the trust root's ledger keys and compares its origin.
    ///
    /// # Errors
    /// An expired root, a note that no ledger key signed, and a note of another ledger.
    pub fn verify_checkpoint(
        &self,
        note: &str,
        origin: &str,
        now: UnixSeconds,
    ) -> Result<Checkpoint, VerifyError> {
        self.refuse_expired(now)?;
        self.verify_recorded_checkpoint(note, origin)
    }

    /// Everything but the time.
    pub(crate) fn verify_recorded_checkpoint(
        &self,
        note: &str,
        origin: &str,
    ) -> Result<Checkpoint, VerifyError> {
        let tried = self.keys(Role::Ledger).iter().map(|key| verify_checkpoint(note, key));
        let verdict = tried.reduce(|one, next| one.or(next));
        let not_signed = || NoteError::NotSigned { name: shortened(origin) };
        let checkpoint = verdict.ok_or_else(not_signed)??;
        match checkpoint.origin == origin {
            true => Ok(checkpoint),
            false => Err(NoteError::WrongOrigin {
                expected: shortened(origin),
                found: shortened(&checkpoint.origin),
            })?,
        }
    }
}

/// A cosigner's line under a note: "I saw this checkpoint at that time, and nothing that contradicts
/// it." Check consistency with the last one seen before you cosign.
///
/// # Errors
/// A note of another form, a name that cannot stand in it.
pub fn cosignature(
    key: &SigningKey,
    name: &str,
    note: &str,
    at: UnixSeconds,
) -> Result<String, NoteError> {
    check_name(name)?;
    let parts = Note::parse(note)?;
    Checkpoint::from_text(parts.text)?;
    let signature = key.sign(cosigned_message(parts.text, at).as_bytes());
    let bytes = [&at.0.to_be_bytes()[..], &signature].concat();
    Ok(signature_line(name, NoteAlgorithm::Cosignature, key, &bytes))
}

/// The note with a cosigner's line under it, see [`cosignature`].
///
/// # Errors
/// As [`cosignature`].
pub fn cosign(
    key: &SigningKey,
    name: &str,
    note: &str,
    at: UnixSeconds,
) -> Result<String, NoteError> {
    Ok(format!("{note}{}", cosignature(key, name, note, at)?))
}

/// When `name` saw this checkpoint.
///
/// # Errors
/// Another form, and no valid cosignature of `name` under `key`.
pub fn verify_cosignature(
    note: &str,
    name: &str,
    key: &PublicKey,
) -> Result<UnixSeconds, NoteError> {
    let not_signed = || NoteError::NotSigned { name: shortened(name) };
    let parts = Note::parse(note)?;
    Checkpoint::from_text(parts.text)?;
    let bytes = parts.signature_of(name, NoteAlgorithm::Cosignature, key).ok_or_else(not_signed)?;
    cosigned_at(parts.text, &bytes, key).ok_or_else(not_signed)
}

/// The time that a cosignature's bytes vouch for, if they are `key`'s over `text`.
pub(crate) fn cosigned_at(text: &str, bytes: &[u8], key: &PublicKey) -> Option<UnixSeconds> {
    let (time, signature) = bytes.split_first_chunk::<8>()?;
    let signature: [u8; 64] = signature.try_into().ok()?;
    let at = UnixSeconds(u64::from_be_bytes(*time));
    key.verifies(cosigned_message(text, at).as_bytes(), &signature).then_some(at)
}

fn cosigned_message(text: &str, at: UnixSeconds) -> String {
    format!("cosignature/v1\ntime {}\n{text}", at.0)
}
