//! Mutual TLS between hosts: TLS 1.3 alone, one named CA, the role in the certificate.
//!
//! **Invariant:** a chain to the CA is not enough. Each side maps the other's certificate to a role
//! ([`Identity`]): a daemon asks the table of `http::access` for every route, a client demands the role
//! that it means to call.
//! **Invariant:** no file of the system takes part: no system roots, no proxies, no process-wide
//! crypto provider, no resumed sessions, so that each connection is judged by the certificate it shows.
//! **Invariant:** where revocation lists are named, who is on one gets no word, and nobody does whose
//! CA has no list or one that has expired.
//! **Absent:** fetching lists, and reading them again while a daemon runs.

mod client;
mod config;
mod explain;
mod identity;
mod material;
mod server;
#[cfg(test)]
pub(crate) mod testing;

pub use client::{Connected, TlsCallError, TlsClient};
pub use config::TlsConfig;
pub use explain::{explain, in_chain};
pub use identity::{Identity, IdentityError, Party};
pub use material::TlsError;
pub(crate) use server::TlsServer;
