//! The trust root as written: which key holds which role, what is pinned, which limits hold.
//!
//! Plain data and its rules. Nothing here is believed until `trusted_root` has checked signatures.

use std::collections::BTreeMap;

use seal_protocol::{Digest, EnforcementLevel, Micro, Role, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::public_key::KEY_TYPE;
use crate::{PublicKey, RootError};

/// `spec` of the only format there is.
pub const TRUST_ROOT_SPEC: &str = "1";

/// Who may say what. Signed by the root keys; see [`crate::TrustedRoot`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustRoot {
    /// 1, 2, 3, … without gaps.
    pub version: u64,
    /// From when on nothing is believed under it.
    pub expires: UnixSeconds,
    /// [`TRUST_ROOT_SPEC`].
    pub spec: String,
    /// Public keys by id.
    pub keys: BTreeMap<String, RootKey>,
    /// Which keys may speak for a role, and how many must.
    pub roles: BTreeMap<Role, RoleKeys>,
    /// The only artefacts a verdict may name; an empty list pins nothing.
    pub pins: Pins,
    /// Keys whose statements are void, all or from a number on.
    pub revoked: Vec<Revocation>,
    /// Numbers that the owner of the system sets.
    pub limits: Limits,
}

/// One public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKey {
    /// `ed25519`.
    pub keytype: String,
    /// `ed25519`.
    pub scheme: String,
    /// 32 bytes in lower-case hex.
    pub public: String,
}

/// The keys of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleKeys {
    /// Ids of entries of `keys`.
    pub keyids: Vec<String>,
    /// How many different keys must sign.
    pub threshold: usize,
}

/// Artefacts by digest. An empty list allows any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// Base models.
    pub base_models: Vec<Digest>,
    /// Gate settings and rules.
    pub policies: Vec<Digest>,
    /// Suites, by commitment. A promotion must have used every one of them.
    pub suites: Vec<Digest>,
    /// Executables of the auditor.
    pub evaluators: Vec<Digest>,
}

/// A key that lost its voice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The key.
    pub keyid: String,
    /// First void number; 0 voids all. Statements without a number are void altogether.
    pub from_sequence: u64,
}

/// Numbers that the owner of the system sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest life of a verdict, in seconds.
    pub verdict_ttl_s: u64,
    /// How far a verdict may be issued in the future, in seconds.
    pub max_clock_skew_s: u64,
    /// Attempts on one τ before it is spent.
    pub tau_query_budget: u64,
    /// Share of accepts that may be chance, in millionths.
    pub alpha_micro: Micro,
    /// Weakest confinement under which an auditor's verdict counts.
    pub min_enforcement: EnforcementLevel,
}

impl Default for Limits {
    /// A week, a minute of skew, 64 attempts, one in twenty, fully confined.
    fn default() -> Self {
        Self {
            verdict_ttl_s: 7 * 24 * 3600,
            max_clock_skew_s: 60,
            tau_query_budget: 64,
            alpha_micro: Micro(50_000),
            min_enforcement: EnforcementLevel::Full,
        }
    }
}

/// A role's keys, checked.
#[derive(Clone, Debug)]
pub(crate) struct KeyRing {
    pub(crate) keys: Vec<PublicKey>,
    pub(crate) threshold: usize,
}

impl TrustRoot {
    /// A first version without keys; add them with [`Self::with_key`].
    pub fn first(expires: UnixSeconds, limits: Limits) -> Self {
        Self {
            version: 1,
            expires,
            spec: TRUST_ROOT_SPEC.to_owned(),
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            pins: Pins::default(),
            revoked: Vec::new(),
            limits,
        }
    }

    /// Adds a key to a role. The role's threshold starts at 1.
    pub fn with_key(mut self, role: Role, key: &PublicKey) -> Self {
        let keyid = key.keyid();
        let empty = RoleKeys { keyids: Vec::new(), threshold: 1 };
        self.roles.entry(role).or_insert(empty).keyids.push(keyid.clone());
        self.keys.insert(keyid, RootKey::of(key));
        self
    }

    /// Sets how many keys of a role must sign.
    pub fn with_threshold(mut self, role: Role, threshold: usize) -> Self {
        if let Some(keys) = self.roles.get_mut(&role) {
            keys.threshold = threshold;
        }
        self
    }

    /// Pins the artefacts that verdicts may name.
    pub fn with_pins(mut self, pins: Pins) -> Self {
        self.pins = pins;
        self
    }

    /// The document that version N+1 starts from: the same, one version later.
    #[must_use]
    pub fn next(&self) -> Self {
        Self { version: self.version.saturating_add(1), ..self.clone() }
    }

    /// Takes a key out of its role. Its statements verify under earlier versions alone.
    #[must_use]
    pub fn without_key(mut self, keyid: &str) -> Self {
        for names in self.roles.values_mut() {
            names.keyids.retain(|named| named != keyid);
        }
        self.roles.retain(|_, names| !names.keyids.is_empty());
        self.keys.remove(keyid);
        self
    }

    /// Voids a key's statements from a number on; 0 voids all. A smaller number than one that stands
    /// replaces it, a larger one changes nothing: a voice that was lost does not come back.
    #[must_use]
    pub fn with_revocation(mut self, keyid: &str, from_sequence: u64) -> Self {
        match self.revoked.iter_mut().find(|entry| entry.keyid == keyid) {
            Some(entry) => entry.from_sequence = entry.from_sequence.min(from_sequence),
            None => self.revoked.push(Revocation { keyid: keyid.to_owned(), from_sequence }),
        }
        self
    }

    /// The role that a key id is listed under.
    pub fn role_of_keyid(&self, keyid: &str) -> Option<Role> {
        let mut roles = self.roles.iter();
        roles
            .find(|(_, names)| names.keyids.iter().any(|named| named == keyid))
            .map(|(role, _)| *role)
    }

    /// Checks every rule that needs no signature.
    ///
    /// # Errors
    /// The first rule that is broken, by name.
    pub fn check(&self) -> Result<(), RootError> {
        self.key_rings().map(drop)
    }

    /// Checks the whole document and hands out its keys by role.
    pub(crate) fn key_rings(&self) -> Result<BTreeMap<Role, KeyRing>, RootError> {
        self.check_head()?;
        self.limits.check()?;
        let keys = self.checked_keys()?;
        self.refuse_double_duty()?;
        self.refuse_revoked_root_keys()?;
        REQUIRED_ROLES.iter().try_for_each(|role| match self.roles.contains_key(role) {
            true => Ok(()),
            false => Err(RootError::MissingRole { role: *role }),
        })?;
        let rings = self.roles.iter().map(|(role, names)| {
            let ring = names.resolve(*role, &keys)?;
            Ok((*role, ring))
        });
        rings.collect()
    }

    fn check_head(&self) -> Result<(), RootError> {
        if self.spec != TRUST_ROOT_SPEC {
            return Err(RootError::Spec { found: crate::error::shortened(&self.spec) });
        }
        match self.version {
            0 => Err(RootError::VersionZero),
            _ => Ok(()),
        }
    }

    fn checked_keys(&self) -> Result<BTreeMap<&str, PublicKey>, RootError> {
        let checked =
            self.keys.iter().map(|(keyid, key)| Ok((keyid.as_str(), key.checked(keyid)?)));
        checked.collect()
    }

    fn refuse_double_duty(&self) -> Result<(), RootError> {
        let mut seen = std::collections::BTreeSet::new();
        let named = self.roles.values().flat_map(|role| &role.keyids);
        match named.into_iter().find(|keyid| !seen.insert(keyid.as_str())) {
            Some(keyid) => Err(RootError::KeyInTwoRoles { keyid: crate::error::shortened(keyid) }),
            None => Ok(()),
        }
    }

    fn refuse_revoked_root_keys(&self) -> Result<(), RootError> {
        let roots = self.roles.get(&Role::Root).map_or(&[][..], |role| &role.keyids);
        match self.revoked.iter().find(|revocation| roots.contains(&revocation.keyid)) {
            Some(Revocation { keyid, .. }) => {
                Err(RootError::RevokedRootKey { keyid: keyid.clone() })
            }
            None => Ok(()),
        }
    }
}

/// Without one of these no round can run.
const REQUIRED_ROLES: [Role; 5] =
    [Role::Root, Role::Teacher, Role::Student, Role::Auditor, Role::Ledger];

impl RootKey {
    fn of(key: &PublicKey) -> Self {
        Self {
            keytype: KEY_TYPE.to_owned(),
            scheme: KEY_TYPE.to_owned(),
            public: hex::encode(key.as_bytes()),
        }
    }

    fn checked(&self, keyid: &str) -> Result<PublicKey, RootError> {
        let entry = || RootError::KeyEntry { keyid: crate::error::shortened(keyid) };
        let mut bytes = [0; 32];
        hex::decode_to_slice(&self.public, &mut bytes).map_err(|_| entry())?;
        let key = PublicKey::from_bytes(bytes)
            .map_err(|source| RootError::Key { keyid: crate::error::shortened(keyid), source })?;
        match *self == Self::of(&key) && key.keyid() == keyid {
            true => Ok(key),
            false => Err(entry()),
        }
    }
}

impl RoleKeys {
    fn resolve(&self, role: Role, keys: &BTreeMap<&str, PublicKey>) -> Result<KeyRing, RootError> {
        let unknown =
            |keyid: &str| RootError::UnknownKey { role, keyid: crate::error::shortened(keyid) };
        let found = self.keyids.iter().map(|keyid| {
            let key = keys.get(keyid.as_str()).copied();
            key.ok_or_else(|| unknown(keyid))
        });
        let keys = found.collect::<Result<Vec<_>, _>>()?;
        // Only where several envelopes are compared with each other does a quorum mean something.
        let most = match role {
            Role::Root | Role::Auditor | Role::Witness => keys.len(),
            Role::Teacher | Role::Student | Role::Ledger | Role::Judge => keys.len().min(1),
        };
        match (1..=most).contains(&self.threshold) {
            true => Ok(KeyRing { keys, threshold: self.threshold }),
            false => {
                Err(RootError::BadThreshold { role, threshold: self.threshold, keys: keys.len() })
            }
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), RootError> {
        let refuse = |field, rule| Err(RootError::Limit { field, rule });
        match self {
            Self { verdict_ttl_s: 0, .. } => refuse("verdict_ttl_s", "at least 1 s"),
            Self { tau_query_budget: 0, .. } => refuse("tau_query_budget", "at least 1"),
            Self { alpha_micro: Micro(alpha), .. } if !(1..1_000_000).contains(alpha) => {
                refuse("alpha_micro", "1 to 999999")
            }
            _ => Ok(()),
        }
    }
}
