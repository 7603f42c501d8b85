//! Mutual TLS between hosts: TLS 1.3 alone, one named CA, the role in the certificate.
//!
//! **Invariant:** a chain to the CA is not enough. Each side maps the other's certificate to a role
//! ([`Identity`]): a daemon asks the table of `http::access` for every route, a client demands the role
//! that it means to call.
//! **Invariant:** no file of the system takes part: no system roots, no proxies, no process-wide
//! crypto provider, no resumed sessions, so that each connection is judged by the certificate it shows.
//! **Absent:** revocation lists. A certificate lives for days or weeks; a stolen one ends with the CA
//! that issued it, which is private to one deployment.

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
