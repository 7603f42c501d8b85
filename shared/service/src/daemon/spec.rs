//! What a role says about itself, what it is given, and why it does not run.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use seal_protocol::{Digest, Enforcement, Role};

use crate::clock::Clock;
use crate::confine::{ConfineError, ConfinementPlan};
use crate::endpoint::Endpoint;
use crate::http::Limits;
use crate::jobs::{JobError, JobRunner};
use crate::listener::BindError;
use crate::store::SqliteError;
use crate::tls::{TlsConfig, TlsError};

/// A daemon, before it starts.
#[derive(Clone, Debug)]
pub struct DaemonSpec {
    /// Told to peers.
    pub role: Role,
    /// Version of the program.
    pub version: &'static str,
    /// Where to listen.
    pub endpoint: Endpoint,
    /// Certificates, for an endpoint `tls:…` and no other.
    pub tls: Option<TlsConfig>,
    /// Holds the job table and whatever the role keeps; writable, created if missing.
    pub state_folder: PathBuf,
    /// What else may be touched.
    pub plan: ConfinementPlan,
    /// Bounds on requests.
    pub limits: Limits,
    /// Stop when the thread that started this process ends.
    pub exit_with_parent: bool,
}

/// What a role's builder and handlers find ready.
#[derive(Clone)]
pub struct Context {
    /// As in the spec.
    pub role: Role,
    /// As in the spec.
    pub version: &'static str,
    /// As in the spec; it exists.
    pub state_folder: PathBuf,
    /// As in the spec.
    pub limits: Limits,
    /// The way to the model thread.
    pub jobs: JobRunner,
    /// What the self-test at start showed.
    pub enforcement: Enforcement,
    /// SHA-256 of the executable.
    pub binary_digest: Digest,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// A role, ready to work.
pub struct Built<W> {
    /// Its own paths. Health, confinement and job status are added.
    pub router: Router,
    /// What the model thread owns.
    pub worker: W,
    /// Told to peers in the health answer; absent where the role has no model.
    pub base_model_digest: Option<Digest>,
}

/// Why a daemon ended on its own.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The endpoint could not be taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The process could not be confined as demanded.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The job table could not be opened.
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// The job table failed.
    #[error(transparent)]
    Jobs(#[from] JobError),
    /// The state folder could not be made.
    #[error(
        "cannot create the state folder or clear it of unfinished files; check its disk, its owner and its parent folder"
    )]
    State(#[source] io::Error),
    /// The own executable could not be read.
    #[error("cannot read this program's own file; is /proc mounted?")]
    Program(#[source] io::Error),
    /// Threads, timers or signals are not to be had.
    #[error("the system refused what a server needs; look at its limits on processes and files")]
    Runtime(#[source] io::Error),
    /// The role's own start failed: model, data or keys.
    #[error("{0}")]
    Build(anyhow::Error),
    /// A defect.
    #[error("the start stopped at a defect of this program; the line before tells where")]
    BuildPanicked,
    /// A defect.
    #[error("the model thread ended by a defect of this program; the line before tells where")]
    ModelThreadDied,
}

impl DaemonError {
    /// 3 bad config or data, 4 the system refused, 1 anything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Build(_) | Self::Confine(ConfineError::Plan(_)) => 3,
            Self::Bind(BindError::Endpoint(_)) | Self::Tls(_) => 3,
            Self::BuildPanicked | Self::ModelThreadDied => 1,
            _ => 4,
        }
    }

    /// The error with its causes, in one line.
    pub fn in_full(&self) -> String {
        match self {
            Self::Build(error) => format!("{error:#}"),
            error => crate::http::chain(error),
        }
    }
}
