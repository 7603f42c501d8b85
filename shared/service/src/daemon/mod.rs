//! The one way a daemon starts, serves and ends.
//!
//! Logs, certificates, bind, confine and self-test, runtime, model thread, serve, stop on SIGTERM or
//! SIGINT. The order is the point: certificates are read and the socket is bound while that can still
//! be done, and everything after it runs confined.
//!
//! **Invariant:** nobody is served before the model is loaded; early peers wait in the socket's queue.
//! **Invariant:** a stop never waits for a job: the job is queued again at the next start.

mod door;
mod handshakes;
mod logs;
mod model;
mod notices;
mod patience;
mod peers;
mod program;
mod routes;
mod serve;
mod spec;

pub use program::{program, serve_prepared};
pub use spec::{Built, Context, DaemonError, DaemonSpec};

use std::process::ExitCode;
use std::sync::Arc;

use rustls::pki_types::UnixTime;
use seal_protocol::Enforcement;

use crate::clock::SystemClock;
use crate::http::{guard, restrict};
use crate::jobs::{JobStore, ModelThread, Worker, runner};
use crate::listener::{Listener, bind};
use crate::store::{open_sqlite, private_folder, sweep_below};
use crate::tls::{Party, TlsError, TlsServer};
use crate::{confine, hash};
use serve::Stop;

/// Runs a daemon until it is told to stop. Call it in `main`, before any thread exists.
///
/// `build` runs confined, on the model thread: it loads the model and opens the stores, and what it
/// returns answers requests. Returns 0 after SIGTERM, 130 after SIGINT, 3 for bad config or data, 4
/// for what the system refused, 1 for anything else; the reason is the last line of the log.
pub fn run<W, B>(spec: DaemonSpec, build: B) -> ExitCode
where
    W: Worker + 'static,
    B: FnOnce(&Context) -> anyhow::Result<Built<W>> + Send + 'static,
{
    logs::init();
    match start(spec, build) {
        Ok(Stop::Terminated) => ExitCode::SUCCESS,
        Ok(Stop::Interrupted) => ExitCode::from(130),
        Err(error) => {
            tracing::error!("{}", error.in_full());
            ExitCode::from(error.exit_code())
        }
    }
}

fn start<W, B>(mut spec: DaemonSpec, build: B) -> Result<Stop, DaemonError>
where
    W: Worker + 'static,
    B: FnOnce(&Context) -> anyhow::Result<Built<W>> + Send + 'static,
{
    if spec.exit_with_parent {
        confine::exit_with_parent().map_err(confine::ConfineError::from)?;
    }
    // The program is hashed while it is surely the file that was started.
    let binary_digest =
        hash::sha256_file("/proc/self/exe".as_ref()).map_err(DaemonError::Program)?;
    let tls = certificates(&mut spec)?;
    let listener = bind(&spec.endpoint)?;
    spec.plan.write.push(spec.state_folder.clone());
    let enforcement = confine::enforce(&spec.plan)?;
    let (context, thread) = context(&spec, enforcement, binary_digest)?;
    announce(&spec, &context, &listener);
    serve_with(spec, context, Entrance { listener, tls }, thread, build)
}

/// Where peers come in.
struct Entrance {
    listener: Listener,
    tls: Option<TlsServer>,
}

/// Read before confinement, which then closes the key's file to this process too.
fn certificates(spec: &mut DaemonSpec) -> Result<Option<TlsServer>, TlsError> {
    let endpoint = || spec.endpoint.to_string();
    match (&spec.tls, spec.endpoint.is_remote()) {
        (None, false) => Ok(None),
        (None, true) => Err(TlsError::NoTable(endpoint())),
        (Some(_), false) => Err(TlsError::NotUsed(endpoint())),
        (Some(config), true) => {
            let party = Party::of_daemon(spec.role).ok_or(TlsError::NoDaemon(spec.role))?;
            let server = TlsServer::read(config, party, UnixTime::now())?;
            spec.plan.must_not_read.push(config.key.clone());
            Ok(Some(server))
        }
    }
}

fn context(
    spec: &DaemonSpec,
    enforcement: Enforcement,
    binary_digest: seal_protocol::Digest,
) -> Result<(Context, ModelThread), DaemonError> {
    if spec.plan.profile == confine::Profile::Off {
        private_folder(&spec.state_folder).map_err(DaemonError::State)?;
    }
    // Before anything is written: what is unfinished now is a crash's.
    sweep_below(&spec.state_folder).map_err(DaemonError::State)?;
    let store = JobStore::new(open_sqlite(&spec.state_folder.join("jobs.sqlite"))?)?;
    let (jobs, thread) = runner(store);
    let context = Context {
        role: spec.role,
        version: spec.version,
        state_folder: spec.state_folder.clone(),
        limits: spec.limits.clone(),
        jobs,
        enforcement,
        binary_digest,
        clock: Arc::new(SystemClock),
    };
    Ok((context, thread))
}

fn announce(spec: &DaemonSpec, context: &Context, listener: &Listener) {
    let endpoint = listener.endpoint().unwrap_or_else(|_| spec.endpoint.clone());
    tracing::info!(
        role = %context.role,
        endpoint = %endpoint,
        enforcement.level = ?context.enforcement.level,
        enforcement.landlock_abi = context.enforcement.landlock_abi,
        "confined and listening on {endpoint}, loading"
    );
}

fn serve_with<W, B>(
    spec: DaemonSpec,
    context: Context,
    entrance: Entrance,
    thread: ModelThread,
    build: B,
) -> Result<Stop, DaemonError>
where
    W: Worker + 'static,
    B: FnOnce(&Context) -> anyhow::Result<Built<W>> + Send + 'static,
{
    let runtime = serve::runtime().map_err(DaemonError::Runtime)?;
    let stopped = runtime.block_on(async {
        let mut stop = serve::stop_signals().map_err(DaemonError::Runtime)?;
        let model = model::spawn(context.clone(), thread, build).map_err(DaemonError::Runtime)?;
        let ready = tokio::select! {
            ready = model.ready => ready.unwrap_or(Err(DaemonError::BuildPanicked))?,
            stopped = &mut stop => return Ok(stopped),
        };
        let router =
            ready.router.merge(routes::common(&context, &spec.plan, ready.base_model_digest));
        tracing::info!(role = %context.role, "ready");
        let router = guard(restrict(router), &context.limits);
        let Entrance { listener, tls } = entrance;
        serve::until(listener, tls, router, context.limits, stop, model.ended).await
    });
    // The model thread may be deep in a job; the process ends without it.
    runtime.shutdown_background();
    stopped
}
