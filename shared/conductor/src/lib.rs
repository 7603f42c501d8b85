//! The round: which messages go where, in which order, and where a killed run goes on.
//!
//! The conductor is trusted by no one. It holds no key and no trust root, carries signed messages
//! and adapter bytes between the three daemons and can at worst stop the work.

pub mod client;
pub mod driver;
pub mod ledger;
pub mod messages;
pub mod outcome;
pub mod plan;
pub mod store;
