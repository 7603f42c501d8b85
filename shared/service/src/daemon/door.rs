//! The door: lets connections in, hears who they are, and serves each until it ends.
//!
//! **Invariant:** whatever a peer sends or does not send, its connection ends in a bounded time:
//! handshake, head of a request, body and work, and taking the answer each have their limit.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tower_service::Service;

use super::handshakes::Handshakes;
use super::notices::Notices;
use super::patience::Patient;
use super::peers::{Arrival, Peers};
use crate::http::{Limits, Peer};
use crate::tls::TlsServer;

/// Pause after a failed accept, e.g. when descriptors ran out, so that the loop does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// Longest head of a request, in bytes; ours have a few hundred.
const LONGEST_HEAD: usize = 16 << 10;

/// What every connection needs.
#[derive(Clone)]
struct House {
    router: Router,
    http: http1::Builder,
    tls: Option<TlsServer>,
    handshake_limit: Duration,
    stalled: Duration,
    notices: Arc<Notices>,
}

/// Serves until `closed` comes; then lets requests at work end.
pub(super) async fn serve(
    peers: Peers,
    tls: Option<TlsServer>,
    router: Router,
    limits: Limits,
    mut closed: oneshot::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let handshakes = Handshakes::new(limits.handshakes_per_address);
    let house = House {
        router,
        http: http(&limits),
        tls,
        handshake_limit: Duration::from_secs(limits.handshake_timeout_s),
        stalled: Duration::from_secs(limits.stalled_answer_s),
        notices: Arc::default(),
    };
    let graceful = GracefulShutdown::new();
    loop {
        let arrival = async {
            // Never closed, so there is always a place some time.
            let place = places.clone().acquire_owned().await;
            (place, peers.next().await)
        };
        let (place, arrival) = tokio::select! {
            arrived = arrival => arrived,
            // A dropped sender means the same as a sent message: close.
            _ = &mut closed => break,
        };
        match arrival {
            Ok(Some(arrival)) => {
                let (house, watcher) = (house.clone(), graceful.watcher());
                let handshakes = handshakes.clone();
                tokio::spawn(async move {
                    house.receive(arrival, &handshakes, watcher).await;
                    drop(place);
                });
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!("could not accept a connection: {error}");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
    drop(peers);
    graceful.shutdown().await;
}

fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits.header_timeout_s))
        .max_header_size(LONGEST_HEAD);
    http
}

impl House {
    async fn receive(&self, arrival: Arrival, handshakes: &Handshakes, watcher: Watcher) {
        match arrival {
            Arrival::Unix(stream) => self.converse(stream, Peer::Local, watcher).await,
            Arrival::Tcp(stream) => self.converse(stream, Peer::Local, watcher).await,
            Arrival::Tls(stream, from) => {
                let Some(under_way) = handshakes.enter(from) else {
                    return self.notices.refused(from, "too many handshakes are under way");
                };
                let shaken = self.shake(stream).await;
                drop(under_way);
                match shaken {
                    Ok((stream, peer)) => self.converse(stream, peer, watcher).await,
                    Err(reason) => self.notices.refused(from, &reason),
                }
            }
        }
    }

    async fn shake(
        &self,
        stream: TcpStream,
    ) -> Result<(impl AsyncRead + AsyncWrite + Unpin + Send + 'static, Peer), String> {
        let tls = self.tls.as_ref().ok_or("this daemon has no certificate")?;
        let shaken = timeout(self.handshake_limit, tls.accept(stream)).await;
        let (stream, named) = shaken.map_err(|_| "the handshake took too long")??;
        let peer = match named {
            Ok(identity) => Peer::Named(identity),
            Err(error) => Peer::Nameless(error.to_string()),
        };
        Ok((stream, peer))
    }

    async fn converse<S>(&self, stream: S, peer: Peer, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            router.clone().call(request.map(Body::new))
        });
        let stream = TokioIo::new(Patient::new(stream, self.stalled));
        let conversation = watcher.watch(self.http.serve_connection(stream, service));
        if let Err(error) = conversation.await {
            tracing::debug!("a connection ended early: {error}");
        }
    }
}
