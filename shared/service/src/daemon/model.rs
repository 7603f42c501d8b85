//! The model thread's birth: the role is built on the thread that will own its worker.

use std::io;

use axum::Router;
use seal_protocol::Digest;
use tokio::sync::oneshot;

use super::spec::{Built, Context, DaemonError};
use crate::jobs::{ModelThread, Worker};

/// Numeric code recurses little but keeps large frames.
const STACK_BYTES: usize = 16 << 20;

/// What the serving side hears from the model thread.
pub(super) struct Model {
    /// Once, when the role is built or has failed.
    pub(super) ready: oneshot::Receiver<Result<Ready, DaemonError>>,
    /// When the thread is over, which while serving is always a failure.
    pub(super) ended: oneshot::Receiver<DaemonError>,
}

/// A built role without its worker, which stays where it is.
pub(super) struct Ready {
    pub(super) router: Router,
    pub(super) base_model_digest: Option<Digest>,
}

pub(super) fn spawn<W, B>(context: Context, thread: ModelThread, build: B) -> io::Result<Model>
where
    W: Worker + 'static,
    B: FnOnce(&Context) -> anyhow::Result<Built<W>> + Send + 'static,
{
    let (tell_ready, ready) = oneshot::channel();
    let (tell_ended, ended) = oneshot::channel();
    let body = move || {
        let built = build(&context);
        drop(context);
        let Some(mut worker) = hand_over(built, tell_ready) else {
            return;
        };
        if let Err(error) = thread.run(&mut worker) {
            // Nobody listens any more if the daemon is going down anyway.
            let _ = tell_ended.send(error.into());
        }
    };
    let named = std::thread::Builder::new().name("model".to_owned());
    named.stack_size(STACK_BYTES).spawn(body)?;
    Ok(Model { ready, ended })
}

fn hand_over<W>(
    built: anyhow::Result<Built<W>>,
    ready: oneshot::Sender<Result<Ready, DaemonError>>,
) -> Option<W> {
    let (message, worker) = match built {
        Ok(Built { router, worker, base_model_digest }) => {
            (Ok(Ready { router, base_model_digest }), Some(worker))
        }
        Err(error) => (Err(DaemonError::Build(error)), None),
    };
    ready.send(message).ok()?;
    worker
}
