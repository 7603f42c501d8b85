//! The three daemons of one run folder, alive for as long as a command needs them.

use anyhow::{Context, Result, bail};
use seal_conductor::client::Client;
use seal_conductor::driver::{self, Watcher};
use seal_protocol::{EnforcementLevel, Health, Role, path};

use crate::run_dir::RunDir;
use crate::supervisor::{self, Daemon, Program};

/// Started first to last, stopped last to first: whoever is asked is there before who asks.
const ORDER: [Role; 3] = [Role::Auditor, Role::Student, Role::Teacher];

/// Running daemons.
pub(crate) struct Session {
    daemons: Vec<Daemon>,
}

impl Session {
    /// Starts all three.
    pub(crate) async fn start(run: &RunDir) -> Result<Self> {
        Self::start_roles(run, &ORDER).await
    }

    /// Starts some.
    pub(crate) async fn start_roles(run: &RunDir, roles: &[Role]) -> Result<Self> {
        let mut session = Self { daemons: Vec::new() };
        for role in roles {
            match supervisor::start(&program(run, *role)?).await {
                Ok(daemon) => session.daemons.push(daemon),
                Err(error) => {
                    session.stop().await;
                    return Err(error);
                }
            }
        }
        Ok(session)
    }

    /// What each daemon said of itself when it was ready.
    pub(crate) fn health(&self) -> impl Iterator<Item = &Health> {
        self.daemons.iter().map(|daemon| &daemon.health)
    }

    /// Process ids, for people and for fault tests.
    pub(crate) fn pids(&self) -> impl Iterator<Item = (Role, u32)> + '_ {
        self.daemons.iter().filter_map(|daemon| Some((daemon.role, daemon.pid()?)))
    }

    /// Carries out what is left of the run; a daemon that dies ends it with an error.
    pub(crate) async fn conduct(&mut self, run: &RunDir, watcher: Watcher) -> Result<()> {
        let settings = run.run_config()?.run;
        let contexts = run.contexts()?;
        let peers = run.peers()?;
        let file = run.progress_file();
        let conductor = driver::run(settings, &contexts, peers, &file, watcher);
        let deaths = self.daemons.iter_mut().map(|daemon| Box::pin(daemon.ended()));
        let first_death = first_of(deaths.collect());
        tokio::pin!(conductor);
        tokio::select! {
            done = &mut conductor => done.context("the run stopped; what was finished is kept, run it again to resume"),
            death = first_death => Err(death),
        }
    }

    /// Stops all, last started first.
    pub(crate) async fn stop(mut self) {
        while let Some(daemon) = self.daemons.pop() {
            daemon.stop().await;
        }
    }
}

/// The first of several futures to end.
async fn first_of<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(|context| {
        for future in &mut futures {
            if let std::task::Poll::Ready(output) = std::pin::Pin::new(future).poll(context) {
                return std::task::Poll::Ready(output);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// A client of the student: of the running one, or of one started for this command.
pub(crate) async fn with_student<T>(
    run: &RunDir,
    work: impl AsyncFnOnce(Client) -> Result<T>,
) -> Result<T> {
    let endpoint = run.endpoint(Role::Student)?;
    let client = Client::new(&endpoint);
    if client.get::<Health>(path::HEALTH).await.is_ok() {
        return work(client).await;
    }
    let session = Session::start_roles(run, &[Role::Student]).await?;
    let outcome = work(client).await;
    session.stop().await;
    outcome
}

fn program(run: &RunDir, role: Role) -> Result<Program> {
    let config = run.config_file(role);
    if !config.is_file() {
        bail!(
            "`{}` is missing; restore it or make a new run folder with `seal init`",
            config.display()
        );
    }
    Ok(Program { role, config, endpoint: run.endpoint(role)?, log: run.log_file(role) })
}

/// One line per daemon for the start of a run.
pub(crate) fn describe(health: &Health) -> String {
    let level = match health.enforcement.level {
        EnforcementLevel::Full => "confined, proven on decoys",
        EnforcementLevel::Partial => "PARTLY confined",
        EnforcementLevel::Off => "NOT confined",
    };
    format!(
        "{:<8} pid {:<7} {level} (Landlock ABI {}, seccomp {})",
        health.role.name(),
        health.pid,
        health.enforcement.landlock_abi,
        if health.enforcement.seccomp { "on" } else { "off" }
    )
}
