//! The daemon's end: who connects must show a certificate of the named CA that names a party.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::config::TlsConfig;
use super::explain::{explain, in_chain};
use super::identity::{Identity, IdentityError, Party};
use super::material::{End, Material, TlsError, provider};

/// The one protocol above TLS.
pub(super) const ALPN: &[u8] = b"http/1.1";
/// How long and how much a refused peer may still send, so that it gets to read the reason.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;

/// Accepts handshakes for one daemon.
#[derive(Clone)]
pub(crate) struct TlsServer {
    acceptor: TlsAcceptor,
    trust_domain: Arc<str>,
}

impl TlsServer {
    /// Reads the certificates of the daemon `own`.
    pub(crate) fn read(config: &TlsConfig, own: Party, now: UnixTime) -> Result<Self, TlsError> {
        let material = Material::read(config, &[own], End::Server, now)?;
        let clients = WebPkiClientVerifier::builder_with_provider(material.roots, provider());
        // Every certificate of the chain is looked up, and one without a list is refused.
        let clients = clients
            .with_crls(material.lists)
            .enforce_revocation_expiration()
            .build()
            .map_err(|error| TlsError::Library(rustls::Error::General(error.to_string())))?;
        let server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .map_err(TlsError::Library)?
            .with_client_cert_verifier(clients)
            .with_single_cert(material.chain, material.key);
        let mut server = server.map_err(TlsError::Library)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let acceptor = TlsAcceptor::from(Arc::new(server));
        Ok(Self { acceptor, trust_domain: material.trust_domain.into() })
    }

    /// A peer of the CA and who it is, if its certificate names a party; `Err`: why there is no
    /// connection, in words for the log.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Result<Identity, IdentityError>), String> {
        match self.acceptor.accept(stream).into_fallible().await {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                let named = match shown {
                    Some(certificate) => Identity::of(certificate, &self.trust_domain),
                    None => Err(IdentityError::Unreadable),
                };
                Ok((stream, named))
            }
            Err((error, stream)) => {
                linger(stream).await;
                Err(in_words(&error))
            }
        }
    }
}

fn in_words(error: &io::Error) -> String {
    match in_chain(error) {
        Some(tls) => explain(tls),
        None => format!("the handshake broke off ({})", error.kind()),
    }
}

/// Closing over unread bytes would reset the connection and take the alert out of the peer's hands.
async fn linger(mut stream: TcpStream) {
    let until_closed = async {
        let _ = stream.shutdown().await;
        let mut rest = stream.take(LINGER_BYTES as u64);
        let mut thrown_away = [0; 1024];
        while rest.read(&mut thrown_away).await.is_ok_and(|read| read > 0) {}
    };
    let _ = tokio::time::timeout(LINGER, until_closed).await;
}
