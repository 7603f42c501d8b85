//! Accepting connections: over a unix socket only from processes of our own user.

use std::io;
use std::time::Duration;

use axum::serve::Listener as Accept;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::confine::effective_uid;
use crate::listener::{Listener, Socket};

/// Pause after a failed accept, e.g. when descriptors ran out, so that the loop does not spin.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// A listener of either kind inside the runtime.
pub(super) struct Peers {
    accepting: Accepting,
    /// Keeps the socket's lock.
    _lock: Option<std::fs::File>,
}

enum Accepting {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection of either kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

impl Peers {
    /// Must run inside the runtime.
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        let accepting = match listener.socket {
            Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Accepting::Unix(UnixListener::from_std(socket)?)
            }
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Accepting::Tcp(TcpListener::from_std(socket)?)
            }
        };
        Ok(Self { accepting, _lock: listener.lock })
    }

    async fn next(&self) -> io::Result<Option<Box<dyn Connection>>> {
        match &self.accepting {
            Accepting::Tcp(socket) => Ok(Some(Box::new(socket.accept().await?.0))),
            Accepting::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok(ours(&stream)?.then(|| Box::new(stream) as Box<dyn Connection>))
            }
        }
    }
}

fn ours(stream: &UnixStream) -> io::Result<bool> {
    let peer = stream.peer_cred()?.uid();
    let ours = peer == effective_uid();
    if !ours {
        tracing::warn!(peer.uid = peer, "refused a connection of another user");
    }
    Ok(ours)
}

impl Accept for Peers {
    type Io = Box<dyn Connection>;
    type Addr = ();

    async fn accept(&mut self) -> (Self::Io, ()) {
        loop {
            match self.next().await {
                Ok(Some(connection)) => return (connection, ()),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!("could not accept a connection: {error}");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
