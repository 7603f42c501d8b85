//! `seal-judge --config FILE`: the judge daemon.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    match config_path() {
        Some(path) => seal_judge::run(&path),
        None => {
            eprintln!("usage: seal-judge --config FILE");
            ExitCode::from(2)
        }
    }
}

fn config_path() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(flag), Some(path), None) if flag == "--config" => Some(path.into()),
        _ => None,
    }
}
