//! Accepting connections: over a unix socket only from processes of our own user.

use std::io;
use std::net::IpAddr;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::confine::effective_uid;
use crate::listener::{Listener, Socket};

/// A listener of any kind inside the runtime.
pub(super) struct Peers {
    accepting: Accepting,
    /// Keeps the socket's lock.
    _lock: Option<std::fs::File>,
}

enum Accepting {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener),
}

/// Who is at the door.
pub(super) enum Arrival {
    /// A process of our own user.
    Unix(UnixStream),
    /// A process of this machine.
    Tcp(TcpStream),
    /// Somebody who is still to show a certificate.
    Tls(TcpStream, IpAddr),
}

impl Peers {
    /// Must run inside the runtime.
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        let accepting = match listener.socket {
            Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Accepting::Unix(UnixListener::from_std(socket)?)
            }
            Socket::Tcp(socket) => Accepting::Tcp(tcp(socket)?),
            Socket::Tls(socket, _) => Accepting::Tls(tcp(socket)?),
        };
        Ok(Self { accepting, _lock: listener.lock })
    }

    /// The next one, or nobody if it was not let in.
    pub(super) async fn next(&self) -> io::Result<Option<Arrival>> {
        match &self.accepting {
            Accepting::Tcp(socket) => Ok(Some(Arrival::Tcp(socket.accept().await?.0))),
            Accepting::Tls(socket) => {
                let (stream, from) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Some(Arrival::Tls(stream, from.ip())))
            }
            Accepting::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok(ours(&stream)?.then_some(Arrival::Unix(stream)))
            }
        }
    }
}

fn tcp(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn ours(stream: &UnixStream) -> io::Result<bool> {
    let peer = stream.peer_cred()?.uid();
    let ours = peer == effective_uid();
    if !ours {
        tracing::warn!(peer.uid = peer, "refused a connection of another user");
    }
    Ok(ours)
}
