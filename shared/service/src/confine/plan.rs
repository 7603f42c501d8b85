//! What a role may touch, and what it must be shown not to touch.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::gpu::{GpuPaths, real};
use crate::endpoint::Endpoint;
use crate::store::{private_folder, sweep_below, write_atomic};

/// How much confinement a daemon insists on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// All of it, or the daemon does not start.
    #[default]
    Strict,
    /// What the system gives, with a warning and on the record.
    Standard,
    /// None. For debugging; verdicts made so say so.
    Off,
}

/// The files and peers of one role.
#[derive(Clone, Debug)]
pub struct ConfinementPlan {
    /// Files and folders to read.
    pub read: Vec<PathBuf>,
    /// Folders to read and write; created (mode 0700) if they are missing.
    pub write: Vec<PathBuf>,
    /// Reach NVIDIA's driver, CUDA's libraries and the cache of compiled kernels.
    pub gpu: bool,
    /// TCP ports to connect to, on any host. Empty, as for every role without an API: no socket can
    /// be made at all.
    pub connect_ports: Vec<u16>,
    /// How much to insist on.
    pub profile: Profile,
    /// A folder outside `read` and `write`, where the decoy is put that must not be readable.
    pub decoy_dir: PathBuf,
    /// Other roles' secrets, which the self-test tries to read.
    pub must_not_read: Vec<PathBuf>,
    /// Peers that the self-test tries to reach.
    pub must_not_connect: Vec<Endpoint>,
}

/// A plan that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not there or not to be read, so no rule can be made for it.
    #[error("`{}`, which this role reads or writes, cannot be opened; {}", path.display(), mend_of(source))]
    Path {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A forbidden path would be allowed.
    #[error("`{}` must stay closed to this role but lies inside `{}`, which it may touch; move one of them", forbidden.display(), allowed.display())]
    Overlap {
        /// The secret.
        forbidden: PathBuf,
        /// The allowed path around it.
        allowed: PathBuf,
    },
    /// A peer that must stay out of reach listens on a port that is open to this role.
    #[error(
        "`{peer}` must stay out of this role's reach, yet it may connect to TCP port {port} of any host; give one of them another port"
    )]
    Reachable {
        /// The peer.
        peer: Endpoint,
        /// The port.
        port: u16,
    },
    /// The decoy cannot be planted.
    #[error("cannot write the decoy `{}`; the folder must be writable at start", path.display())]
    Decoy {
        /// The decoy.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What to do about a path that cannot be opened.
fn mend_of(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            "correct the path in the config or put the file there"
        }
        io::ErrorKind::PermissionDenied => "look at its permissions and owner",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on its disk",
        _ => "look at the disk that it lies on",
    }
}

const DECOY: &str = "confinement-decoy";

impl ConfinementPlan {
    /// The file that every self-test tries to read.
    pub(super) fn decoy(&self) -> PathBuf {
        self.decoy_dir.join(DECOY)
    }

    /// Creates folders and decoy and checks that no forbidden path lies inside an allowed one.
    pub(super) fn prepare(&self, gpu: &GpuPaths) -> Result<(), PlanError> {
        for folder in &self.write {
            private_folder(folder).map_err(|source| at(folder, source))?;
        }
        self.plant_decoy()?;
        self.must_not_connect.iter().try_for_each(|peer| self.out_of_reach(peer))?;
        let allowed = self.allowed(gpu)?;
        let mut forbidden = self.must_not_read.iter().cloned().chain([self.decoy()]);
        forbidden.try_for_each(|path| outside(&path, &allowed))
    }

    fn out_of_reach(&self, peer: &Endpoint) -> Result<(), PlanError> {
        let port = match peer {
            Endpoint::Tcp(address) => address.port(),
            Endpoint::Tls(host) => host.port(),
            Endpoint::Unix(_) => return Ok(()),
        };
        match self.connect_ports.contains(&port) {
            true => Err(PlanError::Reachable { peer: peer.clone(), port }),
            false => Ok(()),
        }
    }

    /// Reads it back: a decoy that could not be read anyway would prove nothing.
    fn plant_decoy(&self) -> Result<(), PlanError> {
        let path = self.decoy();
        private_folder(&self.decoy_dir)
            .and_then(|()| sweep_below(&self.decoy_dir))
            .and_then(|()| write_atomic(&path, b"not a secret\n"))
            .and_then(|()| std::fs::read(&path))
            .map(drop)
            .map_err(|source| PlanError::Decoy { path, source })
    }

    /// What this role needs for a GPU: nothing, unless its config asks for one.
    pub(super) fn gpu_paths(&self) -> GpuPaths {
        let mut paths = if self.gpu { GpuPaths::of_system() } else { GpuPaths::default() };
        paths.prepare();
        paths
    }

    fn allowed(&self, gpu: &GpuPaths) -> Result<Vec<PathBuf>, PlanError> {
        let paths = self.read.iter().chain(&self.write);
        let own = paths.map(|path| path.canonicalize().map_err(|source| at(path, source)));
        // What a system does not have needs no rule.
        let gpu = gpu.all().filter_map(|path| real(path).map_err(|e| at(path, e)).transpose());
        own.chain(gpu).collect()
    }
}

fn at(path: &Path, source: io::Error) -> PlanError {
    PlanError::Path { path: path.to_path_buf(), source }
}

fn outside(forbidden: &Path, allowed: &[PathBuf]) -> Result<(), PlanError> {
    // What is not there yet is judged by the name it will have.
    let real = forbidden.canonicalize().unwrap_or_else(|_| forbidden.to_path_buf());
    match allowed.iter().find(|allowed| real.starts_with(allowed)) {
        None => Ok(()),
        Some(allowed) => {
            Err(PlanError::Overlap { forbidden: forbidden.to_path_buf(), allowed: allowed.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(folder: &Path) -> ConfinementPlan {
        ConfinementPlan {
            read: vec![],
            write: vec![folder.join("state")],
            gpu: false,
            connect_ports: vec![],
            profile: Profile::Strict,
            decoy_dir: folder.join("decoy"),
            must_not_read: vec![folder.join("secret")],
            must_not_connect: vec![],
        }
    }

    #[test]
    fn a_good_plan_gets_its_folders_and_its_decoy() {
        let folder = tempfile::tempdir().unwrap();
        let plan = plan(folder.path());
        plan.prepare(&GpuPaths::default()).unwrap();
        assert!(plan.write[0].is_dir() && plan.decoy().is_file());
        plan.prepare(&GpuPaths::default()).unwrap();
    }

    #[test]
    fn a_secret_inside_an_allowed_folder_is_refused_through_links_too() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(folder.path());
        plan.prepare(&GpuPaths::default()).unwrap();
        std::fs::write(folder.path().join("state/tau"), b"").unwrap();
        std::os::unix::fs::symlink("state/tau", folder.path().join("link")).unwrap();
        for secret in ["state/tau", "link", "state/not-yet-there"] {
            plan.must_not_read = vec![folder.path().join(secret)];
            assert!(
                matches!(plan.prepare(&GpuPaths::default()), Err(PlanError::Overlap { .. })),
                "{secret}"
            );
        }
    }

    #[test]
    fn a_decoy_that_would_be_readable_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(folder.path());
        plan.decoy_dir = folder.path().join("state/decoy");
        assert!(matches!(plan.prepare(&GpuPaths::default()), Err(PlanError::Overlap { .. })));
    }

    #[test]
    fn a_peer_behind_an_open_port_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(folder.path());
        plan.must_not_connect = vec!["tcp:127.0.0.1:7401".parse().unwrap()];
        plan.connect_ports = vec![443];
        plan.prepare(&GpuPaths::default()).unwrap();
        plan.connect_ports.push(7401);
        let error = plan.prepare(&GpuPaths::default()).unwrap_err().to_string();
        assert!(
            error.contains("`tcp:127.0.0.1:7401` must stay out of this role's reach"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_read_path_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut plan = plan(folder.path());
        plan.read = vec![folder.path().join("base")];
        let error = plan.prepare(&GpuPaths::default()).unwrap_err().to_string();
        assert!(error.contains("/base`, which this role reads or writes"), "{error}");
    }
}
