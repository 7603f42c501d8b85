//! What a role remembers of others, so that nobody can show it two histories.
//!
//! **Invariant:** the trust root in force never goes back, and what is used was kept first.
//! **Invariant:** a ledger's head is compared and replaced in one transaction, and goes back only by
//! the operator's word.
//! **Absent:** checks of signatures and proofs (see `seal-trust`), and any judgement of content.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod heads;
mod own_key;
mod roots;
mod route;
#[cfg(feature = "test-util")]
pub mod testing;
mod witness;

pub use heads::{HEADS_FILE, Heads, HeadsError, Taken, Terms};
pub use own_key::{OwnKeyError, own_key};
pub use roots::{KEPT_FILE, RootInForceError, RootSource, predecessor_files, version_file};
pub use route::route;
pub use witness::{LedgerConfig, Witness};
