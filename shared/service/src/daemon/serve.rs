//! Serving until something says stop.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::door;
use super::peers::Peers;
use super::spec::DaemonError;
use crate::http::Limits;
use crate::listener::Listener;
use crate::tls::TlsServer;

/// Requests at work when the stop comes get this long.
const GRACE: Duration = Duration::from_secs(5);
/// Requests are short; the processors belong to the model thread.
const SERVING_THREADS: usize = 2;

/// Who asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// SIGTERM.
    Terminated,
    /// SIGINT.
    Interrupted,
}

pub(super) type StopSignals = Pin<Box<dyn Future<Output = Stop>>>;

pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(SERVING_THREADS).enable_all().build()
}

/// Listens for signals from now on. Must run inside the runtime.
pub(super) fn stop_signals() -> io::Result<StopSignals> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => Stop::Terminated,
            _ = interrupt.recv() => Stop::Interrupted,
        }
    }))
}

/// Serves until a signal comes or the model thread is over.
pub(super) async fn until(
    listener: Listener,
    tls: Option<TlsServer>,
    router: Router,
    limits: Limits,
    stop: StopSignals,
    model_ended: oneshot::Receiver<DaemonError>,
) -> Result<Stop, DaemonError> {
    let peers = Peers::new(listener).map_err(DaemonError::Runtime)?;
    let (close, closed) = oneshot::channel::<()>();
    let server = tokio::spawn(door::serve(peers, tls, router, limits, closed));
    let stopped = tokio::select! {
        stopped = stop => Ok(stopped),
        ended = model_ended => Err(ended.unwrap_or(DaemonError::ModelThreadDied)),
    };
    tracing::info!(reason = ?stopped.as_ref().ok(), "stopping");
    drop(close);
    // What is not answered by then is asked again by its peer.
    let _ = tokio::time::timeout(GRACE, server).await;
    stopped
}
