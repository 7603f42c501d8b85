//! `seal-judge --config FILE`: the judge daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    seal_service::daemon::program("seal-judge", seal_judge::run)
}
