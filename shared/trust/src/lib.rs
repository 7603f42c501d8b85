//! Who may say what, and how anyone can check that they said it.
//!
//! Keys, signed statements (DSSE over in-toto Statements), the trust root that says which key holds
//! which role, the checks a verdict must pass before it has an effect, and the proofs of the
//! auditor's ledger (RFC 6962 tree, C2SP checkpoint).
//!
//! **Invariant:** a [`Verified`] value exists only after every check of its message passed.
//! **Invariant:** no input from a peer can panic this crate.
//! **Absent:** storage, clocks, network. The caller passes the time and keeps what must be kept.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod canonical;
mod changes;
mod checkpoint;
mod draft;
mod dsse;
mod error;
mod hash;
mod head;
pub mod merkle;
mod note;
mod proof;
mod public_key;
mod root_chain;
mod root_error;
mod seen;
mod signing_key;
mod time;
mod trust_root;
mod trusted_root;
mod verdict;
mod verdict_error;
mod verify;
mod witnessed;

pub use canonical::{CanonicalError, MAX_SAFE_INTEGER, canonical_json, digest_of};
pub use changes::{Change, changes};
pub use checkpoint::{
    Checkpoint, cosign, cosignature, sign_checkpoint, verify_checkpoint, verify_cosignature,
};
pub use draft::{DraftError, RootDraft, Signed};
pub use dsse::{
    MAX_ENVELOPE_BYTES, envelope_from_file_bytes, envelope_to_bytes, payload_bytes, payload_digest,
    pre_authentication, sign_statement,
};
pub use error::VerifyError;
pub use hash::{derive_seed, hmac_commitment, sha256, sha256_file};
pub use head::SeenHead;
pub use note::{MAX_NOTE_BYTES, NoteAlgorithm, NoteError, parse_vkey, vkey};
pub use proof::LedgerProof;
pub use public_key::{PublicKey, PublicKeyError};
pub use root_chain::RootChain;
pub use root_error::RootError;
pub use seen::SeenVerdicts;
pub use signing_key::{KeyError, SigningKey};
pub use trust_root::{Limits, Pins, Revocation, RoleKeys, RootKey, TRUST_ROOT_SPEC, TrustRoot};
pub use trusted_root::{MAX_TRUST_ROOT_BYTES, SignRootError, TrustedRoot, sign_root};
pub use verdict::{
    Expectation, check_binding, check_verdict, check_verdict_quorum, check_verdicts,
};
pub use verdict_error::VerdictError;
pub use verify::Verified;
pub use witnessed::{Witnessed, with_lines};
