//! The daemons of one run folder: those of this machine alive for as long as a command needs
//! them, those of other hosts found there.

use anyhow::{Context, Result, bail, ensure};
use seal_conductor::client::Client;
use seal_conductor::driver::{self, Watcher};
use seal_protocol::{EnforcementLevel, Health, Role, path};
use seal_service::endpoint::Endpoint;
use seal_service::tls::Party;

use crate::remote;
use crate::run_dir::RunDir;
use crate::supervisor::{self, Daemon, Program};

/// Started first to last, stopped last to first: whoever is asked is there before who asks.
const ORDER: [Role; 3] = [Role::Auditor, Role::Student, Role::Teacher];

/// Running daemons.
pub(crate) struct Session {
    /// Started here.
    daemons: Vec<Daemon>,
    /// What each said of itself when it was ready, and where it listens.
    seen: Vec<(Endpoint, Health)>,
}

impl Session {
    /// All three, and the judge where there is one.
    pub(crate) async fn start(run: &RunDir) -> Result<Self> {
        let judge = run.has_judge()?.then_some(Role::Judge);
        let roles: Vec<Role> = judge.into_iter().chain(ORDER).collect();
        let session = Self::start_roles(run, &roles).await?;
        match agree(session.seen.iter().map(|(_, health)| health)) {
            Ok(()) => Ok(session),
            Err(error) => {
                session.stop().await;
                Err(error)
            }
        }
    }

    /// Some.
    pub(crate) async fn start_roles(run: &RunDir, roles: &[Role]) -> Result<Self> {
        let mut session = Self { daemons: Vec::new(), seen: Vec::new() };
        for role in roles {
            if let Err(error) = session.add(run, *role).await {
                session.stop().await;
                return Err(error);
            }
        }
        Ok(session)
    }

    /// Starts a daemon of this machine; one of another host must be there.
    async fn add(&mut self, run: &RunDir, role: Role) -> Result<()> {
        let endpoint = run.endpoint(role)?;
        let health = if endpoint.is_remote() {
            remote::found(role, &run.client(role, Party::Conductor)?).await?
        } else {
            let daemon = supervisor::start(&program(run, role)?).await?;
            let health = daemon.health.clone();
            self.daemons.push(daemon);
            health
        };
        self.seen.push((endpoint, health));
        Ok(())
    }

    /// A line about each daemon.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.seen.iter().map(|(endpoint, health)| describe(endpoint, health))
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
    let client = run.client(Role::Student, Party::Operator)?;
    match client.get::<Health>(path::HEALTH).await {
        Ok(_) => return work(client).await,
        Err(error) if client.endpoint().is_remote() => return Err(error.into()),
        Err(_) => {}
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

/// Daemons of several hosts may be of several builds; a run needs one protocol and one base model.
fn agree<'a>(all: impl Iterator<Item = &'a Health>) -> Result<()> {
    let mut base = None;
    for health in all {
        let (role, version) = (health.role, health.protocol_version);
        ensure!(
            version == seal_protocol::VERSION,
            "the {role} speaks protocol {version} and this program {}; run one version of SEAL everywhere",
            seal_protocol::VERSION
        );
        let Some(held) = health.base_model_digest else { continue };
        let (first, digest) = *base.get_or_insert((role, held));
        ensure!(
            digest == held,
            "the {role} has the base model {} and the {first} {}; put one model on all hosts",
            held.short(),
            digest.short()
        );
    }
    Ok(())
}

/// One line per daemon for the start of a run.
fn describe(endpoint: &Endpoint, health: &Health) -> String {
    let level = match health.enforcement.level {
        EnforcementLevel::Full => "confined, proven on decoys",
        EnforcementLevel::Partial => "PARTLY confined",
        EnforcementLevel::Off => "NOT confined",
    };
    let place = match endpoint.is_remote() {
        true => format!("at {endpoint} "),
        false => format!("pid {:<7}", health.pid),
    };
    format!(
        "{:<8} {place} {level} (Landlock ABI {}, seccomp {})",
        health.role.name(),
        health.enforcement.landlock_abi,
        if health.enforcement.seccomp { "on" } else { "off" }
    )
}
