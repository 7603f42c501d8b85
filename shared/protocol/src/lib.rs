//! Everything that crosses a process boundary in SEAL, and nothing else.
//!
//! **Invariant:** no type here can carry τ, a retention item, a suite, a rule text or a key.
//! **Invariant:** no float is ever signed; numbers are integers with their unit in the name.
//! **Absent:** hashing, signatures, I/O. Bytes are verified in `seal-trust` before they are parsed
//! into these types.

mod api;
mod candidate;
mod digest;
mod envelope;
mod error;
mod judgement;
mod ledger;
mod promotion;
mod self_edit;
mod shown;
mod units;
mod verdict;

pub use api::*;
pub use candidate::*;
pub use digest::*;
pub use envelope::*;
pub use error::*;
pub use judgement::*;
pub use ledger::*;
pub use promotion::*;
pub use self_edit::*;
pub use shown::*;
pub use units::*;
pub use verdict::*;

/// Version of the wire format. A daemon refuses a peer that speaks another one.
pub const VERSION: u32 = 1;
