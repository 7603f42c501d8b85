//! From an envelope to a statement that may be believed.
//!
//! **Invariant:** [`Verified`] is built here alone, after every check.
//! **Absent:** what a particular verdict binds (see `verdict`), and whether it was used before (see
//! `seen`).

use seal_protocol::{
    Digest, Envelope, IN_TOTO_PAYLOAD_TYPE, Predicate, Role, STATEMENT_TYPE, Statement, UnixSeconds,
};
use serde::Deserialize;

use crate::dsse::{Unverified, UnverifiedSignature};
use crate::error::shortened;
use crate::{PublicKey, TrustedRoot, VerifyError, dsse, sha256};

/// A statement that a key of the right role signed, exactly as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified<P> {
    /// What was said.
    pub statement: Statement<P>,
    /// SHA-256 of the signed bytes: the message's id.
    pub payload_digest: Digest,
    /// Who said it.
    pub keyid: String,
}

impl TrustedRoot {
    /// Verifies a statement of kind `P` as of `now`.
    ///
    /// A verdict needs more before it has an effect: [`crate::check_verdict`].
    ///
    /// # Errors
    /// In this order: an expired root, a role whose quorum needs several envelopes, an overlong or
    /// malformed envelope, another payload type, not exactly one signature, a signature that no key
    /// of the role made, a changed label, a statement of another kind or shape, bytes that are not
    /// canonical, a revoked key.
    pub fn verify<P: Predicate>(
        &self,
        envelope: &Envelope,
        now: UnixSeconds,
    ) -> Result<Verified<P>, VerifyError> {
        self.demand_quorum(P::AUTHOR, 1)?;
        self.verify_one(envelope, now)
    }

    pub(crate) fn verify_one<P: Predicate>(
        &self,
        envelope: &Envelope,
        now: UnixSeconds,
    ) -> Result<Verified<P>, VerifyError> {
        self.refuse_expired(now)?;
        self.verify_record(envelope)
    }

    /// Everything but time and quorum: for records of what once was believed.
    pub(crate) fn verify_record<P: Predicate>(
        &self,
        envelope: &Envelope,
    ) -> Result<Verified<P>, VerifyError> {
        let parts = dsse::open(envelope, IN_TOTO_PAYLOAD_TYPE)?;
        let keyid = self.only_signer(P::AUTHOR, &parts)?;
        let statement = statement::<P>(&parts.payload)?;
        self.refuse_revoked(&keyid, statement.predicate.sequence())?;
        let payload_digest = sha256(&parts.payload);
        Ok(Verified { statement, payload_digest, keyid })
    }

    pub(crate) fn demand_quorum(&self, role: Role, got: usize) -> Result<(), VerifyError> {
        let needed = self.ring(role).threshold;
        match got >= needed {
            true => Ok(()),
            false => Err(VerifyError::QuorumNotMet { role, needed, got }),
        }
    }

    /// The id of the key of `role` that signed. Every key is tried: the label decides nothing, but
    /// it must be right, or a flipped byte in it would stay unseen.
    fn only_signer(&self, role: Role, parts: &Unverified<'_>) -> Result<String, VerifyError> {
        let [signature] = parts.signatures.as_slice() else {
            return Err(VerifyError::SignatureCount { found: parts.signatures.len() });
        };
        let signed = |key: &&PublicKey| key.verifies(&parts.message, &signature.bytes);
        let Some(key) = self.keys(role).iter().find(signed) else {
            return Err(self.no_signer(role, parts, signature));
        };
        match (key.keyid(), signature.hint) {
            (keyid, hint) if keyid == hint => Ok(keyid),
            (keyid, hint) => Err(VerifyError::KeyidMismatch { hint: shortened(hint), keyid }),
        }
    }

    /// Tells a stranger's or altered message from one that a key of another role signed.
    fn no_signer(
        &self,
        needed: Role,
        parts: &Unverified<'_>,
        signature: &UnverifiedSignature<'_>,
    ) -> VerifyError {
        let signed = |key: &&PublicKey| key.verifies(&parts.message, &signature.bytes);
        let others = self.root().roles.keys().filter(|role| **role != needed);
        let found = others
            .filter_map(|role| self.keys(*role).iter().find(signed).map(|key| (*role, key)))
            .next();
        match found {
            Some((found, key)) => VerifyError::WrongRole { keyid: key.keyid(), found, needed },
            None => VerifyError::BadSignature { role: needed, hint: shortened(signature.hint) },
        }
    }

    pub(crate) fn refuse_revoked(
        &self,
        keyid: &str,
        sequence: Option<u64>,
    ) -> Result<(), VerifyError> {
        let mut about_key = self.root().revoked.iter().filter(|entry| entry.keyid == keyid);
        let reaches = |from: u64| sequence.is_none_or(|sequence| sequence >= from);
        match about_key.find(|entry| reaches(entry.from_sequence)) {
            Some(entry) => Err(VerifyError::Revoked {
                keyid: keyid.to_owned(),
                from_sequence: entry.from_sequence,
            }),
            None => Ok(()),
        }
    }
}

/// What kind of statement it claims to be; read first, so that the refusal says so.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "_type")]
    statement_type: String,
    #[serde(rename = "predicateType")]
    predicate_type: String,
}

fn statement<P: Predicate>(payload: &[u8]) -> Result<Statement<P>, VerifyError> {
    let kind: Kind = dsse::parse_json("statement", payload)?;
    demand_type(&kind.statement_type, STATEMENT_TYPE)?;
    demand_type(&kind.predicate_type, P::TYPE)?;
    dsse::parse_canonical("statement", payload)
}

fn demand_type(found: &str, expected: &'static str) -> Result<(), VerifyError> {
    match found == expected {
        true => Ok(()),
        false => Err(VerifyError::WrongType { found: shortened(found), expected }),
    }
}
