//! A trust root that still collects signatures.
//!
//! Root keys lie offline, with different people. A draft is a file that goes from one to the next:
//! it has the form of a trust root file, only with too few signatures, and turns into the trust root
//! with the last one.
//!
//! **Invariant:** every signature in a draft verifies; nobody builds on a file that was altered on
//! its way.

use seal_protocol::{Envelope, Role, TRUST_ROOT_PAYLOAD_TYPE};

use crate::trusted_root::{Strangers, signers};
use crate::{
    MAX_TRUST_ROOT_BYTES, PublicKey, RootError, SignRootError, SigningKey, TrustRoot, TrustedRoot,
    VerifyError, dsse, envelope_to_bytes, sign_root,
};

/// A trust root on its way.
#[derive(Clone, Debug)]
pub struct RootDraft {
    root: TrustRoot,
    envelope: Envelope,
}

/// How far the signatures of one version's root keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Whose root keys are counted.
    pub version: u64,
    /// How many must sign.
    pub needed: usize,
    /// Ids of those that did.
    pub keyids: Vec<String>,
    /// Ids of those that may still.
    pub open: Vec<String>,
}

impl Signed {
    /// Enough did.
    pub fn is_enough(&self) -> bool {
        self.keyids.len() >= self.needed
    }
}

/// Why a draft is not read or signed.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The document or a signature.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// Not to be signed.
    #[error(transparent)]
    Sign(#[from] SignRootError),
    /// A later version is only signed beside the one before it.
    #[error("this is version {found}: show version {} beside it, so that its changes can be seen", .found - 1)]
    NoPredecessor {
        /// Version of the draft.
        found: u64,
    },
    /// A key that has no say.
    #[error("key {keyid} is no root key of this draft or of the version before it")]
    NoRootKey {
        /// The key.
        keyid: String,
    },
    /// Once is enough.
    #[error("key {keyid} has signed this draft already")]
    AlreadySigned {
        /// The key.
        keyid: String,
    },
}

impl RootDraft {
    /// A draft without signatures.
    ///
    /// # Errors
    /// A document that breaks a rule.
    pub fn new(root: &TrustRoot) -> Result<Self, DraftError> {
        Ok(Self { root: root.clone(), envelope: sign_root(root, &[])? })
    }

    /// Reads a draft that goes before `previous`'s successor, or before all others.
    ///
    /// # Errors
    /// A file that is no draft or breaks a rule, a version that does not follow `previous`, a later
    /// version without it, and any signature that does not verify.
    pub fn open(file: &[u8], previous: Option<&TrustedRoot>) -> Result<Self, DraftError> {
        let envelope = dsse::read_envelope("trust root draft", file, MAX_TRUST_ROOT_BYTES)?;
        let parts = dsse::open(&envelope, TRUST_ROOT_PAYLOAD_TYPE)?;
        let root: TrustRoot = dsse::parse_canonical("trust root draft", &parts.payload)?;
        root.check().map_err(VerifyError::from)?;
        check_follows(&root, previous)?;
        let draft = Self { root, envelope };
        draft.signers(previous)?;
        Ok(draft)
    }

    /// The document.
    pub fn root(&self) -> &TrustRoot {
        &self.root
    }

    /// Adds a root key's signature.
    ///
    /// # Errors
    /// A key that is no root key of the draft or of `previous`, and one that has signed.
    pub fn sign(
        &mut self,
        key: &SigningKey,
        previous: Option<&TrustedRoot>,
    ) -> Result<(), DraftError> {
        let (public, keyid) = (key.public(), key.public().keyid());
        if !self.known(previous)?.contains(&public) {
            return Err(DraftError::NoRootKey { keyid });
        }
        if self.envelope.signatures.iter().any(|signature| signature.keyid == keyid) {
            return Err(DraftError::AlreadySigned { keyid });
        }
        let signed = sign_root(&self.root, &[key])?;
        self.envelope.signatures.extend(signed.signatures);
        self.envelope.signatures.sort_by(|one, other| one.keyid.cmp(&other.keyid));
        Ok(())
    }

    /// How far the signatures are: of the version before, where there is one, and of its own.
    ///
    /// # Errors
    /// A signature that does not verify.
    pub fn standing(&self, previous: Option<&TrustedRoot>) -> Result<Vec<Signed>, DraftError> {
        let signers = self.signers(previous)?;
        let own = self.root.key_rings().map_err(VerifyError::from)?;
        let rings = previous
            .map(|root| (root.root().version, root.ring(Role::Root)))
            .into_iter()
            .chain(own.get(&Role::Root).map(|ring| (self.root.version, ring)));
        let standing = rings.map(|(version, ring)| {
            let (signed, open): (Vec<PublicKey>, Vec<_>) =
                ring.keys.iter().partition(|key| signers.contains(key));
            let ids = |keys: Vec<PublicKey>| keys.iter().map(PublicKey::keyid).collect();
            Signed { version, needed: ring.threshold, keyids: ids(signed), open: ids(open) }
        });
        Ok(standing.collect())
    }

    /// Whether it is a trust root by now.
    ///
    /// # Errors
    /// A signature that does not verify.
    pub fn is_complete(&self, previous: Option<&TrustedRoot>) -> Result<bool, DraftError> {
        Ok(self.standing(previous)?.iter().all(Signed::is_enough))
    }

    /// The file; the trust root's own once the draft is complete.
    pub fn to_bytes(&self) -> Vec<u8> {
        envelope_to_bytes(&self.envelope)
    }

    fn signers(&self, previous: Option<&TrustedRoot>) -> Result<Vec<PublicKey>, DraftError> {
        let parts = dsse::open(&self.envelope, TRUST_ROOT_PAYLOAD_TYPE)?;
        let signers = signers(&parts, &self.known(previous)?, Strangers::Refuse);
        Ok(signers.map_err(VerifyError::from)?)
    }

    fn known(&self, previous: Option<&TrustedRoot>) -> Result<Vec<PublicKey>, DraftError> {
        let own = self.root.key_rings().map_err(VerifyError::from)?;
        let own = own.get(&Role::Root).map_or(&[][..], |ring| &ring.keys);
        Ok([previous.map_or(&[][..], |root| root.keys(Role::Root)), own].concat())
    }
}

fn check_follows(root: &TrustRoot, previous: Option<&TrustedRoot>) -> Result<(), DraftError> {
    let found = root.version;
    match previous.map(|previous| previous.root().version) {
        None if found == 1 => Ok(()),
        None => Err(DraftError::NoPredecessor { found }),
        Some(current) if current.checked_add(1) == Some(found) => Ok(()),
        Some(current) => Err(VerifyError::from(RootError::NotNext { current, found }).into()),
    }
}
