//! Where things lie in a run folder.
//!
//! ```text
//! run.toml teacher.toml student.toml auditor.toml   settings, as they were resolved; judge.toml, if any
//! trust/       root.json (signed), root.sha256, one public key per role
//! keys/        private keys, 0600
//! base/        the base model
//! teacher/  student/  auditor/                      each role's own data and state
//! conductor/   contexts.json, progress.sqlite
//! sockets/     0700
//! logs/  report.html
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use seal_conductor::client::Client;
use seal_conductor::driver::Peers;
use seal_conductor::outcome::{Outcome, outcome};
use seal_conductor::plan::{ContextRef, RunSettings};
use seal_protocol::Role;
use seal_service::endpoint::Endpoint;
use seal_service::tls::Party;
use serde::{Deserialize, Serialize};

use crate::callers::{Callers, CallersConfig};

/// Parent of run folders that nobody named.
pub(crate) const RUNS: &str = "seal-runs";

/// Questions an operator can try.
pub(crate) const EXAMPLES: &str = "conductor/examples.json";

/// One of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Example {
    /// Id of the context that answers it.
    pub(crate) context: String,
    pub(crate) question: String,
    pub(crate) answer: String,
}

/// A run folder.
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    root: PathBuf,
}

/// `run.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunConfig {
    /// Commands on this run connect to no other machine.
    #[serde(default)]
    pub(crate) offline: bool,
    /// What is done.
    pub(crate) run: RunSettings,
    /// Where the daemons listen; relative socket paths count from the file's folder. A daemon at
    /// `tls:…` runs on another host and is started there.
    pub(crate) endpoints: Endpoints,
    /// Certificates for daemons on other hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<CallersConfig>,
}

/// Addresses of the daemons.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endpoints {
    pub(crate) teacher: String,
    pub(crate) student: String,
    pub(crate) auditor: String,
    /// Who holds edits against a constitution, where the auditors demand that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) judge: Option<String>,
    /// Further auditors, where the trust root demands several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) other_auditors: Vec<String>,
    /// Longest time for one call, its body included, in seconds; a little more than the daemons'
    /// `request_timeout_s`, which is the limit for large adapters over slow lines.
    #[serde(default = "call_timeout_s")]
    pub(crate) call_timeout_s: u64,
    /// How many auditors must accept the same.
    #[serde(default = "one")]
    pub(crate) quorum: usize,
}

fn one() -> usize {
    1
}

fn call_timeout_s() -> u64 {
    130
}

/// The folder of a file; that of a bare name is the current one.
fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

impl RunDir {
    /// A folder that holds a `run.toml`.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let root = if root.is_file() { folder_of(root) } else { root };
        if !root.join("run.toml").is_file() {
            bail!(
                "`{}` is no run folder (it has no run.toml); make one with `seal init FOLDER` or `seal demo`",
                root.display()
            );
        }
        let root = root
            .canonicalize()
            .with_context(|| format!("cannot open the run folder `{}`", root.display()))?;
        Ok(Self { root })
    }

    /// The folder that the user named, else the newest under `seal-runs/`.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self> {
        match named {
            Some(root) => Self::open(root),
            None => Self::open(&newest_run().context(
                "there is no run folder under `seal-runs/`; start with `seal demo`, or name one with --run",
            )?),
        }
    }

    /// A folder that is about to be filled.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn config_file(&self, role: Role) -> PathBuf {
        self.root.join(format!("{role}.toml"))
    }

    pub(crate) fn log_file(&self, role: Role) -> PathBuf {
        self.root.join("logs").join(format!("{role}.log"))
    }

    pub(crate) fn key_file(&self, role: Role) -> PathBuf {
        self.root.join("keys").join(format!("{role}.pem"))
    }

    pub(crate) fn trust_root_file(&self) -> PathBuf {
        self.root.join("trust/root.json")
    }

    pub(crate) fn progress_file(&self) -> PathBuf {
        self.root.join("conductor/progress.sqlite")
    }

    pub(crate) fn role_state(&self, role: Role) -> PathBuf {
        self.root.join(role.name()).join("state")
    }

    pub(crate) fn run_config(&self) -> Result<RunConfig> {
        let file = self.root.join("run.toml");
        let config: RunConfig = seal_service::config::load(&file)?;
        config.run.check().with_context(|| format!("`{}`", file.display()))?;
        Ok(config)
    }

    /// Contexts by digest and use; no texts.
    pub(crate) fn contexts(&self) -> Result<Vec<ContextRef>> {
        let file = self.root.join("conductor/contexts.json");
        let text =
            std::fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("`{}` is not a list of contexts", file.display()))
    }

    /// Questions an operator can try.
    pub(crate) fn examples(&self) -> Result<Vec<Example>> {
        let file = self.root.join(EXAMPLES);
        let text =
            std::fs::read(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("`{}` is not a list of questions", file.display()))
    }

    pub(crate) fn endpoint(&self, role: Role) -> Result<Endpoint> {
        let endpoints = self.run_config()?.endpoints;
        let text = match role {
            Role::Teacher => endpoints.teacher,
            Role::Student => endpoints.student,
            Role::Auditor => endpoints.auditor,
            Role::Judge => endpoints
                .judge
                .context("run.toml names no judge; add `judge = \"unix:sockets/judge.sock\"` under [endpoints]")?,
            other => bail!("the {other} role has no daemon"),
        };
        self.resolved(&text)
    }

    /// Whether somebody holds this run's edits against a constitution.
    pub(crate) fn has_judge(&self) -> Result<bool> {
        Ok(self.run_config()?.endpoints.judge.is_some())
    }

    fn resolved(&self, endpoint: &str) -> Result<Endpoint> {
        Ok(endpoint.parse::<Endpoint>()?.under(&self.root))
    }

    /// The daemons, for `seal run`.
    pub(crate) fn peers(&self) -> Result<Peers> {
        let RunConfig { endpoints, tls, .. } = self.run_config()?;
        let callers = Callers::read(tls.as_ref(), Party::Conductor, &self.root)?;
        let limit = Duration::from_secs(endpoints.call_timeout_s);
        let client = |endpoint: &str, daemon| -> Result<Client> {
            Ok(callers.client(&self.resolved(endpoint)?, daemon).with_deadline(limit))
        };
        let others = endpoints.other_auditors.iter();
        let others = others.map(|endpoint| client(endpoint, Party::Auditor));
        Ok(Peers {
            other_auditors: others.collect::<Result<_>>()?,
            quorum: endpoints.quorum,
            teacher: client(&endpoints.teacher, Party::Teacher)?,
            student: client(&endpoints.student, Party::Student)?,
            auditor: client(&endpoints.auditor, Party::Auditor)?,
            judge: endpoints.judge.iter().map(|at| client(at, Party::Judge)).next().transpose()?,
        })
    }

    /// A daemon, for `seal run` as the conductor or for the commands of an operator.
    pub(crate) fn client(&self, role: Role, acting: Party) -> Result<Client> {
        let daemon = Party::of_daemon(role).context("this role has no daemon")?;
        let tls = self.run_config()?.tls;
        let callers = Callers::read(tls.as_ref(), acting, &self.root)?;
        Ok(callers.client(&self.endpoint(role)?, daemon))
    }

    /// What the conductor knows of the run.
    pub(crate) fn outcome(&self) -> Result<Outcome> {
        let (settings, contexts) = (self.run_config()?.run, self.contexts()?);
        Ok(outcome(&settings, &contexts, &self.progress_file())?)
    }

    /// The state of a role, to be read from its files.
    ///
    /// # Errors
    /// They lie on another host.
    pub(crate) fn state_here(&self, role: Role) -> Result<PathBuf> {
        let state = self.role_state(role);
        match self.host_elsewhere(role)? {
            Some(endpoint) => bail!(
                "the {role}'s files are not in `{}` but on its host (`{endpoint}`); run this command there, in a \
                 folder with this run.toml and conductor/contexts.json",
                self.root.display()
            ),
            None => Ok(state),
        }
    }

    /// Whether anybody left a trace of work here.
    pub(crate) fn has_begun(&self) -> bool {
        let roles = [Role::Teacher, Role::Student, Role::Auditor];
        roles.iter().any(|role| self.role_state(*role).is_dir()) || self.progress_file().exists()
    }

    /// Where a role runs whose files are not in this folder.
    pub(crate) fn host_elsewhere(&self, role: Role) -> Result<Option<Endpoint>> {
        let endpoint = self.endpoint(role)?;
        Ok((endpoint.is_remote() && !self.role_state(role).is_dir()).then_some(endpoint))
    }
}

/// The newest folder under `seal-runs/` that holds a `run.toml`; names begin with their date.
fn newest_run() -> Option<PathBuf> {
    let mut runs: Vec<PathBuf> = std::fs::read_dir(RUNS)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("run.toml").is_file())
        .collect();
    runs.sort();
    runs.pop()
}

/// `seal-runs/2026-11-22T19-20-05-demo`.
pub(crate) fn fresh_run_path(label: &str) -> PathBuf {
    let now = jiff::Zoned::now().strftime("%Y-%m-%dT%H-%M-%S").to_string();
    Path::new(RUNS).join(format!("{now}-{label}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_run_config_parses() {
        let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        let mut over_tls = 0;
        let folders = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
        let deployments: Vec<PathBuf> = folders(configs).map(|entry| entry.path()).collect();
        let presets = deployments.iter().cloned().flat_map(folders).map(|entry| entry.path());
        for deployment in presets.chain(deployments.iter().cloned()) {
            let file = deployment.join("run.toml");
            if file.is_file() {
                let config: RunConfig = seal_service::config::load(&file).unwrap();
                config.run.check().unwrap();
                let Endpoints { teacher, student, auditor, .. } = &config.endpoints;
                for endpoint in [teacher, student, auditor] {
                    let remote = endpoint.parse::<Endpoint>().unwrap().is_remote();
                    assert_eq!(remote, config.tls.is_some(), "{}", file.display());
                    over_tls += usize::from(remote);
                }
            }
        }
        assert_eq!(over_tls, 3);
    }
}
