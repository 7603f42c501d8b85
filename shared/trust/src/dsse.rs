//! DSSE envelopes: what exactly is signed, and the one form an envelope has on disk.
//!
//! **Invariant:** what is parsed is what was verified: the decoded payload is kept beside the
//! signature and the envelope is not read again.
//! **Invariant:** a stored envelope has one form, so that a flip of any byte of it is found.
//!
//! Source: DSSE v1.0.2. Narrower than it: only standard base64 with padding is read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use seal_protocol::{
    Digest, Envelope, EnvelopeSignature, IN_TOTO_PAYLOAD_TYPE, Predicate, Statement,
};

use crate::error::shortened;
use crate::{CanonicalError, SigningKey, VerifyError, canonical_json, sha256};

/// Longest envelope that is read, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 1 << 20;

/// An envelope's content before anyone is believed.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    pub(crate) payload: Vec<u8>,
    /// The bytes that a signature covers.
    pub(crate) message: Vec<u8>,
    pub(crate) signatures: Vec<UnverifiedSignature<'a>>,
}

#[derive(Debug)]
pub(crate) struct UnverifiedSignature<'a> {
    pub(crate) hint: &'a str,
    pub(crate) bytes: [u8; 64],
}

/// Signs a statement; deterministic, so signing the same statement again yields the same bytes.
///
/// # Errors
/// Statements without canonical JSON, see [`canonical_json`].
pub fn sign_statement<P: Predicate>(
    key: &SigningKey,
    statement: &Statement<P>,
) -> Result<Envelope, CanonicalError> {
    let payload = canonical_json(statement)?;
    Ok(sign_payload(IN_TOTO_PAYLOAD_TYPE, &payload, &[key]))
}

pub(crate) fn sign_payload(kind: &str, payload: &[u8], keys: &[&SigningKey]) -> Envelope {
    let message = pre_authentication(kind, payload);
    let mut signatures: Vec<_> = keys.iter().map(|key| signature(key, &message)).collect();
    signatures.sort_by(|one, other| one.keyid.cmp(&other.keyid));
    Envelope { payload: STANDARD.encode(payload), payload_type: kind.to_owned(), signatures }
}

fn signature(key: &SigningKey, message: &[u8]) -> EnvelopeSignature {
    EnvelopeSignature { keyid: key.public().keyid(), sig: STANDARD.encode(key.sign(message)) }
}

/// The bytes that are signed: type and payload with their lengths, so that neither can pass for a
/// part of the other.
pub fn pre_authentication(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Decodes an envelope and checks everything that needs no key.
pub(crate) fn open<'a>(
    envelope: &'a Envelope,
    kind: &'static str,
) -> Result<Unverified<'a>, VerifyError> {
    refuse_long("envelope", envelope.payload.len(), MAX_ENVELOPE_BYTES)?;
    if envelope.payload_type != kind {
        let found = shortened(&envelope.payload_type);
        return Err(VerifyError::PayloadType { found, expected: kind });
    }
    let payload = payload_bytes(envelope)?;
    let signatures = envelope.signatures.iter().map(decoded).collect::<Result<_, _>>()?;
    let message = pre_authentication(kind, &payload);
    Ok(Unverified { payload, message, signatures })
}

fn decoded(signature: &EnvelopeSignature) -> Result<UnverifiedSignature<'_>, VerifyError> {
    let not_base64 = || VerifyError::NotBase64 { field: "sig" };
    refuse_long("signature", signature.sig.len(), 88)?;
    let bytes = STANDARD.decode(&signature.sig).map_err(|_| not_base64())?;
    Ok(UnverifiedSignature {
        hint: &signature.keyid,
        bytes: bytes.try_into().map_err(|_| not_base64())?,
    })
}

/// The payload, decoded and **unverified**.
///
/// # Errors
/// A payload that is not strict standard base64.
pub fn payload_bytes(envelope: &Envelope) -> Result<Vec<u8>, VerifyError> {
    STANDARD.decode(&envelope.payload).map_err(|_| VerifyError::NotBase64 { field: "payload" })
}

/// SHA-256 of the decoded payload, **unverified**: the id of every signed message.
///
/// # Errors
/// As [`payload_bytes`].
pub fn payload_digest(envelope: &Envelope) -> Result<Digest, VerifyError> {
    payload_bytes(envelope).map(|payload| sha256(&payload))
}

/// The envelope's one form on disk: canonical JSON without a final newline.
pub fn envelope_to_bytes(envelope: &Envelope) -> Vec<u8> {
    canonical_json(envelope).expect("an envelope of strings has canonical JSON")
}

/// Reads an envelope file. The signatures are still **unverified**.
///
/// # Errors
/// More than 1 MiB, no envelope, and bytes that [`envelope_to_bytes`] would not have written.
pub fn envelope_from_file_bytes(bytes: &[u8]) -> Result<Envelope, VerifyError> {
    read_envelope("envelope file", bytes, MAX_ENVELOPE_BYTES)
}

pub(crate) fn read_envelope(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<Envelope, VerifyError> {
    refuse_long(what, bytes.len(), limit)?;
    let envelope: Envelope = parse_json(what, bytes)?;
    if envelope_to_bytes(&envelope) != bytes {
        return Err(VerifyError::NotCanonical { what });
    }
    Ok(envelope)
}

/// Parses bytes into `T` and demands that they are `T`'s canonical JSON.
pub(crate) fn parse_canonical<T>(what: &'static str, bytes: &[u8]) -> Result<T, VerifyError>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let value: T = parse_json(what, bytes)?;
    match canonical_json(&value) {
        Ok(canonical) if canonical == bytes => Ok(value),
        _ => Err(VerifyError::NotCanonical { what }),
    }
}

pub(crate) fn parse_json<T>(what: &'static str, bytes: &[u8]) -> Result<T, VerifyError>
where
    T: serde::de::DeserializeOwned,
{
    serde_json::from_slice(bytes).map_err(|error| VerifyError::Malformed {
        what,
        reason: error.to_string().chars().take(300).collect(),
    })
}

pub(crate) fn refuse_long(
    what: &'static str,
    bytes: usize,
    limit: usize,
) -> Result<(), VerifyError> {
    match bytes > limit {
        true => Err(VerifyError::TooLarge { what, bytes, limit }),
        false => Ok(()),
    }
}
