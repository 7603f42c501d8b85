//! The HTTP client: it knows one host and its pinned addresses, and does nothing on its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::dns::{Name, Resolve, Resolving};
use reqwest::{Certificate, Client, redirect, retry};

use super::pin::Pinned;

const USER_AGENT: &str = concat!("seal/", env!("CARGO_PKG_VERSION"));

/// A client that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificates to trust.
    #[error("cannot use the certificates `{}`: {reason}; set `ca_file` under [egress] to a PEM file", path.display())]
    Certificates {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The TLS stack.
    #[error("cannot build the HTTP client: {0}")]
    Build(reqwest::Error),
}

/// How long a client waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    /// For a connection.
    pub(crate) connect: Duration,
    /// For the next bytes of an answer.
    pub(crate) read: Duration,
}

/// Builds the client. Certificates are read here, which only works before confinement.
///
/// # Errors
/// Certificates or TLS that cannot be used.
pub(crate) fn client(
    pinned: &Pinned,
    ca_file: Option<&Path>,
    waits: Waits,
) -> Result<Client, ClientError> {
    let builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        // Repeats are ours to decide, since each is recorded.
        .retry(retry::never())
        .referer(false)
        .https_only(pinned.tls)
        .http1_only()
        .user_agent(USER_AGENT)
        .dns_resolver(NoNames)
        .resolve_to_addrs(&pinned.host, &pinned.addresses)
        .connect_timeout(waits.connect)
        .read_timeout(waits.read);
    let builder = match ca_file {
        Some(path) => builder.tls_certs_only(certificates(path)?),
        None => builder,
    };
    builder.build().map_err(ClientError::Build)
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, ClientError> {
    let wrong = |reason: String| ClientError::Certificates { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
    match found.is_empty() {
        true => Err(wrong("it holds no certificate".to_owned())),
        false => Ok(found),
    }
}

/// Resolves no name: the pinned one never comes here.
struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, _: Name) -> Resolving {
        Box::pin(async { Err("only the pinned host is reached".into()) })
    }
}
