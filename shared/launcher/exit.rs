//! Exit codes: 0 done, 1 failed, 2 usage, 3 bad config or data, 4 environment, 10 rejected by τ,
//! 11 rejected by policy, 12 signature or provenance invalid, 130 interrupted.
//! A rejection is an outcome, not an error.

use std::process::ExitCode;

/// How a command ended, where that is not plain success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Something went wrong.
    Failed = 1,
    /// A file that the user wrote does not hold.
    BadConfig = 3,
    /// The machine refuses: device, socket, disk, permission.
    Environment = 4,
    /// Not enough gain.
    RejectedByTau = 10,
    /// A rule spoke against it.
    RejectedByPolicy = 11,
    /// Something signed does not verify.
    Unverified = 12,
    /// Ctrl-C.
    Interrupted = 130,
}

/// An error that carries its exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) ended: Ended,
    pub(crate) error: anyhow::Error,
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { ended: classify(&error), error }
    }
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        Self::from(ended as u8)
    }
}

/// Attaches an exit code to whatever went wrong.
pub(crate) trait OrEnd<T> {
    /// On an error, end with this code.
    fn or_end(self, ended: Ended) -> Result<T, Failure>;
}

impl<T, E: Into<anyhow::Error>> OrEnd<T> for Result<T, E> {
    fn or_end(self, ended: Ended) -> Result<T, Failure> {
        self.map_err(|error| Failure { ended, error: error.into() })
    }
}

/// The code for errors that nobody classified on the way.
fn classify(error: &anyhow::Error) -> Ended {
    let chain = || error.chain();
    let config = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<seal_service::config::ConfigError>()
            || cause.is::<seal_conductor::plan::SettingsError>()
            || cause.is::<seal_conductor::plan::EmptyRound>()
    };
    if chain().any(config) {
        Ended::BadConfig
    } else if chain().any(|cause| cause.is::<seal_trust::VerifyError>()) {
        Ended::Unverified
    } else if chain().any(|cause| cause.is::<std::io::Error>()) {
        Ended::Environment
    } else {
        Ended::Failed
    }
}

/// Shows an error with its causes, each once, free of control characters.
pub(crate) fn show(failure: &Failure) {
    for (number, line) in failure.error.to_string().lines().enumerate() {
        let lead = if number == 0 { "error: " } else { "  " };
        eprintln!("{lead}{}", crate::text::printable(line));
    }
    for cause in failure.error.chain().skip(1) {
        eprintln!("  because: {}", crate::text::printable(&cause.to_string()));
    }
    if is_full_disk(&failure.error) {
        eprintln!("  mend: free some space, or name a folder on another disk with --run");
    }
}

fn is_full_disk(error: &anyhow::Error) -> bool {
    let full = |error: &std::io::Error| error.kind() == std::io::ErrorKind::StorageFull;
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(full))
}
