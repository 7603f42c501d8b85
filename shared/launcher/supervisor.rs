//! Starts the daemons, waits until each is ready, stops them in reverse order.
//!
//! Daemons are programs plus a config file; the launcher holds none of their keys and has no flag
//! that overrides a value of the auditor.
//! **Invariant:** no daemon outlives the launcher: each ends with its parent, and dropping a
//! [`Daemon`] kills what a graceful stop did not end.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use seal_conductor::client::Client;
use seal_protocol::{Health, Role, path};
use seal_service::endpoint::Endpoint;
use tokio::process::{Child, Command};

/// Longest a daemon may take until it answers.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// Longest a daemon may take to end after SIGTERM.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// A running daemon.
pub(crate) struct Daemon {
    pub(crate) role: Role,
    pub(crate) health: Health,
    child: Child,
    log: Log,
}

/// What a daemon wrote since this start; the file keeps what it said before.
struct Log {
    file: PathBuf,
    begins: u64,
}

/// What is needed to start one.
pub(crate) struct Program {
    pub(crate) role: Role,
    pub(crate) config: PathBuf,
    pub(crate) endpoint: Endpoint,
    pub(crate) log: PathBuf,
}

/// Starts a daemon and waits until it is ready.
pub(crate) async fn start(program: &Program) -> Result<Daemon> {
    let Program { role, config, endpoint, log } = program;
    let executable = std::env::current_exe().context("cannot find this program's own file")?;
    let log_file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write the log `{}`", log.display()))?;
    let begins = log_file.metadata().map_or(0, |metadata| metadata.len());
    let log = Log { file: log.clone(), begins };
    let mut child = Command::new(executable)
        .arg(role.name())
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start the {role}"))?;
    let health = wait_ready(*role, &mut child, endpoint, &log).await?;
    Ok(Daemon { role: *role, health, child, log })
}

async fn wait_ready(
    role: Role,
    child: &mut Child,
    endpoint: &Endpoint,
    log: &Log,
) -> Result<Health> {
    let client = Client::new(endpoint);
    let begun = Instant::now();
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    loop {
        pause.tick().await;
        if let Ok(health) = client.get::<Health>(path::HEALTH).await
            && health.role == role
            && Some(health.pid) == child.id()
        {
            return Ok(health);
        }
        if let Some(status) = child.try_wait()? {
            bail!("the {role} ended at its start ({status}):\n{}", log.tail());
        }
        if begun.elapsed() > READY_DEADLINE {
            bail!("the {role} does not answer on {endpoint}; its log: {}", log.file.display());
        }
    }
}

impl Daemon {
    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends when the daemon does, with the reason.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let status = self.child.wait().await;
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        anyhow::anyhow!(
            "the {} died during the run ({how}); what was finished is kept, run the same command \
             again to resume. The end of its log:\n{}",
            self.role,
            self.log.tail()
        )
    }

    /// SIGTERM, wait, SIGKILL.
    pub(crate) async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        if let Some(pid) = pid {
            // An error means that it has ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

impl Log {
    /// Its last lines, safe to show.
    fn tail(&self) -> String {
        let all = std::fs::read(&self.file).unwrap_or_default();
        let begins = usize::try_from(self.begins).unwrap_or(usize::MAX);
        let own = String::from_utf8_lossy(all.get(begins..).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = own.lines().collect();
        let tail = &lines[lines.len().saturating_sub(8)..];
        tail.iter().map(|line| format!("    {}\n", crate::text::printable(line))).collect()
    }
}
