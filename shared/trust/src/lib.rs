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
mod hash;

pub use canonical::{CanonicalError, MAX_SAFE_INTEGER, canonical_json, digest_of};
pub use hash::{derive_seed, hmac_commitment, sha256, sha256_file};
