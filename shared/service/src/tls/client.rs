//! The caller's end: connects, demands the role it means to call, and gives up in time.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::version::TLS13;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::config::TlsConfig;
use super::explain::{explain, in_chain};
use super::identity::{Identity, Party};
use super::material::{End, Material, TlsError, provider};
use super::server::ALPN;
use crate::endpoint::HostPort;

/// Longest time until a TCP connection stands.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest time until the handshake is done.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A connection to a daemon of the role that was asked for.
pub type Connected = tokio_rustls::client::TlsStream<TcpStream>;

/// Certificates of a caller.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    trust_domain: Arc<str>,
    identity: Identity,
}

/// Why no connection stands.
#[derive(Debug, thiserror::Error)]
pub enum TlsCallError {
    /// Nobody there, or no way to it.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// Not in time.
    #[error("no {what} within {} s", limit.as_secs())]
    Late {
        /// Connection or handshake.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// One end refused the other.
    #[error("{0}")]
    Handshake(String),
    /// The right CA and the wrong daemon.
    #[error("the {found} answers there and not the {expected}; correct the endpoint")]
    OtherParty {
        /// Who was called.
        expected: Party,
        /// Who answers.
        found: Party,
    },
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsClient({})", self.identity)
    }
}

impl TlsClient {
    /// Reads the certificates of a caller, who must be one of `parties`.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn read(config: &TlsConfig, parties: &[Party]) -> Result<Self, TlsError> {
        let material = Material::read(config, parties, End::Client, UnixTime::now())?;
        let daemons = WebPkiServerVerifier::builder_with_provider(material.roots, provider());
        let daemons = daemons
            .with_crls(material.lists)
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| TlsError::Library(rustls::Error::General(error.to_string())))?;
        let client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Library)?
            .with_webpki_verifier(daemons)
            .with_client_auth_cert(material.chain, material.key);
        let mut client = client.map_err(TlsError::Library)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        let trust_domain = material.trust_domain.into();
        Ok(Self { config: Arc::new(client), trust_domain, identity: material.identity })
    }

    /// Who we are to the other end.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Connects to the daemon `expected` at `to`. With TLS 1.3 the other end may still refuse our
    /// certificate afterwards; the first read tells.
    ///
    /// # Errors
    /// See [`TlsCallError`].
    pub async fn connect(&self, to: &HostPort, expected: Party) -> Result<Connected, TlsCallError> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect((to.host(), to.port())));
        let stream = stream
            .await
            .map_err(|_| TlsCallError::Late { what: "connection", limit: CONNECT_LIMIT })?
            .map_err(TlsCallError::Connect)?;
        stream.set_nodelay(true).map_err(TlsCallError::Connect)?;
        let name = ServerName::try_from(to.host().to_owned());
        let name = name.map_err(|error| TlsCallError::Handshake(error.to_string()))?;
        let connector = TlsConnector::from(self.config.clone());
        let connected = timeout(HANDSHAKE_LIMIT, connector.connect(name, stream));
        let connected = connected
            .await
            .map_err(|_| TlsCallError::Late { what: "handshake", limit: HANDSHAKE_LIMIT })?
            .map_err(handshake)?;
        self.demand(expected, &connected)?;
        Ok(connected)
    }

    fn demand(&self, expected: Party, connected: &Connected) -> Result<(), TlsCallError> {
        let shown = connected.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let nobody = || TlsCallError::Handshake("it shows no certificate".to_owned());
        let found = Identity::of(shown.ok_or_else(nobody)?, &self.trust_domain);
        match found.map_err(|error| TlsCallError::Handshake(error.to_string()))?.party {
            found if found == expected => Ok(()),
            found => Err(TlsCallError::OtherParty { expected, found }),
        }
    }
}

fn handshake(error: io::Error) -> TlsCallError {
    match in_chain(&error) {
        Some(tls) => TlsCallError::Handshake(explain(tls)),
        None => TlsCallError::Connect(error),
    }
}
