//! Ed25519 public keys and their ids.
//!
//! **Invariant:** a [`PublicKey`] is neither weak nor written in a second encoding, so that equal
//! keys have equal bytes and no signature verifies for every message.

use std::fmt;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePublicKey, EncodePublicKey};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::Serialize;

use crate::canonical_json;
use crate::sha256;

/// `keytype` and `scheme` of every key.
pub(crate) const KEY_TYPE: &str = "ed25519";

/// An Ed25519 public key that may be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(VerifyingKey);

/// Bytes that are no usable public key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublicKeyError {
    /// Not a point, or a point in a second encoding.
    #[error("these 32 bytes are no Ed25519 public key")]
    NotAKey,
    /// A key of low order lets anyone sign anything.
    #[error("the key is weak (of low order): anyone could sign with it; make a new key")]
    Weak,
    /// Not the PEM of RFC 8410.
    #[error("no `PUBLIC KEY` PEM of an Ed25519 key (RFC 8410): {0}")]
    NotPem(String),
}

impl PublicKey {
    /// A key from its 32 bytes (RFC 8032).
    ///
    /// # Errors
    /// Bytes that are no point, a second encoding of a point, and weak keys.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, PublicKeyError> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| PublicKeyError::NotAKey)?;
        Self::checked(key)
    }

    /// A key from its SPKI PEM.
    ///
    /// # Errors
    /// Text that is no such PEM, and whatever [`Self::from_bytes`] refuses.
    pub fn from_pem(pem: &str) -> Result<Self, PublicKeyError> {
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|error| PublicKeyError::NotPem(error.to_string()))?;
        Self::checked(key)
    }

    fn checked(key: VerifyingKey) -> Result<Self, PublicKeyError> {
        if key.is_weak() {
            return Err(PublicKeyError::Weak);
        }
        if key.to_edwards().compress().as_bytes() != key.as_bytes() {
            return Err(PublicKeyError::NotAKey);
        }
        Ok(Self(key))
    }

    pub(crate) fn of(key: &ed25519_dalek::SigningKey) -> Self {
        Self(key.verifying_key())
    }

    /// The 32 raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// SPKI PEM, as OpenSSL reads it.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("an Ed25519 key always has a PEM form")
    }

    /// The key's name: SHA-256, in hex, of its canonical key object, as TUF and securesystemslib
    /// compute it. A hint for people and look-ups; only the raw key decides.
    pub fn keyid(&self) -> String {
        let object = KeyObject {
            keytype: KEY_TYPE,
            keyval: KeyValue { public: hex::encode(self.as_bytes()) },
            scheme: KEY_TYPE,
        };
        let bytes = canonical_json(&object).expect("three strings have canonical JSON");
        sha256(&bytes).to_string()
    }

    /// Whether `signature` is this key's over `message`, by the strict rules: no weak point, no
    /// second encoding of a signature.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).is_ok()
    }
}

#[derive(Serialize)]
struct KeyObject<'a> {
    keytype: &'a str,
    keyval: KeyValue,
    scheme: &'a str,
}

#[derive(Serialize)]
struct KeyValue {
    public: String,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn identity() -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0] = 1;
        bytes
    }

    #[test]
    fn a_weak_key_under_which_every_message_verifies_is_refused() {
        let weak = VerifyingKey::from_bytes(&identity()).unwrap();
        let mut forged = [0; 64];
        forged[..32].copy_from_slice(&identity());
        let forged = Signature::from_bytes(&forged);
        use ed25519_dalek::Verifier;
        assert!(weak.verify(b"anything", &forged).is_ok(), "the attack itself");
        assert!(weak.verify_strict(b"anything", &forged).is_err());
        assert_eq!(PublicKey::from_bytes(identity()), Err(PublicKeyError::Weak));
    }

    #[test]
    fn a_second_encoding_of_a_point_is_refused() {
        // y = p + k encodes the same point as y = k, for the few k that fit into 255 bits.
        let mut aliases = 0;
        for k in 2..19_u8 {
            let mut alias = [0xFF; 32];
            alias[0] = 0xED + k;
            alias[31] = 0x7F;
            if VerifyingKey::from_bytes(&alias).is_ok() {
                aliases += 1;
                assert_eq!(PublicKey::from_bytes(alias), Err(PublicKeyError::NotAKey));
            }
        }
        assert!(aliases > 0, "no alias was tried");
    }

    #[test]
    fn pem_round_trips_and_other_pems_are_refused() {
        let key = SigningKey::from_seed([3; 32]).public();
        assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
        assert!(
            PublicKey::from_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
                .is_err()
        );
        assert!(PublicKey::from_pem("").is_err());
    }

    #[test]
    fn the_keyid_is_the_one_of_securesystemslib() {
        // RFC 8032, test 1; the id was computed with Python's json and hashlib.
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .unwrap();
        let key = SigningKey::from_seed(seed.try_into().unwrap()).public();
        assert_eq!(
            hex::encode(key.as_bytes()),
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
        assert_eq!(key.keyid(), "74c181c7ad8a0855d4b55e44d2ba87aabdddb196832571f15f92fece332e4916");
    }
}
