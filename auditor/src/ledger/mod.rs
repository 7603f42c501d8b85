//! The ledger: every attempt, in order, under a signed checkpoint.
//!
//! Rows are canonical JSON in SQLite; an RFC 6962 tree over them is the commitment; a checkpoint
//! signed by the ledger's key is the claim.
//!
//! **Invariant:** reply, rows, verdict, sequence number and checkpoint of a group are one transaction.
//! **Invariant:** a row is never changed or removed; a ledger whose rows do not yield its checkpoint
//! is not opened.
//! **Absent:** deciding what a row says.

mod asked;
mod error;
mod group;
mod known;
mod opening;
mod schema;
mod shown;
mod store;
mod view;
mod writing;

pub(crate) use asked::Asked;
pub use asked::Used;
pub use error::LedgerError;
pub use group::{Artefact, ArtefactKind, Head, InForce, NewGroup};
pub use known::MeasuredAdapter;
pub use shown::LedgerDesk;
pub(crate) use shown::show;
pub use store::{Ledger, LedgerKey};
pub use view::{CHECKPOINT_FILE, LEDGER_FILE, file_of, proof_file};

#[cfg(test)]
mod tests;
