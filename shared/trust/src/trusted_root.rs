//! The trust root once its signatures are checked.
//!
//! **Invariant:** version N+1 is believed only when enough root keys of N **and** of N+1 signed it,
//! and no version is skipped. Every signature in the file must verify, so that no byte of it can
//! change unseen. Each key counts once, by its bytes.
//!
//! Source: the client workflow of The Update Framework.

use std::collections::BTreeMap;

use seal_protocol::{Digest, Envelope, Role, TRUST_ROOT_PAYLOAD_TYPE, UnixSeconds};

use crate::dsse::{Unverified, UnverifiedSignature};
use crate::error::shortened;
use crate::trust_root::KeyRing;
use crate::{CanonicalError, PublicKey, RootError, SigningKey, TrustRoot, VerifyError};
use crate::{canonical_json, dsse, sha256};

/// Longest trust root file that is read, in bytes.
pub const MAX_TRUST_ROOT_BYTES: usize = 256 << 10;

/// A trust root whose signatures and rules were checked.
#[derive(Clone, Debug)]
pub struct TrustedRoot {
    root: TrustRoot,
    file: Vec<u8>,
    digest: Digest,
    rings: BTreeMap<Role, KeyRing>,
}

/// Why a trust root cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignRootError {
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] RootError),
    /// It has no canonical JSON.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

/// Signs a trust root with root keys: its own, and its predecessor's where it has one.
///
/// # Errors
/// A trust root that breaks a rule. Whether enough keys signed is checked where it is opened.
pub fn sign_root(root: &TrustRoot, keys: &[&SigningKey]) -> Result<Envelope, SignRootError> {
    root.check()?;
    let payload = canonical_json(root)?;
    Ok(dsse::sign_payload(TRUST_ROOT_PAYLOAD_TYPE, &payload, keys))
}

impl TrustRoot {
    /// Opens a trust root file. The first one comes with a digest that its owner told the reader;
    /// later ones are installed with [`TrustedRoot::update`] and then pinned in turn.
    ///
    /// # Errors
    /// Another digest than `pinned`, a file that is not in canonical form, a broken rule, too few
    /// or wrong signatures of its own root keys, and an expired root. Without a pin every signature
    /// must be of one of its own root keys.
    pub fn open(
        file: &[u8],
        pinned: Option<Digest>,
        now: UnixSeconds,
    ) -> Result<TrustedRoot, VerifyError> {
        let trusted = TrustedRoot::opened(file, pinned)?;
        trusted.refuse_expired(now)?;
        Ok(trusted)
    }

    /// Opens a trust root that may have expired, so that its successor can be installed over it.
    /// An expired one verifies nothing.
    ///
    /// # Errors
    /// As [`Self::open`], but for the expiry.
    pub fn open_for_update(file: &[u8], pinned: Digest) -> Result<TrustedRoot, VerifyError> {
        TrustedRoot::opened(file, Some(pinned))
    }

    /// The version that a file says it is, **unverified**: to find the steps that lead to it.
    ///
    /// # Errors
    /// A file that is no trust root or breaks a rule.
    pub fn version_of(file: &[u8]) -> Result<u64, VerifyError> {
        TrustedRoot::read(file).map(|(trusted, _)| trusted.root.version)
    }
}

impl TrustedRoot {
    /// The document.
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// SHA-256 of the file's bytes: what a reader pins.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The file that was opened, to be kept and handed on.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// The number from which on a key's statements are void, where there is one.
    pub fn revoked_from(&self, key: &PublicKey) -> Option<u64> {
        let keyid = key.keyid();
        let about_key = self.root.revoked.iter().filter(|entry| entry.keyid == keyid);
        about_key.map(|entry| entry.from_sequence).min()
    }

    /// The public keys of a role; empty where it has none.
    pub fn keys(&self, role: Role) -> &[PublicKey] {
        self.rings.get(&role).map_or(&[], |ring| &ring.keys)
    }

    /// The role a key holds, for a daemon to check its own key at start.
    pub fn role_of(&self, key: &PublicKey) -> Option<Role> {
        let holder = self.rings.iter().find(|(_, ring)| ring.keys.contains(key));
        holder.map(|(role, _)| *role)
    }

    /// Opens the next version of this trust root. Keep the file before you use the result.
    ///
    /// This one may have expired meanwhile; the next one may not.
    ///
    /// # Errors
    /// Any version but the next, too few root keys of either version, a signature of anybody else,
    /// and whatever [`TrustRoot::open`] refuses.
    pub fn update(&self, next_file: &[u8], now: UnixSeconds) -> Result<TrustedRoot, VerifyError> {
        let next = self.successor(next_file)?;
        next.refuse_expired(now)?;
        Ok(next)
    }

    /// As [`Self::update`], for a version on the way to a newer one: it may have expired, and then
    /// verifies nothing.
    ///
    /// # Errors
    /// As [`Self::update`], but for the expiry.
    pub fn successor(&self, next_file: &[u8]) -> Result<TrustedRoot, VerifyError> {
        let (next, envelope) = Self::read(next_file)?;
        let (current, found) = (self.root.version, next.root.version);
        if current.checked_add(1) != Some(found) {
            Err(RootError::NotNext { current, found })?;
        }
        let parts = dsse::open(&envelope, TRUST_ROOT_PAYLOAD_TYPE)?;
        let known = [self.keys(Role::Root), next.keys(Role::Root)].concat();
        let signers = signers(&parts, &known, Strangers::Refuse)?;
        self.demand(&signers, found)?;
        next.demand(&signers, found)?;
        Ok(next)
    }

    /// Everything but the time.
    fn opened(file: &[u8], pinned: Option<Digest>) -> Result<Self, VerifyError> {
        let (trusted, envelope) = Self::read(file)?;
        let found = trusted.digest;
        match pinned {
            Some(pinned) if pinned != found => Err(RootError::NotPinned { pinned, found })?,
            _ => {}
        }
        let parts = dsse::open(&envelope, TRUST_ROOT_PAYLOAD_TYPE)?;
        let strangers = match pinned {
            Some(_) => Strangers::Skip,
            None => Strangers::Refuse,
        };
        let signers = signers(&parts, trusted.keys(Role::Root), strangers)?;
        trusted.demand(&signers, trusted.root.version)?;
        Ok(trusted)
    }

    /// Everything but signatures and time.
    fn read(file: &[u8]) -> Result<(Self, Envelope), VerifyError> {
        let envelope = dsse::read_envelope("trust root", file, MAX_TRUST_ROOT_BYTES)?;
        let parts = dsse::open(&envelope, TRUST_ROOT_PAYLOAD_TYPE)?;
        let root: TrustRoot = dsse::parse_canonical("trust root", &parts.payload)?;
        let rings = root.key_rings()?;
        let (digest, file) = (sha256(file), file.to_vec());
        Ok((Self { root, file, digest, rings }, envelope))
    }

    pub(crate) fn ring(&self, role: Role) -> &KeyRing {
        const NONE: &KeyRing = &KeyRing { keys: Vec::new(), threshold: usize::MAX };
        self.rings.get(&role).unwrap_or(NONE)
    }

    /// Whether it is still in force.
    ///
    /// # Errors
    /// `Expired` from its last moment on.
    pub fn refuse_expired(&self, now: UnixSeconds) -> Result<(), RootError> {
        let TrustRoot { version, expires, .. } = self.root;
        match now < expires {
            true => Ok(()),
            false => Err(RootError::Expired { version, expires }),
        }
    }

    /// Enough of this version's root keys are among the signers of version `offered`.
    fn demand(&self, signers: &[PublicKey], offered: u64) -> Result<(), RootError> {
        let ring = self.ring(Role::Root);
        let got = ring.keys.iter().filter(|key| signers.contains(key)).count();
        match got >= ring.threshold {
            true => Ok(()),
            false => Err(RootError::Threshold {
                version: self.root.version,
                offered,
                needed: ring.threshold,
                got,
            }),
        }
    }
}

/// What becomes of a signature of a key that is not known here.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Strangers {
    Refuse,
    /// The predecessor's keys; the pinned digest answers for their bytes.
    Skip,
}

pub(crate) fn signers(
    parts: &Unverified<'_>,
    known: &[PublicKey],
    strangers: Strangers,
) -> Result<Vec<PublicKey>, RootError> {
    if !parts.signatures.is_sorted_by(|one, next| one.hint < next.hint) {
        return Err(RootError::SignatureOrder);
    }
    let ids: Vec<_> = known.iter().map(|key| (key.keyid(), *key)).collect();
    let named = parts.signatures.iter().map(|signature| {
        let key = ids.iter().find(|(keyid, _)| keyid == signature.hint);
        (signature, key.map(|(_, key)| *key))
    });
    let kept = named.filter(|(_, key)| key.is_some() || strangers == Strangers::Refuse);
    kept.map(|(signature, key)| signer(signature, key, &parts.message)).collect()
}

fn signer(
    signature: &UnverifiedSignature<'_>,
    key: Option<PublicKey>,
    message: &[u8],
) -> Result<PublicKey, RootError> {
    key.filter(|key| key.verifies(message, &signature.bytes))
        .ok_or_else(|| RootError::BadSignature { hint: shortened(signature.hint) })
}
